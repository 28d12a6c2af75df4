"""What the command's exit codes mean."""

from __future__ import annotations

from tpvideo.pipeline.errors import ConfigError
from tpvideo.pipeline.metrics import Report

DONE = 0
FAILED = 1
USAGE = 2
LOSSES = 3
"""The result is whole, but lacks something of the source: see Report.losses."""
INTERRUPTED = 130

SIGNALS = 128
"""A program that a signal ended exits with this and the signal's number: 143 for SIGTERM."""


def exit_code(outcome: Report | BaseException) -> int:
    """The code for what a run returned, or raised."""
    if isinstance(outcome, Report):
        if outcome.is_stopped:
            return INTERRUPTED
        return LOSSES if outcome.losses else DONE
    if isinstance(outcome, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(outcome, SystemExit) and isinstance(outcome.code, int):
        return outcome.code
    return USAGE if isinstance(outcome, ConfigError) else FAILED


def meaning(code: int) -> str:
    """An exit code in words."""
    if code >= SIGNALS:
        return "interrupted"
    words = {DONE: "done", USAGE: "wrong usage", LOSSES: "done with losses"}
    return words.get(code, "failed")
