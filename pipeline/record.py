"""A run as a JSON file: what went in, with what settings, what came of it, and what was lost.

`tpvideo --report` writes it; whoever wants to know whether a result is still good reads it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from fractions import Fraction
from pathlib import Path
from typing import Any

from tpvideo.pipeline.config import Settings
from tpvideo.pipeline.errors import InputError, OutputError
from tpvideo.pipeline.gauge import Reading
from tpvideo.pipeline.losses import Loss
from tpvideo.pipeline.metrics import Report

FORMAT = "tpvideo report 1"
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One run. Every field is of JSON's types."""

    exit_code: int
    """See tpvideo.pipeline.exits."""
    outcome: str
    """The exit code's meaning."""
    error: str | None = None
    """Why it failed, in one line; None where it did not."""
    begun: str
    """When, in UTC, ISO 8601."""
    settings: Mapping[str, Any]
    """As settings_as_json writes them."""
    versions: Mapping[str, str]
    """Of tpvideo, Python and the libraries that make the pictures."""
    machine: Mapping[str, Any] = field(default_factory=dict)
    """Device, precision and batch that the settings came to here."""
    weights: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Name, bytes and sha256 of each model file, by purpose: model, matting, face."""
    source: Mapping[str, Any] = field(default_factory=dict)
    """path, bytes, sha256, modified_ns and media: what is in the file."""
    target: Mapping[str, Any] = field(default_factory=dict)
    """The same of the result; path alone where there is none."""
    run: Mapping[str, Any] = field(default_factory=dict)
    """As report_as_json writes it; empty where no frame was asked for."""

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the file; it appears under its name only when whole.

        Raises:
            OutputError: it cannot be written.
        """
        target = Path(path)
        part = target.with_name(f".{target.name}.part{os.getpid()}")
        text = json.dumps({"format": FORMAT, **asdict(self)}, indent=1, ensure_ascii=False)
        try:
            try:
                part.write_text(text + "\n", "utf-8")
                os.replace(part, target)
            finally:
                part.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(target, error.strerror or str(error)) from error


def read_record(path: str | os.PathLike[str]) -> Record:
    """The run that a report tells of.

    Raises:
        InputError: there is no such file, or it is no report of this format.
    """
    try:
        content = json.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise InputError(path, error.strerror or str(error)) from error
    except ValueError as error:
        raise InputError(path, f"it is no report: {error}") from error
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        raise InputError(path, f'it is no report: "format" is not "{FORMAT}"')
    known = {field.name for field in fields(Record)}
    try:
        return Record(**{name: value for name, value in content.items() if name in known})
    except TypeError as error:
        raise InputError(path, f"the report is not complete: {error}") from error


def settings_as_json(settings: Settings) -> dict[str, Any]:
    """Every setting by name; the ends of a trim become text such as "5" or "41/2" seconds."""
    values = asdict(settings)
    values["edit"] = [list(edit) for edit in settings.edit]
    if settings.trim is not None:
        values["trim"] = [None if end is None else str(Fraction(end)) for end in settings.trim]
    return values


def report_as_json(report: Report) -> dict[str, Any]:
    """The account of a run, with the times of its losses in seconds after its first frame."""
    return {
        "frames": report.frames,
        "elapsed_s": round(report.elapsed_s, 3),
        "is_stopped": report.is_stopped,
        "dropped": report.dropped,
        "bottleneck": report.bottleneck,
        "stages": [asdict(timing) for timing in report.timings],
        "losses": [_loss_as_json(loss, report) for loss in report.losses],
        "gauges": {gauge.name: _gauge_as_json(gauge, report) for gauge in report.gauges},
        "warnings": list(report.warnings),
    }


def file_facts(path: Path) -> dict[str, Any]:
    """path, bytes, modified_ns and sha256 of a file; path alone where it is no file."""
    facts: dict[str, Any] = {"path": str(path.absolute())}
    if path.is_file():
        state = path.stat()
        facts |= {"bytes": state.st_size, "modified_ns": state.st_mtime_ns}
        facts["sha256"] = sha256_of(path)
    return facts


def sha256_of(path: Path) -> str:
    """Hexadecimal digest of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _gauge_as_json(gauge: Reading, report: Report) -> dict[str, Any]:
    """Quantiles by their share in percent, and where the number is low."""
    places = [_loss_as_json(low, report) for low in gauge.low]
    return {
        "frames": gauge.frames,
        "quantiles": {f"{100 * share:g}": value for share, value in gauge.quantiles},
        "min": gauge.least,
        "below_min": gauge.below,
        "low_at": gauge.low_at,
        "low": [{key: place[key] for key in ("count", "frames", "seconds")} for place in places],
    }


def _loss_as_json(loss: Loss, report: Report) -> dict[str, Any]:
    seconds = None if report.time_base is None else loss.seconds(report.time_base, report.zero_pts)
    frames = [stamp.index for stamp in (loss.first, loss.last) if stamp is not None]
    return {
        "what": loss.what,
        "stage": loss.stage,
        "count": loss.count,
        "frames": frames or None,
        "seconds": None if seconds is None else [round(value, 6) for value in seconds],
    }
