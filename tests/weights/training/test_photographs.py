from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from balls import ANGLES, CENTRE
from eg3d_folder import save_folder
from PIL import Image

from tpvideo.pipeline.errors import ConfigError, InputError
from tpvideo.stages import geometry
from tpvideo.weights.training.photographs import LEAST_DEVIATION, Photographs


def opened(folder: Path, *, flaws: bool = False, seed: int = 3) -> Photographs:
    return Photographs(folder, side=32, target_side=64, seed=seed, flaws=flaws)


def test_a_batch_is_the_picture_with_its_own_camera(tmp_path: Path) -> None:
    batch = opened(save_folder(tmp_path)).batch(6)
    assert batch.images.shape == (6, 3, 32, 32) and batch.targets.shape == (6, 3, 64, 64)
    assert torch.equal(batch.labels, batch.target_labels)
    assert torch.equal(batch.images, batch.truth)
    assert batch.geometry is None and batch.deviations is None
    assert batch.images.min() >= -1 and batch.images.max() <= 1


def test_every_picture_agrees_with_its_label_also_when_it_is_mirrored(tmp_path: Path) -> None:
    batch = opened(save_folder(tmp_path, mattes=True)).batch(16)
    mirrored = 0
    for alpha, label in zip(batch.targets[:, 3], batch.labels, strict=True):
        solid = (alpha > 0).double()
        columns = (torch.arange(64, dtype=torch.float64) + 0.5) / 64
        middle = float((solid.sum(0) * columns).sum() / solid.sum())
        camera = label[:16].reshape(4, 4).double().numpy()
        places = []
        for sign in (1, -1):  # the ball where it is, or mirrored
            x, _, z = (CENTRE * [sign, 1, 1] - camera[:3, 3]) @ camera[:3, :3]
            places.append(geometry.FOCAL * x / z + 0.5)
        yaw = geometry.angles(camera)[0]
        is_mirrored = all(abs(yaw - known) > 1e-4 for known, _ in ANGLES) or abs(
            middle - places[0]
        ) > abs(middle - places[1])
        assert middle == pytest.approx(places[int(is_mirrored)], abs=0.006)
        mirrored += int(is_mirrored)
    assert 0 < mirrored < 16


def test_mattes_make_the_pictures_premultiplied(tmp_path: Path) -> None:
    batch = opened(save_folder(tmp_path, mattes=True)).batch(4)
    assert batch.targets.shape[1] == 4
    assert (batch.targets[:, :3] <= batch.targets[:, 3:] + 1e-5).all()


def test_confidence_maps_are_mirrored_with_their_picture(tmp_path: Path) -> None:
    batch = opened(save_folder(tmp_path, confidence=True)).batch(16)
    assert batch.deviations is not None and batch.deviations.shape == (16, 1, 32, 32)
    assert batch.deviations.min() == LEAST_DEVIATION
    rises = batch.deviations[:, 0, 16, -1] > batch.deviations[:, 0, 16, 0]
    yaws = [geometry.angles(label[:16].reshape(4, 4).numpy())[0] for label in batch.labels]
    for yaw, rising in zip(yaws, rises, strict=True):
        if abs(yaw) > 0.01:  # the frontal one is its own mirror image
            assert bool(rising) == any(abs(yaw - known) < 1e-4 for known, _ in ANGLES)


def test_the_same_seed_draws_the_same_and_a_state_resumes(tmp_path: Path) -> None:
    folder = save_folder(tmp_path)
    one = opened(folder, flaws=True)
    assert torch.equal(one.batch(3).images, opened(folder, flaws=True).batch(3).images)
    state = one.state
    expected = one.batch(4)
    late = opened(folder, flaws=True, seed=9)
    late.state = state
    found = late.batch(4)
    assert torch.equal(found.images, expected.images) and torch.equal(found.labels, expected.labels)
    assert not torch.equal(found.images, found.truth)


def test_held_out_pictures_are_their_own_targets(tmp_path: Path) -> None:
    held = opened(save_folder(tmp_path)).held_out(9)
    assert held.images.shape == (4, 3, 32, 32) and held.targets.shape == (4, 1, 3, 64, 64)
    assert torch.equal(held.labels, held.target_labels[:, 0])


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[]", "no list in EG3D's format"),
        ('{"labels": null}', "no list in EG3D's format"),
        ('{"labels": [["a.png", [1, 2]]]}', "25 numbers"),
        ("{", "no list in EG3D's format"),
    ],
)
def test_a_list_that_is_none_of_eg3ds_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(ConfigError, match=complaint):
        opened(tmp_path)


def test_pictures_that_are_missing_or_oblong_are_named(tmp_path: Path) -> None:
    label = np.zeros(25).tolist()
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": [["a.png", label]]}))
    with pytest.raises(InputError, match=r"a\.png"):
        opened(tmp_path)
    Image.new("RGB", (8, 4)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="are square"):
        opened(tmp_path)
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    assert opened(tmp_path).batch(2).images.shape == (2, 3, 32, 32)  # grey ones have colours too
