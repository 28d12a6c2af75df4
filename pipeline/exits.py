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

MEANINGS = {
    DONE: "done",
    FAILED: "failed",
    USAGE: "wrong usage",
    LOSSES: "done with losses",
    INTERRUPTED: "interrupted",
}


def exit_code(outcome: Report | BaseException) -> int:
    """The code for what a run returned, or raised."""
    if isinstance(outcome, Report):
        if outcome.is_stopped:
            return INTERRUPTED
        return LOSSES if outcome.losses else DONE
    if isinstance(outcome, KeyboardInterrupt):
        return INTERRUPTED
    return USAGE if isinstance(outcome, ConfigError) else FAILED
