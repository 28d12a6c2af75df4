"""What a person sees of a run: a bar or lines while it goes on, a table at the end."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tpvideo.pipeline.errors import printable
from tpvideo.pipeline.metrics import COLUMNS, Report
from tpvideo.pipeline.runner import Pipeline

Style = Literal["auto", "plain", "none"]

BAR_INTERVAL_S = 0.2
LINE_INTERVAL_S = 5.0


@contextmanager
def shown(pipeline: Pipeline, style: Style) -> Iterator[None]:
    """Show on standard error how far a run is: "auto" is a bar on a terminal, lines elsewhere."""
    console = Console(stderr=True)
    if style == "none":
        yield
    elif style == "plain" or not console.is_terminal:
        with every(LINE_INTERVAL_S, lambda: _say_line(pipeline)):
            yield
    else:
        with _bar(pipeline, console):
            yield


@contextmanager
def notices(*, shown: bool) -> Iterator[None]:
    """Show what the stages log as a warning, a line each on standard error."""
    handler = _Lines(logging.WARNING)
    logger = logging.getLogger("tpvideo")
    if shown:
        logger.addHandler(handler)
    else:  # a handler that drops them; without any, Python would print them itself
        handler = _Lines(logging.CRITICAL)
        logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def show_outcome(report: Report, target: Path) -> None:
    """Print what was written, and a table of where the time went."""
    show_table(report)
    how = "interrupted; a shorter, whole file: " if report.is_stopped else ""
    rate = report.frames / report.elapsed_s if report.elapsed_s else 0.0
    before = f"after {report.earlier_frames} of an earlier run, " if report.earlier_frames else ""
    Console(highlight=False, soft_wrap=True).print(
        f"{how}{before}{report.frames} frames in {report.elapsed_s:.1f} s ({rate:.2f} a second): "
        f"{printable(str(target))}",
        markup=False,
    )
    for line in report.told_gauges():
        Console(highlight=False, soft_wrap=True).print(line, markup=False)
    for line in report.told_losses():
        Console(highlight=False, soft_wrap=True).print(f"lost: {line}", markup=False)


def show_table(report: Report) -> None:
    """Print a table of where the time went."""
    table = Table(box=None, pad_edge=False)
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "stage" else "right")
    table.add_column("")
    for row in report.rows():
        table.add_row(*row, "<- limits this run" if row[0] == report.bottleneck else "")
    Console(highlight=False, soft_wrap=True).print(table)


class _Lines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        # sys.stderr is looked up anew, because a bar puts its own in place while it is shown.
        text = printable(record.getMessage())
        sys.stderr.write(f"tpvideo: {record.levelname.lower()}: {text}\n")


def _say_line(pipeline: Pipeline) -> None:
    report = pipeline.report()
    total = pipeline.info.frames if pipeline.info else None
    of_all = "" if total is None else f" of {total}"
    frames = report.earlier_frames + report.frames
    sys.stderr.write(
        f"{frames}{of_all} frames after {report.elapsed_s:.0f} s{_stopping(pipeline)}\n"
    )


def _stopping(pipeline: Pipeline) -> str:
    """What to say once Ctrl-C was pressed."""
    hint = "; finishing what was read, Ctrl-C again ends at once"
    return hint if pipeline.is_stopping else ""


@contextmanager
def _bar(pipeline: Pipeline, console: Console) -> Iterator[None]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.2f} a second"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, auto_refresh=False, transient=True) as bar:
        task = bar.add_task("frames", total=None, rate=0.0)

        def draw() -> None:
            report = pipeline.report()
            total = pipeline.info.frames if pipeline.info else None
            rate = report.frames / report.elapsed_s if report.elapsed_s else 0.0
            bar.update(
                task,
                description=f"frames{_stopping(pipeline)}",
                completed=report.earlier_frames + report.frames,
                total=total,
                rate=rate,
                refresh=True,
            )

        with every(BAR_INTERVAL_S, draw):
            yield


@contextmanager
def every(interval_s: float, act: Callable[[], None]) -> Iterator[None]:
    """Call `act` in a thread of its own again and again while the block runs."""
    is_over = threading.Event()

    def repeat() -> None:
        while not is_over.wait(interval_s):
            act()

    thread = threading.Thread(target=repeat, name="tpvideo-progress")
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
