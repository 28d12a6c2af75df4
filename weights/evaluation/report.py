"""What an evaluation finds: one row for each picture and method, tables of their means, files."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from tpvideo.pipeline.frame import Image

FAR_RAD = 0.3
"""A turn from the input's camera from which on a view counts as a novel one."""


@dataclass(frozen=True, slots=True)
class Row:
    """One picture that one method made, and how good it is."""

    name: str
    """Of the head, photograph or frame."""
    method: str
    yaw_rad: float
    """Where the target camera stands."""
    turn_rad: float
    """How far its yaw is from that of the input's camera, >= 0."""
    scores: Mapping[str, float]
    """By measure; what could not be measured is not there."""

    @property
    def is_far(self) -> bool:
        """Whether the view is a novel one."""
        return self.turn_rad >= FAR_RAD


@dataclass(frozen=True, slots=True)
class Finding:
    """All about one dataset."""

    kind: str
    path: str
    rows: Sequence[Row]
    tables: Sequence[str]
    """Markdown."""
    notes: Sequence[str] = field(default=())
    """What was measured how, and which targets hold; a line each."""
    sheet: Image | None = None
    """[H, W, 3] some of the pictures."""

    def __str__(self) -> str:
        """As Markdown."""
        notes = "\n".join(f"- {note}" for note in self.notes)
        return "\n\n".join([f"## {self.path} ({self.kind})", *self.tables, notes]).rstrip()


@dataclass(frozen=True, slots=True)
class Group:
    """Some of the rows, under a heading."""

    heading: str
    holds: Callable[[Row], bool]


@dataclass(frozen=True, slots=True)
class Measure:
    """A score and how it is written."""

    key: str
    form: str = ".2f"
    with_error: bool = True


def mean_and_error(rows: Iterable[Row], key: str) -> tuple[float, float] | None:
    """Mean of a score and its standard error over the names, each the mean of its own rows.

    None where no row has it; the error of one name alone is nan.
    """
    by_name: dict[str, list[float]] = {}
    for row in rows:
        if key in row.scores:
            by_name.setdefault(row.name, []).append(row.scores[key])
    if not by_name:
        return None
    means = np.array([np.mean(values) for values in by_name.values()])
    error = means.std(ddof=1) / len(means) ** 0.5 if len(means) > 1 else np.nan
    return float(means.mean()), float(error)


def table(rows: Sequence[Row], columns: Sequence[Group], measures: Sequence[Measure]) -> str:
    """Markdown: a line for each method in the order of the rows, the measures divided by /."""
    methods = list(dict.fromkeys(row.method for row in rows))
    lines = ["| method | " + " | ".join(c.heading for c in columns) + " |"]
    lines.append("|---|" + "---|" * len(columns))
    for method in methods:
        own = [row for row in rows if row.method == method]
        cells = [
            " / ".join(_written([r for r in own if column.holds(r)], m) for m in measures)
            for column in columns
        ]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def tall_table(rows: Sequence[Row], lines: Sequence[Group], measures: Sequence[Measure]) -> str:
    """Markdown: the same with a column for each method."""
    methods = list(dict.fromkeys(row.method for row in rows))
    written = ["| view | " + " | ".join(methods) + " |", "|---|" + "---|" * len(methods)]
    for line in lines:
        held = [row for row in rows if line.holds(row)]
        cells = [
            " / ".join(_written([r for r in held if r.method == method], m) for m in measures)
            for method in methods
        ]
        written.append(f"| {line.heading} | " + " | ".join(cells) + " |")
    return "\n".join(written)


def measure_table(rows: Sequence[Row], measures: Mapping[str, Measure]) -> str:
    """Markdown: a line for each method, a column for each measure by its heading."""
    methods = list(dict.fromkeys(row.method for row in rows))
    lines = ["| | " + " | ".join(measures) + " |", "|---|" + "---|" * len(measures)]
    for method in methods:
        own = [row for row in rows if row.method == method]
        cells = [_written(own, measure) for measure in measures.values()]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def paired(rows: Sequence[Row], reference: str) -> list[Row]:
    """By how much every other method's scores are above those of one of them, name by name: what
    all methods find hard or easy about a name has no part in the error of these."""
    by_method: dict[str, dict[str, dict[str, list[float]]]] = {}
    for row in rows:
        held = by_method.setdefault(row.method, {}).setdefault(row.name, {})
        for key, value in row.scores.items():
            held.setdefault(key, []).append(value)
    base = by_method.get(reference, {})
    return [
        Row(name, method, 0.0, 0.0, {
            key: float(np.mean(values) - np.mean(base[name][key]))
            for key, values in scores.items()
            if key in base.get(name, {})
        })
        for method, names in by_method.items()
        if method != reference
        for name, scores in names.items()
    ]  # fmt: skip


def _written(rows: Sequence[Row], measure: Measure) -> str:
    found = mean_and_error(rows, measure.key)
    if found is None:
        return "–"
    mean, error = found
    text = f"{mean:{measure.form}}"
    if measure.with_error and not np.isnan(error):
        text += f" ± {error:{measure.form}}"
    return text


def write_csv(findings: Sequence[Finding], path: Path) -> None:
    """A line for each row of each dataset; what was not measured is left empty."""
    keys = list(dict.fromkeys(key for f in findings for row in f.rows for key in row.scores))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["kind", "path", "name", "method", "yaw_rad", "turn_rad", *keys])
        for finding in findings:
            for row in finding.rows:
                where = [finding.kind, finding.path, row.name, row.method]
                turned = [f"{row.yaw_rad:.4f}", f"{row.turn_rad:.4f}"]
                scores = [f"{row.scores[key]:.6g}" if key in row.scores else "" for key in keys]
                writer.writerow([*where, *turned, *scores])


def write_json(findings: Sequence[Finding], about: Mapping[str, Any], path: Path) -> None:
    """Everything but the pictures."""
    listed = []
    for finding in findings:
        parts = asdict(finding)
        del parts["sheet"]
        listed.append(parts)
    path.write_text(json.dumps({**about, "findings": listed}, indent=1), "utf-8")


def write_sheet(findings: Sequence[Finding], path: Path) -> None:
    """The sheets of all datasets, one below the other."""
    sheets = [finding.sheet for finding in findings if finding.sheet is not None]
    width = max(sheet.shape[1] for sheet in sheets)
    padded = [np.pad(sheet, ((0, 0), (0, width - sheet.shape[1]), (0, 0))) for sheet in sheets]
    Pillow.fromarray(np.concatenate(padded)).save(path)
