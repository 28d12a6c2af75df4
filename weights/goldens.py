"""A golden set on disk: a manifest, and arrays that a correct network reproduces.

Spec: parity, section 1. `name` is a full tensor; `name.sK` every K-th row and column; `name.stat`
mean, population deviation, least and largest value; `name.probe` up to 128 values spread evenly.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tpvideo.pipeline.errors import WeightsError

Array = NDArray[Any]

FASTER_ORDER = 1e-3
"""What another order of operations may cost, of an array's largest magnitude."""

_REDUCED = re.compile(r"(?P<name>.+)\.(?P<form>s\d+|stat|probe)$")

Verdict = Literal["pass", "pass (faster order)", "input", "FAIL", "FAIL (not computed)"]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the parity table."""

    file: str
    name: str
    error: float
    """Largest absolute error."""
    relative: float
    """The same over the array's largest magnitude."""
    atol: float
    verdict: Verdict

    @property
    def has_failed(self) -> bool:
        """Whether the array was not reproduced."""
        return self.verdict.startswith("FAIL")


@dataclass(frozen=True, slots=True)
class Goldens:
    """The arrays of one file and how exactly each must be met; a missing limit means equality."""

    file: str
    arrays: dict[str, Array]
    limits: dict[str, float]


@dataclass(frozen=True, slots=True)
class GoldenSet:
    """Salt of the weights, and every array by file."""

    salt: str
    files: dict[str, Goldens]

    def array(self, file: str, name: str) -> Array:
        """One array.

        Raises:
            WeightsError: the set lacks it.
        """
        try:
            return self.files[file].arrays[name]
        except KeyError:
            raise WeightsError(f"the golden set lacks {name} in {file}") from None


def read(directory: Path) -> GoldenSet:
    """The set in `directory`: `golden_manifest.json` and `golden/*.npz`, hashes checked.

    Raises:
        WeightsError: it is missing or damaged.
    """
    path = directory / "golden_manifest.json"
    try:
        manifest = json.loads(path.read_text())
        salt, entries, hashes = manifest["salt"], manifest["arrays"], manifest.get("sha256", {})
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror}; give a golden set") from error
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path} is no manifest of a golden set: {error!r}") from error
    return GoldenSet(
        salt,
        {
            file: _read_file(directory / "golden" / file, arrays, hashes.get(file))
            for file, arrays in entries.items()
        },
    )


def _read_file(path: Path, entries: dict[str, dict[str, Any]], sha256: str | None) -> Goldens:
    try:
        content = path.read_bytes()
        if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
            raise WeightsError(f"{path} is not the file of its manifest: SHA-256 differs")
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in entries}
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, KeyError) as error:
        raise WeightsError(f"{path} does not hold what its manifest lists: {error}") from error
    limits = {name: entry["atol"] for name, entry in entries.items() if "atol" in entry}
    return Goldens(path.name, arrays, limits)


@dataclass(slots=True)
class Recorder:
    """Compares values with one file's goldens as they are computed, and keeps only the errors."""

    goldens: Goldens
    rows: dict[str, Row] = field(default_factory=dict)

    def __call__(self, name: str, values: Tensor | Array) -> None:
        """Compare `values`, a full tensor, with every golden that is a form of it."""
        for golden in self.goldens.arrays:
            form = _form_of(golden, name)
            if form is not None:
                self.rows[golden] = self._compare(golden, reduce(_as_array(values), form))

    def given(self, *names: str) -> None:
        """These arrays are inputs: there is nothing to compare."""
        for name in names:
            if name in self.goldens.arrays:
                self.rows[name] = Row(self.goldens.file, name, 0.0, 0.0, 0.0, "input")

    def table(self) -> Iterator[Row]:
        """A row for each golden, in the manifest's order; what was never computed has failed."""
        nan = float("nan")
        for name in self.goldens.arrays:
            atol = self.goldens.limits.get(name, 0.0)
            missed = Row(self.goldens.file, name, nan, nan, atol, "FAIL (not computed)")
            yield self.rows.get(name, missed)

    def _compare(self, name: str, values: Array) -> Row:
        golden, file = self.goldens.arrays[name], self.goldens.file
        atol = self.goldens.limits.get(name, 0.0)
        if values.shape != golden.shape:
            return Row(file, name, float("inf"), float("inf"), atol, "FAIL")
        expected = golden.astype(np.float64)
        error = float(np.abs(values.astype(np.float64) - expected).max())  # NaN fails below
        largest = float(np.abs(expected).max()) or 1.0
        verdict: Verdict = "FAIL"
        if error <= atol:
            verdict = "pass"
        elif atol and error <= FASTER_ORDER * largest:
            verdict = "pass (faster order)"
        return Row(file, name, error, error / largest, atol, verdict)


def reduce(values: Array, form: str) -> Array:
    """A stored form of a full tensor: `full`, `sK`, `stat` or `probe`."""
    if form == "stat":
        wide = values.astype(np.float64)
        return np.array([wide.mean(), wide.std(), wide.min(), wide.max()])
    if form == "probe":
        flat = values.reshape(-1)
        count = min(128, flat.size)
        return flat[[k * (flat.size - 1) // (count - 1) for k in range(count)]]
    if form == "full":
        return values
    step = int(form[1:])
    return values[..., ::step, ::step]


def _form_of(golden: str, name: str) -> str | None:
    """Which form of `name` the array called `golden` is; None if it is of another tensor."""
    if golden == name:
        return "full"
    found = _REDUCED.match(golden)
    return found["form"] if found and found["name"] == name else None


def _as_array(values: Tensor | Array) -> Array:
    if isinstance(values, torch.Tensor):
        return np.asarray(values.detach().float().cpu())
    return values
