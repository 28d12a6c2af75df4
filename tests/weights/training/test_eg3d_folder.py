from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from balls import ANGLES, save_balls
from PIL import Image
from tiny import labels, tiny_network

from tpvideo.pipeline.errors import ConfigError
from tpvideo.weights.training import datasets, eg3d_folder
from tpvideo.weights.training.packed import pack
from tpvideo.weights.training.photographs import Photographs


def test_heads_become_photographs_with_mattes_and_depths(tmp_path: Path) -> None:
    heads = save_balls(tmp_path / "heads", 2)
    written = eg3d_folder.write(eg3d_folder.of_heads(heads, views=2), tmp_path / "eg3d")
    assert written == 4
    held = Photographs(tmp_path / "eg3d", side=32, target_side=64, seed=0).held_out(4)
    with np.load(heads / "0000001.npz") as views:
        truth, depth = views["rgba"][1], views["depth"][1]
    found = (held.targets[3, 0] + 1).permute(1, 2, 0).numpy() * 127.5
    assert np.abs(found - truth).max() <= 1.5  # alpha taken out and put in: one rounding each way
    assert torch.allclose(held.labels[3], labels(ANGLES[1])[0])
    kept = np.load(tmp_path / "eg3d/depth/00000/img00000003.npy")
    assert kept.dtype == np.float16 and np.array_equal(kept, depth)


def test_a_folder_without_heads_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no head views"):
        eg3d_folder.write(eg3d_folder.of_heads(tmp_path), tmp_path / "eg3d")


@pytest.mark.parametrize("changes", [{}, {"mapping": True, "image_channels": 3}])
def test_heads_of_a_models_own_making_are_a_dataset_that_a_seed_repeats(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    pack(save_balls(tmp_path / "heads", 2), tmp_path / "views")
    network = tiny_network(**changes)
    pictures = []
    for name in ("one", "two"):
        source = datasets.open_plain(tmp_path / "views", network, seed=4)
        made = eg3d_folder.of_generator(network, source, 10, seed=4)
        assert eg3d_folder.write(made, tmp_path / name) == 10
        pictures.append((tmp_path / name / "00000/img00000009.png").read_bytes())
    assert pictures[0] == pictures[1]
    with Image.open(tmp_path / "one/00000/img00000009.png") as picture:
        assert picture.size == (64, 64)
        assert picture.mode == ("RGB" if changes else "RGBA")
    listed = json.loads((tmp_path / "one/dataset.json").read_text())["labels"]
    assert len({tuple(label) for _, label in listed}) > 1
    assert len(datasets.open_plain(tmp_path / "one", network).batch(4).images) == 4


def test_a_shifted_picture_keeps_its_camera(tmp_path: Path) -> None:
    [first, *_] = eg3d_folder.of_heads(save_balls(tmp_path / "heads", 2))
    moved = eg3d_folder.shifted(first, 0.125)
    assert np.array_equal(moved.rgba[:, 8:], first.rgba[:, :-8])  # an eighth of 64 pixels
    assert np.array_equal(moved.label, first.label) and moved.depth is None
    assert eg3d_folder.shifted(first, 0.0) is first
