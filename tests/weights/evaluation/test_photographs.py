from __future__ import annotations

from pathlib import Path

import pytest
import torch
from eg3d_folder import save_folder
from tiny import tiny_network
from torch import Tensor

from tpvideo.stages.networks.identity import IdentityNet
from tpvideo.weights.evaluation import photographs
from tpvideo.weights.evaluation.photographs import SAME, YAWS_RAD, evaluate
from tpvideo.weights.training.critics import Critics


class Apart(torch.nn.Module):
    """The mean difference: a distance that is easily checked."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return (a - b).abs().mean(dim=(1, 2, 3))


@pytest.fixture(autouse=True)
def small_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TPVIDEO_WEIGHTS", str(tmp_path / "weights"))


def test_without_published_judges_their_columns_are_absent_with_a_note(tmp_path: Path) -> None:
    finding = evaluate(tiny_network(), save_folder(tmp_path / "faces"), most=2)
    assert finding.tables[0].splitlines()[0] == "| | MSE | MS-SSIM | seconds | CPU seconds |"
    assert any(note.startswith("LPIPS is absent: it needs alexnet") for note in finding.notes)
    assert any(note.startswith("ID is absent: it needs ir-se50") for note in finding.notes)
    same = [row for row in finding.rows if row.method == SAME]
    assert len(same) == 2 and len(finding.rows) == 2 * (1 + len(YAWS_RAD))
    assert all(0 <= row.scores["ms_ssim"] <= 1 and row.scores["mse"] > 0 for row in same)


def test_with_judges_identity_is_scored_in_every_view(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(1)
    who = IdentityNet(widths=(8, 8, 8, 8, 8), units=(1, 1, 1, 1), side=32, size=8, reduction=4)
    judges = Critics(Apart(), who)
    monkeypatch.setattr(photographs, "load_critics", lambda *_, **__: judges)
    finding = evaluate(tiny_network(), save_folder(tmp_path / "faces"), most=1)
    assert "| | MSE | LPIPS | MS-SSIM | ID |" in finding.tables[0]
    assert not any("absent" in note for note in finding.notes)
    assert all(-1 <= row.scores["id"] <= 1 for row in finding.rows)
    assert ["lpips" in row.scores for row in finding.rows] == [True] + [False] * len(YAWS_RAD)
    assert [row.method for row in finding.rows[1:3]] == ["yaw -0.8", "yaw -0.6"]
