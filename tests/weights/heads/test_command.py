"""The generator's command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from shared import shared_path

from tpvideo.pipeline.errors import MissingExtraError
from tpvideo.weights.training.heads import require_training_extra
from tpvideo.weights.training.heads.__main__ import main
from tpvideo.weights.training.heads.talk import main as talk


def need_training_extra() -> None:
    """Skip the calling test, with the reason, where the extra is not installed."""
    for module in ("numba", "cv2", "scipy"):
        pytest.importorskip(module, reason="needs the training extra")


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tpvideo.weights.training.heads.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tpvideo\[training\]'"):
        require_training_extra()
    for command in (main, talk):
        result = CliRunner().invoke(command, [str(tmp_path / "out"), "--pack", "nowhere"])
        assert result.exit_code == 1
        assert result.output.strip().count("\n") == 0
        assert "tpvideo[training]" in result.output


def test_the_commands_load_without_the_extra() -> None:
    """Asked of a fresh interpreter in which the extra's modules cannot be imported."""
    block = "import sys; sys.modules.update(numba=None, cv2=None, scipy=None); "
    names = ("__main__", "talk")
    load = "; ".join(f"import tpvideo.weights.training.heads.{name}" for name in names)
    done = subprocess.run(
        [sys.executable, "-c", block + load], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_missing_pack_gives_one_line(tmp_path: Path) -> None:
    need_training_extra()
    result = CliRunner().invoke(main, [str(tmp_path / "out"), "--pack", str(tmp_path / "none")])
    assert result.exit_code == 1
    last = result.output.strip().splitlines()[-1]
    assert last.startswith(f"Error: cannot read {tmp_path / 'none'}: no head.npz there")
    assert isinstance(result.exception, SystemExit)


def test_held_out_seeds_cannot_be_trained_on(tmp_path: Path) -> None:
    need_training_extra()
    arguments = [str(tmp_path), "--pack", "any", "--seed0", "899999", "--count", "2"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert "held-out" in result.output


@pytest.mark.slow
def test_files_hold_the_documented_arrays_and_are_made_once(tmp_path: Path) -> None:
    need_training_extra()
    pack = str(shared_path("heads/pack"))
    arguments = [str(tmp_path), "--pack", pack, "--seed0", "77", "--count", "1", "--views", "1"]
    arguments += ["--size", "32", "--wide-size", "48"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert [path.name for path in tmp_path.iterdir()] == ["0000077.npz"]
    with np.load(tmp_path / "0000077.npz") as views:
        shapes = {key: (views[key].shape, views[key].dtype) for key in views.files}
    assert shapes == {
        "rgba": ((1, 32, 32, 4), np.uint8),
        "depth": ((1, 16, 16), np.float16),
        "c2w": ((1, 4, 4), np.float32),
        "lm68": ((1, 68, 2), np.float32),
        "w_rgba": ((1, 48, 48, 4), np.uint8),
        "w_c2w": ((1, 4, 4), np.float32),
        "w_lm68": ((1, 68, 2), np.float32),
        "w_focal": ((1,), np.float64),
        "lm68_3d": ((68, 3), np.float32),
    }
    before = (tmp_path / "0000077.npz").stat().st_mtime_ns
    assert "1 of 1 files are there" in CliRunner().invoke(main, arguments).output
    assert (tmp_path / "0000077.npz").stat().st_mtime_ns == before
