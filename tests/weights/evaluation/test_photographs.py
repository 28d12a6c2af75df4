from __future__ import annotations

from pathlib import Path

import pytest
import torch
from balls import save_balls
from eg3d_folder import save_folder
from tiny import tiny_network
from torch import Tensor

from tpvideo.pipeline.errors import InputError
from tpvideo.stages.networks.identity import IdentityNet
from tpvideo.weights.evaluation import paper
from tpvideo.weights.evaluation.paper import YAWS_RAD
from tpvideo.weights.evaluation.photographs import evaluate
from tpvideo.weights.training import eg3d_folder
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
    [table] = finding.tables  # no identity: no table 3
    assert table.splitlines()[0] == (
        "| | MSE ↓ | MS-SSIM ↑ | Depth ↓ | infer. time (s) ↓ | of the processor (s) |"
    )
    assert any(note.startswith("LPIPS is absent: it needs alexnet") for note in finding.notes)
    assert any(note.startswith("ID is absent: it needs ir-se50") for note in finding.notes)
    same = [row for row in finding.rows if "mse" in row.scores]
    assert len(same) == len(finding.rows) == 2
    assert all(0 <= row.scores["ms_ssim"] <= 1 and row.scores["mse"] > 0 for row in same)
    assert finding.sheet is not None and finding.sheet.shape == (2 * 128, 8 * 128, 3)


def test_with_judges_identity_is_scored_in_every_view(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(1)
    who = IdentityNet(widths=(8, 8, 8, 8, 8), units=(1, 1, 1, 1), side=32, size=8, reduction=4)
    judges = Critics(Apart(), who)
    monkeypatch.setattr(paper, "load_critics", lambda *_, **__: judges)
    finding = evaluate(tiny_network(), save_folder(tmp_path / "faces"), most=1)
    same, novel = finding.tables
    assert "| | MSE ↓ | LPIPS ↓ | ID ↑ | MS-SSIM ↑ | Depth ↓ |" in same
    assert novel.splitlines()[0] == (
        "| method | ID at -0.8 | ID at -0.6 | ID at -0.3 | ID at +0.3 | ID at +0.6 | ID at +0.8 "
        "| Avg |"
    )
    assert not any("absent" in note for note in finding.notes)
    own, *others = finding.rows
    assert "lpips" in own.scores and -1 <= own.scores["id"] <= 1
    assert [row.yaw_rad for row in others] == list(YAWS_RAD)
    assert all(-1 <= row.scores["id"] <= 1 for row in others)


def test_a_folder_with_true_depths_is_scored_by_them_too(tmp_path: Path) -> None:
    folder = tmp_path / "eg3d"
    eg3d_folder.write(eg3d_folder.of_heads(save_balls(tmp_path / "heads", 2)), folder)
    finding = evaluate(tiny_network(), folder)
    assert "true depth: MSE ↓ | shape ↓" in finding.tables[0]
    own = [row.scores for row in finding.rows if "mse" in row.scores]
    assert len(own) == 2 and all(s["yardstick_mse"] >= 0 and s["shape"] > 0 for s in own)
    assert any("itself is" in note for note in finding.notes)
    (folder / "depth/00000/img00000000.npy").write_bytes(b"no array")
    with pytest.raises(InputError, match="no map of depths"):
        evaluate(tiny_network(), folder)
