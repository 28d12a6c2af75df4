from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from faces import numbered
from numpy.typing import NDArray
from onnxruntime import InferenceSession
from shared import shared_path

from tpvideo.pipeline.frame import Face, Image, Posed, Stamp, StreamInfo
from tpvideo.stages import geometry
from tpvideo.stages.crop_matting import CropMatting
from tpvideo.stages.decode import FileSource
from tpvideo.stages.face import FaceCrop
from tpvideo.stages.facefinder import FaceFinder
from tpvideo.stages.matting import Matting
from tpvideo.weights import store

INFO = StreamInfo(64, 48, Fraction(25), Fraction(1, 25), None)


def posed(crop: Image, alpha: Image | None = None) -> Posed:
    side = len(crop)
    alpha = np.full((side, side), 255, np.uint8) if alpha is None else alpha
    label = geometry.label(geometry.label_camera(0, 0))
    face = Face(crop, alpha, label, np.eye(2, 3), confidence=1.0)
    return Posed(Stamp(0, 0), crop, face)


def shipped(smooth: float = 0) -> CropMatting:
    stage = CropMatting(Matting(store.find("matting"), smooth=smooth))
    stage.open(INFO)
    return stage


def alpha_of(stage: CropMatting, item: Posed) -> NDArray[np.float64]:
    (matted,) = stage.process([item])
    assert matted.face is not None
    return matted.face.alpha / 255


def drawn_person(side: int) -> Image:
    """A head and shoulders of ellipses before a grey wall, in EG3D's framing."""
    height = width = side
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float64)
    y, x = 0.46 * rows / height + 0.185, 0.46 * (columns - 0.5 * width) / height
    rgb = np.full((height, width, 3), (178, 180, 182), float)
    rgb -= 30 * y[..., None]

    def paint(inside: NDArray[np.bool_], colour: tuple[int, int, int]) -> None:
        shade = 1 - 0.5 * np.abs(x[..., None])
        rgb[inside] = (np.array(colour) * shade)[inside]

    paint((x / 0.42) ** 2 + ((y - 1.05) / 0.38) ** 2 < 1, (40, 60, 110))
    paint((np.abs(x) < 0.075) & (y > 0.5) & (y < 0.74), (180, 130, 105))
    paint((x / 0.155) ** 2 + ((y - 0.33) / 0.22) ** 2 < 1, (50, 35, 25))
    paint((x / 0.13) ** 2 + ((y - 0.39) / 0.2) ** 2 < 1, (205, 155, 130))
    for side in (-0.05, 0.05):
        paint(((x - side) / 0.025) ** 2 + ((y - 0.37) / 0.012) ** 2 < 1, (60, 45, 40))
    paint((x / 0.045) ** 2 + ((y - 0.5) / 0.012) ** 2 < 1, (150, 80, 80))
    noise = np.random.default_rng(0).normal(0, 3, rgb.shape)
    return np.clip(rgb + noise, 0, 255).astype(np.uint8)


def test_the_shipped_network_separates_a_head_from_a_wall() -> None:
    alpha = alpha_of(shipped(), posed(drawn_person(256)))
    assert alpha.shape == (256, 256)
    assert alpha[60:220, 90:166].mean() > 0.95
    assert alpha[:120, :40].mean() < 0.05
    assert alpha[:120, -40:].mean() < 0.05


def test_a_matte_is_only_narrowed() -> None:
    before = np.full((256, 256), 255, np.uint8)
    before[:, :128] = 0  # beyond the frame's edge, say
    alpha = alpha_of(shipped(), posed(drawn_person(256), before))
    assert (alpha[:, :128] == 0).all()
    assert alpha[60:220, 128:166].mean() > 0.95


def test_a_frame_without_a_face_passes_by() -> None:
    item = Posed(Stamp(3, 3), numbered(3), None)
    assert shipped().process([item]) == [item]


def test_a_new_face_is_not_steadied_with_the_one_before() -> None:
    picture = drawn_person(256)
    empty = np.full_like(picture, 180)
    stage = shipped(smooth=1.0)
    first = alpha_of(stage, posed(picture))
    alpha_of(stage, posed(empty))
    again = alpha_of(stage, replace(posed(picture), cut=True))
    np.testing.assert_array_equal(again, first)


def test_an_interrupted_matting_goes_on_with_its_memory() -> None:
    rng = np.random.default_rng(1)
    pictures = [drawn_person(128) + rng.integers(0, 3, (128, 128, 3), np.uint8) for _ in range(3)]
    whole = shipped(smooth=1.0)
    expected = [alpha_of(whole, posed(picture)) for picture in pictures][-1]
    first, second = shipped(smooth=1.0), shipped(smooth=1.0)
    for picture in pictures[:2]:
        alpha_of(first, posed(picture))
    second.restore(first.state())
    np.testing.assert_array_equal(alpha_of(second, posed(pictures[2])), expected)


def test_the_shipped_file_says_that_it_is_for_crops_and_is_small() -> None:
    path = store.find("matting")
    assert path.stat().st_size < 2_000_000
    assert Matting(path).is_for_crops
    assert Matting(InferenceSession(path)).is_for_crops


@pytest.mark.parametrize("clip", ["p01_turn_a_1080p.mp4", "p07_lowres_speech.mpg"])
def test_real_people_are_kept_and_their_rooms_are_not(clip: str) -> None:
    source = FileSource(Path(shared_path(f"clips/public/{clip}")))
    crop, stage = FaceCrop(FaceFinder.load(store.find("face"), "cpu")), shipped()
    crop.open(source.open())
    (item,) = crop.process([next(iter(source))])
    source.close()
    assert item.face is not None
    alpha = alpha_of(stage, item)
    assert alpha[75:200, 90:165].mean() > 0.97  # the face
    assert alpha[:75, :15].mean() < 0.05  # the room, left and right of it
    assert alpha[:75, -15:].mean() < 0.05
