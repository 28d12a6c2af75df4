"""The account of a run: where its time went, which stage limited it, and what was lost."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Literal

from tpvideo.pipeline.gauge import Reading
from tpvideo.pipeline.losses import Loss

Activity = Literal["busy_s", "starved_s", "blocked_s"]

COLUMNS = ("stage", "frames", "busy", "starved", "blocked", "batch")
"""Heads of the table that Report.rows fills."""
MOST_PLACES = 5
"""How many places of one kind of loss are told in words; the JSON report has all."""


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


def mean_of(timings: Sequence[Timing]) -> Timing:
    """Of a stage that several threads work for: their frames, and the mean of their times."""
    count = len(timings)
    return Timing(
        timings[0].stage,
        frames=sum(timing.frames for timing in timings),
        batches=sum(timing.batches for timing in timings),
        busy_s=sum(timing.busy_s for timing in timings) / count,
        starved_s=sum(timing.starved_s for timing in timings) / count,
        blocked_s=sum(timing.blocked_s for timing in timings) / count,
    )


class Clock:
    """Keeps the Timing of one stage.

    Only that stage's thread writes, and each write replaces the whole value, so another
    thread reads a consistent one at any moment without a lock.
    """

    def __init__(self, stage: str) -> None:
        self.timing = Timing(stage)
        self._busy_since_s: float | None = None

    def busy_for_s(self) -> float:
        """Seconds that the piece of work under way takes already; 0 while there is none."""
        since_s = self._busy_since_s
        return 0.0 if since_s is None else time.perf_counter() - since_s

    def count(self, frames: int) -> None:
        """Add one finished hand-over of so many frames."""
        now = self.timing
        self.timing = replace(now, frames=now.frames + frames, batches=now.batches + 1)

    @contextmanager
    def spend(self, activity: Activity) -> Iterator[None]:
        """Add the time the block takes to one activity, also when the block raises."""
        started_s = time.perf_counter()
        if activity == "busy_s":
            self._busy_since_s = started_s
        try:
            yield
        finally:
            self._busy_since_s = None
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
    earlier_frames: int = 0
    """Frames that an interrupted run had read before; `frames` does not count them."""
    losses: tuple[Loss, ...] = ()
    """What the result lacks of the source, stage after stage."""
    warnings: tuple[str, ...] = ()
    """What was done otherwise than one would expect, a line each."""
    gauges: tuple[Reading, ...] = ()
    """Numbers that every frame has."""
    time_base: Fraction | None = None
    """Seconds per tick of the losses' stamps; None before the source is open."""
    zero_pts: int = 0
    """Ticks of the first frame."""

    @property
    def frames(self) -> int:
        """Frames that reached the sink."""
        return self.timings[-1].frames

    @property
    def bottleneck(self) -> str:
        """Name of the busiest stage, the one that limits the run."""
        return max(self.timings, key=lambda timing: timing.busy_s).stage

    def told_losses(self) -> list[str]:
        """One line for each kind of loss: how often, what, and where in the result."""
        kinds: dict[str, list[Loss]] = {}
        for loss in self.losses:
            kinds.setdefault(loss.what, []).append(loss)
        return [
            f"{sum(loss.count for loss in found)} x {what}{self._places(found)}"
            for what, found in kinds.items()
        ]

    def told_gauges(self) -> list[str]:
        """One line for each number: how it is spread, where it is low, and what that did."""
        return [self._told(gauge) for gauge in self.gauges]

    def _told(self, gauge: Reading) -> str:
        at = dict(gauge.quantiles)
        line = f"{gauge.name}: median {at[0.5]:.2f}, 5% of the frames below {at[0.05]:.2f}"
        if gauge.low:
            count = sum(low.count for low in gauge.low)
            line += f"; {count} below {gauge.low_at:g}{self._places(list(gauge.low))}"
        if gauge.below:
            line += f"; {gauge.below} below {gauge.least:g} are taken for frames without a face"
        return line

    def _places(self, losses: list[Loss]) -> str:
        """ ", at 0:01.20-0:01.36 (frames 30-34), ..."; empty where there is no place to name."""
        placed = [loss for loss in losses if loss.first is not None]
        places = [self._place(loss) for loss in placed[:MOST_PLACES]]
        if len(placed) > MOST_PLACES:
            places.append(f"and {len(placed) - MOST_PLACES} more places")
        return f", at {', '.join(places)}" if places else ""

    def _place(self, loss: Loss) -> str:
        assert loss.first is not None and loss.last is not None
        frames = _span(str(loss.first.index), str(loss.last.index))
        word = "frame" if loss.first == loss.last else "frames"
        if self.time_base is None or (at_s := loss.seconds(self.time_base, self.zero_pts)) is None:
            return f"{word} {frames}"
        return f"{_span(clock_text(at_s[0]), clock_text(at_s[1]))} ({word} {frames})"

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


def clock_text(seconds: float) -> str:
    """`1:02.36`: minutes, seconds and hundredths, with hours in front where there are any."""
    hundredths = round(seconds * 100)
    minutes, rest = divmod(abs(hundredths), 6000)
    hours, minutes = divmod(minutes, 60)
    sign = "-" if hundredths < 0 else ""
    front = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    return f"{sign}{front}:{rest / 100:05.2f}"


def _span(first: str, last: str) -> str:
    return first if first == last else f"{first}-{last}"
