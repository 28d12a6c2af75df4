from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from safetensors import safe_open

from tpvideo.pipeline.errors import ConfigError, InputError
from tpvideo.stages import geometry
from tpvideo.stages.facefinder import FaceFinder
from tpvideo.stages.networks.landmarks import FaceMap, Landmarks
from tpvideo.weights.training import face, face_heads
from tpvideo.weights.training.face_losses import detector_losses, head_map, landmark_losses
from tpvideo.weights.training.face_scenes import Crops, Scenes, Stock, crops, scenes


def write_head(folder: Path, seed: int, size: int = 64) -> None:
    """A flat gray head, seen by label cameras and by a wider one that stands askew."""
    rng = np.random.default_rng(seed)
    rgba = np.zeros((size, size, 4), np.uint8)
    rgba[size // 4 : -size // 4, size // 4 : -size // 4] = (120, 100, 90, 255)
    views = [geometry.label_camera(*rng.uniform(-0.4, 0.4, 2)) for _ in range(2)]
    aim = geometry.HEAD_CENTRE + np.array([0.05, -0.03, 0.0])
    wide = geometry.label_camera(0.3, 0.1, roll_rad=0.2, aim=aim)
    np.savez(
        folder / f"{seed:07d}.npz",
        rgba=np.stack([rgba, rgba]),
        c2w=np.stack(views).astype(np.float32),
        lm68=np.stack([_points(view, geometry.FOCAL, size) for view in views]),
        w_rgba=rgba[None],
        w_c2w=wide[None].astype(np.float32),
        w_lm68=_points(wide, 2.0, size)[None],
        w_focal=np.array([2.0]),
    )


def _points(camera: np.ndarray, focal: float, size: int) -> np.ndarray:
    """[68, 2] of which the alignment landmarks are those of the mean face."""
    eyes = geometry.MEAN_LANDMARKS
    world = np.repeat(eyes[2:3], 68, axis=0)
    world[[36, 39]], world[[42, 45]], world[48], world[54] = eyes[0], eyes[1], eyes[3], eyes[4]
    seen = (world - camera[:3, 3]) @ camera[:3, :3]
    return np.asarray(size * (focal * seen[:, :2] / seen[:, 2:] + 0.5), np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    heads = tmp_path / "heads"
    heads.mkdir()
    for seed in (1, 2, 3, 900_000):
        write_head(heads, seed)
    panoramas = tmp_path / "panoramas"
    panoramas.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (128, 256, 3), np.uint8)
    Pillow.fromarray(noise).save(panoramas / "noise.jpg")
    return tmp_path


@pytest.fixture
def stock(folder: Path) -> Stock:
    wide, tight = (
        face_heads.pack_heads(
            folder / "heads", folder / "cache", wide=wide, size_px=64, held_out=False
        )
        for wide in (True, False)
    )
    bank = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8)
    return Stock(wide, tight, bank)


def test_held_out_seeds_are_never_packed_for_training(folder: Path, stock: Stock) -> None:
    assert (len(stock.wide.rgba), len(stock.tight.rgba)) == (3, 6)
    held = face_heads.pack_heads(
        folder / "heads", folder / "cache", wide=True, size_px=64, held_out=True
    )
    assert len(held.rgba) == 1
    with pytest.raises(InputError, match="no npz files"):
        face_heads.pack_heads(folder, folder / "cache", wide=True, size_px=64, held_out=False)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("kind", ["wide", "tight"])
def test_landmarks_rotation_and_square_of_a_crop_agree(
    stock: Stock, kind: str, mirrored: bool
) -> None:
    """The mean face, projected by the rotation's label camera, falls on the landmarks."""
    heads = getattr(stock, kind)
    rotation, angle = heads.rotation[1], 0.4
    affine = face_heads.similarity(heads.centre[1], heads.side[1], angle, mirrored)
    points = face_heads.apply(face_heads.invert(affine), heads.points[1])
    if mirrored:
        points = points[face_heads.MIRRORED_POINTS]
    yaw, pitch, roll = geometry.head_angles(face_heads.turned(rotation, -angle, mirrored))
    five = geometry.alignment_landmarks(points)
    fit = geometry.crop_from_landmarks(five, yaw, pitch, roll)
    np.testing.assert_allclose(fit.centre, [0.5, 0.5], atol=0.02)  # weak perspective off the axis
    assert fit.side_px == pytest.approx(1.0, abs=0.03)


