from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from shared import shared_path

from tpvideo.weights import parity
from tpvideo.weights.goldens import Goldens, Recorder
from tpvideo.weights.parity_operators import check_operators

OPERATORS = 16


def run(directory: Path, *options: str) -> Result:
    return CliRunner().invoke(parity.main, [str(directory), *options])


def test_every_operator_meets_its_golden() -> None:
    result = run(shared_path("parity"), "--only", "ops.npz")
    assert result.exit_code == 0
    assert f"{OPERATORS} arrays: {OPERATORS} pass" in result.stdout


class Collector(Recorder):
    """Keeps values, to make a golden set of."""

    def __init__(self) -> None:
        super().__init__(Goldens("ops.npz", {}, {}))
        self.values: dict[str, Any] = {}

    def __call__(self, name: str, values: Any) -> None:
        self.values[name] = values.detach().numpy()


def write_set(directory: Path, salt: str, **changes: float) -> None:
    """A golden set of the operators with another salt, some values moved."""
    found = Collector()
    with torch.inference_mode():  # as the command runs them
        check_operators(salt, found)
    for name, change in changes.items():
        found.values[name] = found.values[name] + change
    (directory / "golden").mkdir()
    np.savez(directory / "golden" / "ops.npz", **found.values)
    arrays = {name: {"atol": 1e-5} for name in found.values}
    manifest = {"salt": salt, "arrays": {"ops.npz": arrays}}
    (directory / "golden_manifest.json").write_text(json.dumps(manifest))


def test_salt_and_arrays_come_from_the_directory(tmp_path: Path) -> None:
    write_set(tmp_path, "another:")
    result = run(tmp_path)
    assert result.exit_code == 0, result.output
    assert f"{OPERATORS} arrays: {OPERATORS} pass" in result.stdout


def test_one_wrong_array_fails_the_command_and_is_named(tmp_path: Path) -> None:
    write_set(tmp_path, "another:", filter=0.01)
    result = run(tmp_path)
    assert result.exit_code == 1
    failed = [line for line in result.stdout.splitlines() if line.endswith("FAIL")]
    assert [line.split()[:2] for line in failed[:-1]] == [["ops.npz", "filter"]]
    assert f"{OPERATORS - 1} pass, 1 FAIL" in failed[-1]


def test_a_missing_set_is_one_line(tmp_path: Path) -> None:
    result = run(tmp_path)
    assert result.exit_code == 1
    assert "cannot read" in result.output and "Traceback" not in result.output


def test_nothing_to_compare_is_no_success(tmp_path: Path) -> None:
    write_set(tmp_path, "another:")
    assert run(tmp_path, "--only", "gone.npz").exit_code == 1


@pytest.mark.slow  # fills the published network: 20 s of one core, 2.3 GB
def test_encoder_and_backbone_meet_every_golden() -> None:
    files = ("inputs.npz", "encoder.npz", "backbone.npz")
    rows = parity.compare(shared_path("parity"), files)
    assert len(rows) == 185
    assert [row for row in rows if row.has_failed] == []


@pytest.mark.slow  # the same, and the compiled loops
def test_the_compiled_encoder_and_backbone_meet_every_golden() -> None:
    pytest.importorskip("numba")
    files = ("inputs.npz", "encoder.npz", "backbone.npz")
    rows = parity.compare(shared_path("parity"), files, compiled=True)
    assert len(rows) == 171  # single layers' colours are never held by themselves
    assert [row for row in rows if row.has_failed] == []


@pytest.mark.timeout(1800)
@pytest.mark.weights  # two minutes of one core, 3.5 GB; the same as `make parity`
def test_every_golden_is_met() -> None:
    rows = parity.compare(shared_path("parity"))
    assert len(rows) == 476
    assert [row for row in rows if row.has_failed] == []


@pytest.mark.timeout(1800)
@pytest.mark.weights
def test_the_networks_as_a_cpu_runs_them_meet_every_golden() -> None:
    pytest.importorskip("numba")
    rows = parity.compare(shared_path("parity"), compiled=True)
    assert len(rows) == 458
    assert [row for row in rows if row.has_failed] == []
