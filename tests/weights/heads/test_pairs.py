"""People before and after one change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from shared import shared_path

from tpvideo.weights.training.heads.pairs import CHANGES, PLAIN, main

CORNERS = [48, 54]
"""Of the mouth, iBUG's numbers."""


@pytest.mark.slow
def test_a_pair_differs_in_its_change_alone(tmp_path: Path) -> None:
    pack = shared_path("heads/pack")
    ran = CliRunner().invoke(main, [str(tmp_path), "--pack", str(pack), "--count", "1"])
    assert ran.exit_code == 0, ran.output
    found = {path.parent.name: dict(np.load(path)) for path in tmp_path.glob("*/*.npz")}
    assert found.keys() == {PLAIN, *CHANGES}
    plain = found[PLAIN]
    for name in CHANGES:
        assert np.array_equal(found[name]["c2w"], plain["c2w"])
        assert not np.array_equal(found[name]["rgba"], plain["rgba"])
    rise = (found["smile"]["lm68_3d"] - plain["lm68_3d"])[:, 1]
    assert rise[CORNERS].min() > 0.01
    assert np.abs(rise[:17]).max() < rise[CORNERS].min()  # the jaw stays
    eyes = np.s_[0, 30:50, 40:88, :3]  # above the eyes nothing changes
    apart = np.abs(found["smile"]["rgba"][eyes].astype(int) - plain["rgba"][eyes])
    assert np.median(apart) <= 1


def test_a_folder_that_is_no_pack_is_refused(tmp_path: Path) -> None:
    ran = CliRunner().invoke(main, [str(tmp_path), "--pack", str(tmp_path)])
    assert ran.exit_code == 1 and "no head.npz there" in ran.output
