"""What a person or a log sees of a batch while it goes on."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tpvideo.pipeline.batch.manifest import as_json
from tpvideo.pipeline.batch.task import Outcome, Progress, State, Task

Style = Literal["auto", "plain", "json", "none"]

LINE_INTERVAL_S = 10.0
BAR = 24
REFRESH_S = 0.25


class Tally:
    """How far the batch is; the styles below show it each in its way."""

    def __init__(self, files: int, wanted_bytes: int) -> None:
        """
        Args:
            files: tasks of the batch, also those that need nothing.
            wanted_bytes: length of the sources that have to be read.
        """
        self.files = files
        self.wanted_bytes = wanted_bytes
        self.running: dict[str, Progress] = {}
        self.counts: Counter[State] = Counter()
        self.frames = 0
        self.is_stopping = False
        self._finished_bytes = 0
        self._started_s = time.monotonic()

    def begun(self, task: Task, worker: str) -> None:
        self.running[task.key] = Progress(task, worker=worker)

    def moved(self, progress: Progress) -> None:
        if progress.task.key in self.running:
            self.running[progress.task.key] = progress

    def again(self, outcome: Outcome, how: str) -> None:
        self.running.pop(outcome.task.key, None)

    def slow(self, task: Task, elapsed_s: float, usual_s: float) -> None:
        """A file takes far longer than others of its length."""

    def ended(self, outcome: Outcome) -> None:
        if self.running.pop(outcome.task.key, None):
            self._finished_bytes += outcome.task.bytes
        self.counts[outcome.state] += 1
        self.frames += outcome.frames

    @property
    def elapsed_s(self) -> float:
        """Seconds since the batch began."""
        return time.monotonic() - self._started_s

    @property
    def rate(self) -> float:
        """Frames a second, of all workers together, since the batch began."""
        under_way = sum(progress.frames for progress in self.running.values())
        return (self.frames + under_way) / self.elapsed_s if self.elapsed_s else 0.0

    @property
    def left_s(self) -> float | None:
        """Estimate of the seconds to come, by the sources' lengths; None before there is one."""
        halves = (
            progress.task.bytes * min(1.0, progress.frames / progress.of)
            for progress in self.running.values()
            if progress.of
        )
        finished = self._finished_bytes + sum(halves)
        if finished <= 0 or not self.counts["done"]:
            return None  # what loading the networks took says nothing of the rest
        return self.elapsed_s * max(0.0, self.wanted_bytes - finished) / finished

    @property
    def line(self) -> str:
        """All of it in a line."""
        parts = [f"{self.counts.total()} of {self.files} files", f"{self.counts['failed']} failed"]
        if self.counts["good"]:
            parts.append(f"{self.counts['good']} good already")
        parts.append(f"{self.rate:.2f} frames a second")
        parts.append(f"{_clock(self.elapsed_s)} gone")
        if (left_s := self.left_s) is not None:
            parts.append(f"{_clock(left_s)} left")
        stopping = "; finishing what is under way, Ctrl-C again drops it"
        return ", ".join(parts) + (stopping if self.is_stopping else "")


class Plain(Tally):
    """A line for each file, and one now and then."""

    _told_s = 0.0

    def moved(self, progress: Progress) -> None:
        super().moved(progress)
        if self.elapsed_s - self._told_s > LINE_INTERVAL_S:
            self._told_s = self.elapsed_s
            _say(self.line)

    def again(self, outcome: Outcome, how: str) -> None:
        super().again(outcome, how)
        _say(_again(outcome, how))

    def slow(self, task: Task, elapsed_s: float, usual_s: float) -> None:
        _say(_slow(task, elapsed_s, usual_s))

    def ended(self, outcome: Outcome) -> None:
        super().ended(outcome)
        if outcome.state != "good":
            _say(described(outcome))


