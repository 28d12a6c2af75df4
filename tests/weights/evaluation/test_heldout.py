from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from balls import ANGLES, save_balls
from tiny import tiny_network

from tpvideo.pipeline.errors import ConfigError
from tpvideo.stages import geometry
from tpvideo.weights.evaluation.heldout import (
    METHODS,
    HeldOut,
    Score,
    contact_sheet,
    score,
    table,
)
from tpvideo.weights.evaluation.scores import psnr


@pytest.fixture
def heads(tmp_path: Path) -> HeldOut:
    return HeldOut.read(save_balls(tmp_path / "held", 3))


def test_held_out_heads_are_read_with_their_labels(heads: HeldOut) -> None:
    assert heads.rgba.shape == (3, 4, 4, 64, 64)
    assert heads.rgba.min() == 0 and heads.rgba.max() == 1
    expected = geometry.label(geometry.label_camera(*ANGLES[2]))
    np.testing.assert_allclose(heads.labels[1, 2].numpy(), expected, atol=1e-6)


def test_a_folder_with_fewer_than_two_heads_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no held-out heads; make them with --held-out"):
        HeldOut.read(save_balls(tmp_path / "one", 1))


def test_every_method_is_scored_on_every_target_view(heads: HeldOut) -> None:
    scores, rendered = score(tiny_network(), heads, dtype=torch.float32)
    assert rendered.shape == (3, 3, 3, 64, 64)
    assert rendered.min() >= 0 and rendered.max() <= 1
    expected = [(method, yaw) for yaw, _ in ANGLES[1:] for method in METHODS]
    assert [(item.method, item.yaw_rad) for item in scores] == expected
    assert all(-1 <= item.ssim <= 1 and item.psnr_error_db >= 0 for item in scores)


def test_the_rivals_are_the_input_itself_and_the_mean_of_the_others(heads: HeldOut) -> None:
    scores, rendered = score(tiny_network(), heads, dtype=torch.float32)
    truth = heads.rgba[:, 1, :3]
    mask = (heads.rgba[:, 1, 3:] > 0.5).float()
    others = torch.stack([truth[[1, 2]].mean(0), truth[[0, 2]].mean(0), truth[[0, 1]].mean(0)])
    by_method = {item.method: item for item in scores if item.yaw_rad == ANGLES[1][0]}
    for method, pictures in (
        ("model with detail", rendered[:, 0]),
        ("input repeated", heads.rgba[:, 0, :3]),
        ("mean head", others),
    ):
        found = psnr(pictures, truth, mask)
        assert by_method[method].psnr_db == pytest.approx(found.mean().item(), abs=1e-4)
        error = found.std().item() / 3**0.5
        assert by_method[method].psnr_error_db == pytest.approx(error, abs=1e-4)


def test_the_table_has_a_row_a_method_and_a_column_a_yaw() -> None:
    scores = [
        Score(method, yaw, 20.0 + number + yaw, 0.25, 0.5 + yaw / 10)
        for number, method in enumerate(METHODS)
        for yaw in (0.3, -0.3)
    ]
    assert table(scores).splitlines() == [
        "| method | yaw -0.30 | yaw +0.30 | mean |",
        "|---|---|---|---|",
        "| model | 19.70 ± 0.25 / 0.470 | 20.30 ± 0.25 / 0.530 | 20.00 / 0.500 |",
        "| model with detail | 20.70 ± 0.25 / 0.470 | 21.30 ± 0.25 / 0.530 | 21.00 / 0.500 |",
        "| input repeated | 21.70 ± 0.25 / 0.470 | 22.30 ± 0.25 / 0.530 | 22.00 / 0.500 |",
        "| mean head | 22.70 ± 0.25 / 0.470 | 23.30 ± 0.25 / 0.530 | 23.00 / 0.500 |",
    ]


def test_the_contact_sheet_shows_truth_above_what_was_made(heads: HeldOut) -> None:
    rendered = torch.full((3, 3, 3, 64, 64), 0.5)
    sheet = contact_sheet(heads, rendered, count=2)
    assert sheet.shape == (2 * 2 * 64, 4 * 64, 3) and sheet.dtype == np.uint8
    truth = (heads.rgba[1, 3, :3].permute(1, 2, 0) * 255).round().numpy()
    np.testing.assert_array_equal(sheet[128:192, 192:], truth)
    assert (sheet[192:, :64] == 0).all() and (sheet[192:, 64:] == 128).all()
