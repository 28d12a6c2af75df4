"""Keeps the record of a run and writes it, however the run ends."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tpvideo.pipeline import app
from tpvideo.pipeline.config import Settings
from tpvideo.pipeline.errors import OutputError, TpvideoError, in_one_line
from tpvideo.pipeline.exits import exit_code, meaning
from tpvideo.pipeline.metrics import Report
from tpvideo.pipeline.record import Record, file_facts, report_as_json, settings_as_json
from tpvideo.pipeline.runner import Pipeline
from tpvideo.pipeline.signals import Terminated
from tpvideo.stages.facts import media_facts

LIBRARIES = ("av", "numpy", "onnxruntime", "Pillow", "torch")


@dataclass(slots=True)
class Recording:
    """What is known of a run so far."""

    source: Path
    target: Path
    settings: Settings
    begun: datetime = field(default_factory=lambda: datetime.now(UTC))
    pipeline: Pipeline | None = None
    """The run; None before it is assembled."""

    def record(self, outcome: Report | BaseException) -> Record:
        """The whole account, once the run has returned or raised."""
        code = exit_code(outcome)
        report = outcome if isinstance(outcome, Report) else self._so_far()
        return Record(
            exit_code=code,
            outcome=meaning(code),
            error=None if isinstance(outcome, Report) else _said(outcome),
            begun=self.begun.isoformat(timespec="seconds"),
            settings=settings_as_json(self.settings),
            versions=versions(),
            machine=_machine_facts(self.settings),
            weights=_weights_facts(self.settings),
            source=facts_of(self.source),
            target=facts_of(self.target) if isinstance(outcome, Report) else _path(self.target),
            run={} if report is None else report_as_json(report),
        )

    def _so_far(self) -> Report | None:
        return None if self.pipeline is None else self.pipeline.report()


@contextmanager
def recorded(
    path: Path | None, source: Path, target: Path, settings: Settings
) -> Iterator[Recording]:
    """Write the record of the run inside to `path`, also when it fails; None writes nothing.

    Raises:
        OutputError: the record cannot be written, or is the source or the target; the latter is
            found out before the run.
    """
    recording = Recording(source, target, settings)
    if path is not None:
        _check(path, source, target)
    try:
        yield recording
        assert recording.pipeline is not None, "the run was not told"
        outcome: Report | BaseException = recording.pipeline.report()
    except BaseException as error:
        if path is not None:
            try:
                recording.record(error).write(path)
            except OutputError as other:
                error.add_note(f"then {other}")
        raise
    if path is not None:
        recording.record(outcome).write(path)


def versions() -> dict[str, str]:
    """Of tpvideo, of Python and of the libraries that make the pictures."""
    return {
        "tpvideo": version("tpvideo"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{name: version(name) for name in LIBRARIES if find_spec(_module(name))},
    }


def facts_of(path: Path) -> dict[str, Any]:
    """Identity and content of a source or target, as far as it can be read."""
    try:
        facts = file_facts(path)
    except OSError as error:
        return _path(path) | {"error": error.strerror or str(error)}
    media = media_facts(path)
    return {**facts, "media": media} if media else facts


def _machine_facts(settings: Settings) -> dict[str, Any]:
    try:
        machine = app.pick_machine(settings)
    except TpvideoError:
        return {}
    precision = str(machine.dtype).removeprefix("torch.")
    return {"device": str(machine.device), "precision": precision, "batch": machine.batch}


def _weights_facts(settings: Settings) -> dict[str, Mapping[str, Any]]:
    facts: dict[str, Mapping[str, Any]] = {}
    try:
        files = app.model_files(settings)
    except TpvideoError:
        return facts
    for purpose, path in files.items():
        known = facts_of(path)
        facts[purpose] = {
            "name": path.name,
            **{key: known[key] for key in ("bytes", "sha256") if key in known},
        }
    return facts


def _path(path: Path) -> dict[str, Any]:
    return {"path": str(path.absolute())}


def _module(name: str) -> str:
    return "PIL" if name == "Pillow" else name


def _said(error: BaseException) -> str:
    if isinstance(error, Terminated):
        return f"ended by {error.signal}"
    return "interrupted" if isinstance(error, KeyboardInterrupt) else in_one_line(error)


def _check(path: Path, source: Path, target: Path) -> None:
    if not path.absolute().parent.is_dir():
        raise OutputError(path, f"there is no folder {path.absolute().parent}; create it first")
    if path.is_dir():
        raise OutputError(path, "is a folder; name a file for the report")
    if path.absolute() in (source.absolute(), target.absolute()):
        raise OutputError(path, "the report would replace the source or the result; rename it")