class Json(Tally):
    """Every event as an object a line on standard output."""

    def begun(self, task: Task, worker: str) -> None:
        super().begun(task, worker)
        self._tell("begun", source=task.source, worker=worker)

    def moved(self, progress: Progress) -> None:
        super().moved(progress)
        self._tell(
            "progress",
            source=progress.task.source,
            frames=progress.frames,
            of=progress.of,
            rate=round(progress.rate, 3),
        )

    def again(self, outcome: Outcome, how: str) -> None:
        super().again(outcome, how)
        self._tell("again", how=how, **as_json(outcome))

    def slow(self, task: Task, elapsed_s: float, usual_s: float) -> None:
        self._tell("slow", source=task.source, elapsed_s=elapsed_s, usual_s=usual_s)

    def ended(self, outcome: Outcome) -> None:
        super().ended(outcome)
        self._tell("ended", **as_json(outcome))

    def _tell(self, event: str, **facts: Any) -> None:
        sys.stdout.write(json.dumps({"event": event, **facts}, ensure_ascii=False) + "\n")
        sys.stdout.flush()


class Screen(Tally):
    """A table that is drawn anew: the files under way, and a line for all."""

    def __init__(self, files: int, wanted_bytes: int) -> None:
        super().__init__(files, wanted_bytes)
        self.console = Console(stderr=True)
        self.log: Callable[[str], None] = lambda line: self.console.print(
            line, markup=False, highlight=False
        )

    def again(self, outcome: Outcome, how: str) -> None:
        super().again(outcome, how)
        self.log(_again(outcome, how))

    def slow(self, task: Task, elapsed_s: float, usual_s: float) -> None:
        self.log(_slow(task, elapsed_s, usual_s))

    def ended(self, outcome: Outcome) -> None:
        super().ended(outcome)
        if outcome.state == "failed":
            self.log(described(outcome))

    def __rich__(self) -> Group:
        table = Table(box=None, pad_edge=False)
        for column in ("file", "", "frames", "a second", "left"):
            table.add_column(column, justify="left" if column in ("file", "") else "right")
        for progress in list(self.running.values()):
            share = progress.frames / progress.of if progress.of else 0.0
            left_s = (
                (progress.of - progress.frames) / progress.rate
                if (progress.of and progress.rate)
                else None
            )
            filled = round(BAR * min(1.0, share))
            table.add_row(
                Text(printable(progress.task.label)[-48:]),
                Text("━" * filled + "╌" * (BAR - filled)),
                f"{progress.frames} of {progress.of or '?'}",
                f"{progress.rate:.2f}",
                "" if left_s is None else _clock(max(0.0, left_s)),
            )
        return Group(table, Text(self.line))


@contextmanager
def shown(style: Style, files: int, wanted_bytes: int) -> Iterator[Tally]:
    """Show the batch while the block lasts: "auto" is a table on a terminal, lines elsewhere."""
    if style == "json":
        yield Json(files, wanted_bytes)
    elif style == "none":
        yield Tally(files, wanted_bytes)
    elif style == "plain" or not Console(stderr=True).is_terminal:
        yield Plain(files, wanted_bytes)
    else:
        tally = Screen(files, wanted_bytes)
        with Live(tally, console=tally.console, refresh_per_second=1 / REFRESH_S, transient=True):
            yield tally


def described(outcome: Outcome) -> str:
    """A line about a file that is finished."""
    what = {"good": "good already", "unstarted": "not begun"}.get(outcome.state, outcome.state)
    label = printable(outcome.task.label)
    if outcome.state == "done":
        return f"{what}: {label} ({outcome.frames} frames, {outcome.elapsed_s:.1f} s)"
    return f"{what}: {label}" + (f": {outcome.reason}" if outcome.reason else "")


def _slow(task: Task, elapsed_s: float, usual_s: float) -> str:
    label = printable(task.label)
    return f"slow: {label}: {_clock(elapsed_s)} so far; its length takes {_clock(usual_s)} usually"


def _again(outcome: Outcome, how: str) -> str:
    """A line about a file that is not finished yet."""
    why = f"{outcome.reason}; " if outcome.reason else ""
    return f"goes on: {printable(outcome.task.label)}: {why}{how}"


def printable(name: str) -> str:
    """A file's name without what would move a terminal's cursor."""
    return "".join(letter if letter.isprintable() else "?" for letter in name)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
