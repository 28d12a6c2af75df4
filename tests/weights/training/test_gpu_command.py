"""The one command that fills minutes of a GPU, on a CPU and at a tiny size."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from balls import save_balls
from shared import shared_path
from tiny import SIZES

from tpvideo.weights import store
from tpvideo.weights.training import checkpoints
from tpvideo.weights.training.config import TrainingConfig

ROOT = Path(__file__).resolve().parents[3]
BASH = shutil.which("bash")

pytestmark = pytest.mark.skipif(BASH is None, reason="needs bash")


def write_settings(path: Path, runs: Path, raw_side: int) -> None:
    """gpu.toml with a tiny model and short phases, as a file."""
    head = (
        f'views = "{runs}/views"\noutput = "{runs}"\nbatch = 2\npoints = 8\npatch = 8\n'
        'lanes = 2\nlook_steps = 4\n[[phases]]\nname = "both"\nsamples = 1000\nrate = 1e-3\n'
        "second = true\n"
    )

    def lines(table: dict[str, Any]) -> str:
        plain = {k: v for k, v in table.items() if not isinstance(v, dict)}
        return "".join(f"{k} = {json.dumps(v)}\n" for k, v in plain.items())

    model = {**SIZES, "raw_side": raw_side}
    tables = "".join(
        f"[model.{name}]\n{lines(table)}"
        for name, table in model.items()
        if isinstance(table, dict)
    )
    path.write_text(head + "[model]\n" + lines(model) + tables)


def run(pack: Path, folder: Path, **environment: str) -> None:
    command = [str(BASH), str(ROOT / "bench/train_on_gpu.sh"), str(pack), str(folder / "out")]
    done = subprocess.run(
        [*command, "0.1", str(folder / "run.toml")],
        env={**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def assert_written(folder: Path) -> int:
    """Everything that has to travel is there, in pieces; returns the samples seen."""
    out, runs = folder / "out", folder / "runs"
    names = {path.name for path in out.iterdir()}
    assert {"model.safetensors", "light.pt.000", "log.txt", "sheet.png"} <= names
    assert all(path.stat().st_size <= 16 * 2**20 for path in out.iterdir())
    store.load(out / "model.safetensors")
    checkpoints.join(out, out / "light.pt")
    samples = int(checkpoints.read(out / "light.pt")["samples"])
    assert samples == checkpoints.read(runs / "checkpoint.pt")["samples"] > 0
    return samples


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_it_trains_on_what_is_rendered_and_goes_on_when_called_again(tmp_path: Path) -> None:
    save_balls(tmp_path / "heads", 2)
    (tmp_path / "runs").mkdir()
    (tmp_path / "heads").rename(tmp_path / "runs/heads")
    write_settings(tmp_path / "run.toml", tmp_path / "runs", 16)
    run(tmp_path, tmp_path, RENDER_MINUTES="0", WRITE_MINUTES="0")
    first = assert_written(tmp_path)
    run(tmp_path, tmp_path, RENDER_MINUTES="0", WRITE_MINUTES="0")
    assert assert_written(tmp_path) > first


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_it_renders_heads_of_its_own(tmp_path: Path) -> None:
    for module in ("numba", "cv2", "scipy"):
        pytest.importorskip(module, reason="needs the training extra")
    pack = shared_path("heads/pack")
    write_settings(tmp_path / "run.toml", tmp_path / "runs", 16)
    run(
        pack, tmp_path, RENDER_MINUTES="0.9", WRITE_MINUTES="0",
        HEADS_OPTIONS="--size 64 --views 2 --count 2",
    )  # fmt: skip
    assert len(list((tmp_path / "runs/heads").glob("*.npz"))) == 2
    assert_written(tmp_path)


def test_its_settings_begin_with_the_shipped_model() -> None:
    config = TrainingConfig.read(ROOT / "weights/training/gpu.toml")
    shipped, _ = store.header(store.find("default"))
    assert config.start == "default" and config.model == shipped
