from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from balls import ANGLES, save_balls
from tiny import tiny_network

from tpvideo.pipeline.errors import ConfigError
from tpvideo.stages import geometry
from tpvideo.weights.evaluation.heldout import HeldOut, evaluate, margins
from tpvideo.weights.evaluation.report import Finding, Row
from tpvideo.weights.evaluation.scores import psnr
from tpvideo.weights.evaluation.views import (
    DETAIL,
    INPUT,
    MEAN,
    MEAN_DEPTH,
    MODEL,
    WARP,
)

METHODS = [MODEL, DETAIL, INPUT, MEAN, WARP, MEAN_DEPTH]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_balls(tmp_path_factory.mktemp("heads") / "held", 3)


@pytest.fixture(scope="module")
def finding(folder: Path) -> Finding:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return evaluate(tiny_network(), folder)


def test_held_out_heads_are_read_with_their_labels(folder: Path) -> None:
    heads = HeldOut.read(folder)
    assert heads.rgba.shape == (3, 4, 4, 64, 64)
    assert heads.depth.shape == (3, 4, 32, 32)
    assert heads.rgba.min() == 0 and heads.rgba.max() == 1
    expected = geometry.label(geometry.label_camera(*ANGLES[2]))
    np.testing.assert_allclose(heads.labels[1, 2].numpy(), expected, atol=1e-6)
    assert HeldOut.read(folder, 2).names == ["0000000", "0000001"]


def test_a_folder_with_fewer_than_two_heads_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no held-out heads; make them with --held-out"):
        HeldOut.read(save_balls(tmp_path / "one", 1))


def test_every_method_is_scored_on_every_target_view(finding: Finding) -> None:
    assert len(finding.rows) == 3 * 3 * len(METHODS)
    assert [row.method for row in finding.rows[: len(METHODS)]] == METHODS
    for row in finding.rows:
        assert np.isfinite(row.scores["psnr_db"]) and -1 <= row.scores["ssim"] <= 1
        assert ("depth" in row.scores) <= (row.method in (MODEL, MEAN_DEPTH))
    assert any("depth" in row.scores for row in finding.rows if row.method == MEAN_DEPTH)


def test_the_rivals_are_the_input_itself_and_the_mean_of_the_others(
    finding: Finding, folder: Path
) -> None:
    heads = HeldOut.read(folder)
    truth = heads.rgba[:, 1, :3]
    mask = (heads.rgba[:, 1, 3:] > 0.5).float()
    others = torch.stack([truth[[1, 2]].mean(0), truth[[0, 2]].mean(0), truth[[0, 1]].mean(0)])
    for method, pictures in ((INPUT, heads.rgba[:, 0, :3]), (MEAN, others)):
        found = [
            row.scores["psnr_db"]
            for row in finding.rows
            if row.method == method and row.yaw_rad == pytest.approx(ANGLES[1][0], abs=1e-3)
        ]
        assert found == pytest.approx(psnr(pictures, truth, mask).tolist(), abs=1e-4)


def test_the_turn_is_counted_from_the_input(finding: Finding) -> None:
    turns = {round(row.yaw_rad, 3): round(row.turn_rad, 3) for row in finding.rows}
    assert turns == {yaw: pytest.approx(abs(yaw - ANGLES[0][0])) for yaw, _ in ANGLES[1:]}


def test_the_tables_have_a_line_a_method_and_a_column_a_yaw(finding: Finding) -> None:
    quality, depth = (table.splitlines() for table in finding.tables)
    expected = "| method | yaw -0.30 | yaw +0.25 | yaw +0.60 | turned by ≥ 0.3 | all |"
    assert quality[0] == depth[0] == expected
    assert [line.split(" | ")[0] for line in quality[2:]] == [f"| {m}" for m in METHODS]
    assert len(depth) == 4


def test_a_target_holds_or_fails_by_the_mean_advantage_in_novel_views() -> None:
    rows = []
    for name, mine in (("a", 24.0), ("b", 22.0)):
        for method, decibels in ((DETAIL, mine), (WARP, 19.0), (MEAN_DEPTH, 22.5)):
            rows.append(Row(name, method, 0.5, 0.5, {"psnr_db": decibels}))
            rows.append(Row(name, method, 0.1, 0.1, {"psnr_db": 0.0}))  # hardly turned
    warp, mean_depth = margins(rows)
    assert warp.endswith("better than planar warp: holds (+4.00 ± 1.00 dB)")
    assert "through the mean head: FAILS (+0.50 ± 1.00 dB)" in mean_depth


def test_the_sheet_shows_truth_above_what_was_made(finding: Finding) -> None:
    assert finding.sheet is not None
    assert finding.sheet.shape == (3 * 3 * 128, 4 * 128, 3)