def test_mirroring_landmarks_twice_is_nothing() -> None:
    order = np.array(face_heads.MIRRORED_POINTS)
    assert order[order].tolist() == list(range(68))


def test_the_same_seed_gives_the_same_examples(stock: Stock) -> None:
    one, two = (crops(stock, 6, 32, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(np.stack(one.pictures), np.stack(two.pictures))
    assert torch.equal(one.points, two.points)
    other = scenes(stock, 4, 64, np.random.default_rng(5))
    assert np.stack(other.pictures).shape == (4, 64, 64, 3)
    assert other.present.shape == (4, 2)


def one_scene() -> Scenes:
    return Scenes(
        [],
        torch.tensor([[True, False]]),
        torch.tensor([[[20.0, 44.0], [0.0, 0.0]]]),
        torch.tensor([[16.0, 1.0]]),
        torch.tensor([[0.5, 0.0]]),
    )


def test_the_map_of_a_scene_peaks_in_the_heads_cell() -> None:
    truth = head_map(one_scene(), 8)
    assert truth.score.shape == (1, 8, 8)
    assert truth.score[0].argmax() == 5 * 8 + 2
    assert truth.score.max() == 1


def test_a_perfect_detector_loses_next_to_nothing() -> None:
    """Offset, size and roll are told exactly in every cell about the head's."""
    at = torch.arange(8) + 0.5
    score = torch.full((1, 8, 8), -20.0)
    score[0, 5, 2] = 20.0
    offset = torch.stack([(2.5 - at).expand(8, 8), (5.5 - at)[:, None].expand(8, 8)])[None]
    said = FaceMap(
        score,
        offset,
        torch.full((1, 8, 8), 2.0).log(),
        torch.stack([torch.full((8, 8), 0.5).cos(), torch.full((8, 8), 0.5).sin()])[None],
    )
    assert all(float(loss) < 1e-5 for loss in detector_losses(said, one_scene()).values())


def test_landmark_losses_ignore_crops_without_a_face() -> None:
    has_face = torch.tensor([True, False])
    truth = Crops([], torch.full((2, 68, 2), 0.4), torch.eye(3).repeat(2, 1, 1), has_face)
    points = truth.points.clone()
    points[1] += 5.0
    rotation = truth.rotation.clone()
    rotation[1] = -rotation[1]
    said = Landmarks(points, torch.full((2, 68), -3.0), rotation, torch.tensor([20.0, -20.0]))
    losses = landmark_losses(said, truth)
    assert float(losses["points"]) == 0
    assert float(losses["rotation"]) < 2e-3
    assert float(losses["verdict"]) < 1e-6


def test_a_run_resumes_and_its_weights_load(folder: Path) -> None:
    state = torch.get_rng_state()
    paths = {"heads": "heads", "panoramas": "panoramas", "cache": "cache"}
    lines = [f"{key} = '{folder / name}'" for key, name in paths.items()]
    lines += [f"checkpoint = '{folder}/state.pt'", f"weights = '{folder}/face.safetensors'"]
    lines += ["batch = 2", "backgrounds = 3", "detector_px = 64", "landmark_samples = 4"]
    path = folder / "face.toml"
    for total in (2, 4):
        path.write_text("\n".join([*lines, f"detector_samples = {total}"]))
        face.train(face.read_config(path))
        with safe_open(folder / "face.safetensors", "pt") as weights:
            samples = json.loads(weights.metadata()["samples"])
        assert samples == {"detector": total, "landmarks": 4}
    finder = FaceFinder.load(folder / "face.safetensors")
    assert finder.find(np.zeros((64, 64, 3), np.uint8)) == []
    torch.set_rng_state(state)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("batch = 1", "batch must be at least 2"),
        ("colour = 3", "unexpected keyword"),
        ("", "missing"),
    ],
)
def test_a_senseless_configuration_is_refused(tmp_path: Path, line: str, message: str) -> None:
    names = ("heads", "panoramas", "cache", "checkpoint", "weights")
    folders = "\n".join(f"{name} = 'x'" for name in names)
    path = tmp_path / "face.toml"
    path.write_text(f"{folders}\n{line}" if line else "")
    with pytest.raises(ConfigError, match=message):
        face.read_config(path)
    with pytest.raises(ConfigError, match="cannot read"):
        face.read_config(tmp_path / "none.toml")
