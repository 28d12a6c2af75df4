from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from faces import known_face
from PIL import Image as Pillow
from safetensors.torch import save_file
from shared import ROOT, shared_path

from tpvideo.pipeline.errors import WeightsError
from tpvideo.pipeline.frame import Image
from tpvideo.stages import geometry
from tpvideo.stages.facefinder import FaceBox, FaceFinder, apart
from tpvideo.stages.networks.landmarks import FaceDetector, LandmarkNet

WEIGHTS = ROOT / "weights" / "face.safetensors"

CLIPS = {
    "p01_turn_a_1080p.mp4": 1,
    "p02_turn_b_1080p.mp4": 1,
    "p03_vertical_speech_hevc.mp4": 1,
    "p04_webcam_pillarbox.mp4": 1,
    "p05_face_then_none_vfr.mov": 1,
    "p06_hand_over_face.mp4": 1,
    "p07_lowres_speech.mpg": 1,
    "p08_two_people.gif": 2,
    "p09_profile_turn.gif": 1,
    "p10_portrait_astronaut.png": 1,
    "p11_portrait_glasses.jpg": 1,
}
"""How many people each file begins with."""


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return FaceFinder.load(WEIGHTS)


def pictures(path: Path, every: int) -> Iterator[Image]:
    if path.suffix in (".png", ".jpg"):
        yield np.array(Pillow.open(path).convert("RGB"))
        return
    with av.open(path) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index % every == 0:
                yield np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)


@pytest.mark.parametrize("name", CLIPS)
def test_the_people_of_every_public_clip_are_found(finder: FaceFinder, name: str) -> None:
    rgb = next(pictures(shared_path(f"clips/public/{name}"), 1))
    boxes = finder.find(rgb)
    assert len(boxes) >= CLIPS[name]
    reading = finder.read(rgb, boxes[0])
    assert reading.score > 0.5
    left, right, nose, *mouth = reading.points @ _upright(reading.roll_rad).T
    assert left[0] < right[0]
    assert max(left[1], right[1]) < nose[1] < min(corner[1] for corner in mouth)


def _upright(roll_rad: float) -> np.ndarray:
    cos, sin = math.cos(roll_rad), math.sin(roll_rad)
    return np.array([[cos, sin], [-sin, cos]])


def test_no_face_is_seen_in_a_cartoons_title(finder: FaceFinder) -> None:
    frames = list(pictures(shared_path("clips/public/p05_face_then_none_vfr.mov"), 24))
    assert [len(finder.find(rgb)) for rgb in frames] == [1, 1, 1, 0, 0, 0, 0, 0][: len(frames)]


def test_a_turned_picture_gives_turned_faces(finder: FaceFinder) -> None:
    rgb = next(pictures(shared_path("clips/public/p10_portrait_astronaut.png"), 1))
    upright = finder.read(rgb, finder.find(rgb)[0])
    turned = np.asarray(Pillow.fromarray(rgb).rotate(-30, Pillow.Resampling.BILINEAR))
    reading = finder.read(turned, finder.find(turned)[0])
    assert math.degrees(reading.roll_rad - upright.roll_rad) == pytest.approx(30, abs=6)
    assert math.degrees(reading.yaw_rad - upright.yaw_rad) == pytest.approx(0, abs=8)


@pytest.mark.parametrize(
    "shape", [(1, 1, 3), (9, 300, 3), (300, 9, 3), (33, 31, 3), (720, 1280, 3)]
)
def test_plain_pictures_of_any_shape_hold_no_face(
    finder: FaceFinder, shape: tuple[int, int, int]
) -> None:
    assert finder.find(np.full(shape, 90, np.uint8)) == []


def test_the_shipped_weights_are_small() -> None:
    assert WEIGHTS.stat().st_size < 2.5e6


def test_a_file_of_other_weights_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"detector.stem.weight": torch.zeros(3)}, path)
    with pytest.raises(WeightsError, match="does not fit the network"):
        FaceFinder.load(path)
    with pytest.raises(WeightsError, match=r"absent\.safetensors"):
        FaceFinder.load(tmp_path / "absent.safetensors")


def test_untrained_networks_find_nothing_and_do_not_fail() -> None:
    finder = FaceFinder(FaceDetector(), LandmarkNet())
    assert finder.find(np.zeros((90, 160, 3), np.uint8)) == []


@pytest.mark.parametrize("roll", [-2.5, 0.0, 0.7])
@pytest.mark.parametrize(("yaw", "pitch"), [(0.0, 0.0), (0.5, -0.3), (-1.1, 0.4)])
def test_angles_are_those_of_the_label_camera(yaw: float, pitch: float, roll: float) -> None:
    world_from_camera = geometry.label_camera(yaw, pitch)
    cos, sin = math.cos(roll), math.sin(roll)
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])  # clockwise, as y points down
    angles = geometry.head_angles(turn @ world_from_camera[:3, :3].T)
    np.testing.assert_allclose(angles, (yaw, pitch, roll), atol=1e-9)


def test_the_square_of_a_reading_is_the_one_it_was_made_from() -> None:
    box = known_face(200, 150, 80, yaw=0.6, pitch=0.1, roll=-0.4).box()
    np.testing.assert_allclose(box.centre, (200, 150), atol=1e-9)
    assert (box.side_px, box.roll_rad) == pytest.approx((80, -0.4))


def test_alignment_landmarks_are_taken_from_the_68() -> None:
    points = np.stack([np.arange(68.0), -np.arange(68.0)], axis=1)
    assert geometry.alignment_landmarks(points)[:, 0].tolist() == [37.5, 43.5, 30, 48, 54]


def test_boxes_of_one_face_are_merged_into_the_surest() -> None:
    def box(x: float, side: float, score: float) -> FaceBox:
        return FaceBox(np.array([x, 50.0]), side, 0.0, score)

    kept = apart([box(50, 40, 0.7), box(60, 44, 0.9), box(120, 40, 0.5)])
    assert [(float(b.centre[0]), b.score) for b in kept] == [(60, 0.9), (120, 0.5)]
