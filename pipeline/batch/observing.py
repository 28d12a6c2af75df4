"""What is to be known of a task while it runs: how far it is, what it warns of, what it holds."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tpvideo.pipeline.batch.task import Progress, Task
from tpvideo.pipeline.progress import every
from tpvideo.pipeline.runner import Pipeline

PROGRESS_INTERVAL_S = 0.5


def resident_bytes() -> int:
    """Memory this process holds now; 0 where the system does not say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * 4096
    except OSError:
        return 0


@contextmanager
def told(pipeline: Pipeline, task: Task, tell: Callable[[Progress], None]) -> Iterator[None]:
    """Report how far the run is while the block lasts."""

    def report() -> None:
        account = pipeline.report()
        total = pipeline.info.frames if pipeline.info else None
        tell(Progress(task, account.frames, total, account.elapsed_s))

    with every(PROGRESS_INTERVAL_S, report):
        yield


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@contextmanager
def kept_notices() -> Iterator[list[str]]:
    """What the stages warn of while the block lasts."""
    kept = _Kept()
    logger = logging.getLogger("tpvideo")
    logger.addHandler(kept)
    try:
        yield kept.lines
    finally:
        logger.removeHandler(kept)
