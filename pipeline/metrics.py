"""Where the time of a run went: what each stage did and waited for, and which one limited it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

Activity = Literal["busy_s", "starved_s", "blocked_s"]

COLUMNS = ("stage", "frames", "busy", "starved", "blocked", "batch")
"""Heads of the table that Report.rows fills."""


@dataclass(frozen=True, slots=True)
class Timing:
    """What one stage did so far."""

    stage: str
    frames: int = 0
    """Frames it has finished with."""
    batches: int = 0
    """Hand-overs those frames came in."""
    busy_s: float = 0.0
    """Seconds spent working. Close to the length of the run: this stage limits it."""
    starved_s: float = 0.0
    """Seconds spent waiting for input: the stages before are slower."""
    blocked_s: float = 0.0
    """Seconds spent waiting for room: the stages after are slower."""

    @property
    def batch(self) -> float:
        """Mean number of frames in a hand-over; 0 before the first."""
        return self.frames / self.batches if self.batches else 0.0


class Clock:
    """Keeps the Timing of one stage.

    Only that stage's thread writes, and each write replaces the whole value, so another
    thread reads a consistent one at any moment without a lock.
    """

    def __init__(self, stage: str) -> None:
        self.timing = Timing(stage)

    def count(self, frames: int) -> None:
        """Add one finished hand-over of so many frames."""
        now = self.timing
        self.timing = replace(now, frames=now.frames + frames, batches=now.batches + 1)

    @contextmanager
    def spend(self, activity: Activity) -> Iterator[None]:
        """Add the time the block takes to one activity, also when the block raises."""
        started_s = time.perf_counter()
        try:
            yield
        finally:
            total_s = getattr(self.timing, activity) + time.perf_counter() - started_s
            change: dict[str, Any] = {activity: total_s}
            self.timing = replace(self.timing, **change)


@dataclass(frozen=True, slots=True)
class Report:
    """What a run did; a snapshot while it goes on, the final account when it is over."""

    timings: tuple[Timing, ...]
    """One for each stage, source first and sink last."""
    elapsed_s: float
    """Seconds since the first frame was asked for."""
    dropped: int = 0
    """Frames given up at the first channel; 0 unless the input is live."""
    is_stopped: bool = False
    """Reading ended because stop was called, before the source ran out."""

    @property
    def frames(self) -> int:
        """Frames that reached the sink."""
        return self.timings[-1].frames

    @property
    def bottleneck(self) -> str:
        """Name of the busiest stage, the one that limits the run."""
        return max(self.timings, key=lambda timing: timing.busy_s).stage

    def rows(self) -> list[tuple[str, ...]]:
        """The table under COLUMNS: shares of the elapsed time, "-" where there is nothing to wait
        for: a source has no input, a sink no room to ask for."""
        first, last = self.timings[0], self.timings[-1]
        return [
            (
                timing.stage,
                str(timing.frames),
                self._share(timing.busy_s),
                "-" if timing is first else self._share(timing.starved_s),
                "-" if timing is last else self._share(timing.blocked_s),
                f"{timing.batch:.1f}",
            )
            for timing in self.timings
        ]

    def _share(self, spent_s: float) -> str:
        return f"{spent_s / self.elapsed_s:.0%}" if self.elapsed_s > 0 else "0%"
