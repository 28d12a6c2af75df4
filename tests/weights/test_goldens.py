from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tpvideo.pipeline.errors import WeightsError
from tpvideo.weights import goldens
from tpvideo.weights.goldens import Goldens, Recorder, reduce


def recorder(atol: float = 0.5, **arrays: Any) -> Recorder:
    known = {name.replace("__", "."): np.asarray(values) for name, values in arrays.items()}
    return Recorder(Goldens("f.npz", known, dict.fromkeys(known, atol)))


def verdicts(put: Recorder) -> dict[str, str]:
    return {row.name: row.verdict for row in put.table()}


def test_forms_of_a_tensor() -> None:
    values = np.arange(16.0).reshape(1, 4, 4)
    assert reduce(values, "s2").tolist() == [[[0, 2], [8, 10]]]
    assert reduce(values, "stat").tolist() == [7.5, math.sqrt(255 / 12), 0, 15]
    assert reduce(values, "probe").tolist() == values.reshape(-1).tolist()
    long = np.arange(1000)
    assert reduce(long, "probe")[[0, 1, 127]].tolist() == [0, 7, 999]  # floor(999 k / 127)


def test_every_form_of_a_name_is_compared_when_its_tensor_is_known() -> None:
    put = recorder(x=[[1.0, 2.0]], x__stat=[1.5, 0.5, 1.0, 2.0], x__s2=[[1.0]], xy=[1.0])
    put("x", torch.tensor([[1.0, 2.0]]))
    assert verdicts(put) == {
        "x": "pass",
        "x.stat": "pass",
        "x.s2": "pass",
        "xy": "FAIL (not computed)",
    }


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        (1000.5, "pass"),
        (1000.9, "pass (faster order)"),  # within 1e-3 of the largest value
        (1001.1, "FAIL"),
        (math.nan, "FAIL"),
        (math.inf, "FAIL"),
    ],
)
def test_an_error_is_judged_by_the_limit(value: float, verdict: str) -> None:
    put = recorder(x=[1000.0, 0.0])
    put("x", np.array([value, 0.0]))
    assert verdicts(put) == {"x": verdict}


def test_another_shape_fails() -> None:
    put = recorder(x=[1.0, 2.0])
    put("x", np.array([[1.0, 2.0]]))
    assert verdicts(put) == {"x": "FAIL"}


def test_without_a_limit_values_must_be_equal() -> None:
    put = Recorder(Goldens("f.npz", {"x": np.array([1000])}, {}))
    put("x", np.array([1001]))
    assert verdicts(put) == {"x": "FAIL"}


def write_set(directory: Path, sha256: str | None = None) -> None:
    (directory / "golden").mkdir()
    path = directory / "golden" / "f.npz"
    np.savez(path, x=np.ones(2))
    digest = sha256 or hashlib.sha256(path.read_bytes()).hexdigest()
    manifest = {"salt": "s:", "sha256": {"f.npz": digest}, "arrays": {"f.npz": {"x": {"atol": 1}}}}
    (directory / "golden_manifest.json").write_text(json.dumps(manifest))


def test_a_set_is_read_with_its_salt_and_limits(tmp_path: Path) -> None:
    write_set(tmp_path)
    known = goldens.read(tmp_path)
    assert known.salt == "s:"
    assert known.files["f.npz"].limits == {"x": 1}
    assert known.array("f.npz", "x").tolist() == [1, 1]
    with pytest.raises(WeightsError, match=r"lacks y in f\.npz"):
        known.array("f.npz", "y")


def test_a_damaged_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="give a golden set"):
        goldens.read(tmp_path)
    write_set(tmp_path, sha256="0" * 64)
    with pytest.raises(WeightsError, match="SHA-256 differs"):
        goldens.read(tmp_path)
    (tmp_path / "golden_manifest.json").write_text("{}")
    with pytest.raises(WeightsError, match="no manifest of a golden set"):
        goldens.read(tmp_path)
