"""What is said when a run ends early that a later one can go on from."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tpvideo.pipeline.errors import NoFaceError, StageError
from tpvideo.stages.ledger import Ledger

KEPT = "are kept; to go on, type"


@contextmanager
def resumable(target: Path) -> Iterator[None]:
    """Around a run: what ends it is noted to leave frames that a later run can go on from.

    Where no face is the reason, they are removed: another run would end there again.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit, StageError) as error:
        ledger = Ledger(target)
        if isinstance(error.__cause__, NoFaceError):
            ledger.remove()
        elif frames := ledger.kept_frames():
            error.add_note(f"{frames} frames {KEPT}")
        raise


def how_to_go_on(error: BaseException, arguments: Sequence[str]) -> str | None:
    """What `resumable` noted, and the command to type; None where nothing is kept.

    Args:
        error: what ended the run, or what that became since.
        arguments: of the command that was interrupted.
    """
    for cause in (error, error.__cause__):
        for note in getattr(cause, "__notes__", ()):
            if note.endswith(KEPT):
                again = arguments if "--resume" in arguments else ["--resume", *arguments]
                return f"{note}: {shlex.join(['tpvideo', *again])}"
    return None
