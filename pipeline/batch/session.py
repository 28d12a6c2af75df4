"""Carries out the tasks of a batch, by processes or by actors of a cluster, until told to stop."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from importlib.metadata import version
from types import FrameType
from typing import TYPE_CHECKING, Any

from tpvideo.pipeline import config
from tpvideo.pipeline.batch.manifest import Manifest
from tpvideo.pipeline.batch.run import Batch
from tpvideo.pipeline.batch.storage import Folder
from tpvideo.pipeline.batch.table import Style, Tally
from tpvideo.pipeline.batch.task import Outcome, Task

if TYPE_CHECKING:
    from tpvideo.pipeline.batch.pool import Pool
    from tpvideo.pipeline.batch.ray_cluster import Actors


@dataclass(frozen=True, slots=True)
class Request:
    """How a batch is to be carried out."""

    settings: config.Settings
    workers: int | None
    cluster: str | None
    """None is this machine; else the address of a cluster, empty to start one here."""
    split_s: float | None
    """Length of a part, on a cluster."""
    retries: int
    fail_fast: bool
    style: Style

    @property
    def about(self) -> dict[str, Any]:
        """What the manifest says of the run."""
        chosen: dict[str, Any] = json.loads(json.dumps(asdict(self.settings), default=str))
        return {"version": version("tpvideo"), **chosen}

    @property
    def title(self) -> str:
        """What was asked for that is not the default, in a line."""
        usual = config.Settings()
        named = (setting.name for setting in fields(usual) if setting.name != "overwrite")
        changed = {
            name: getattr(self.settings, name)
            for name in named
            if getattr(self.settings, name) != getattr(usual, name)
        }
        return ", ".join(f"{name} {value}" for name, value in changed.items())


def carry_out(
    tasks: Sequence[Task], tally: Tally, manifest: Manifest, folder: Folder, request: Request
) -> tuple[list[Outcome], bool]:
    """(outcomes, whether Ctrl-C was pressed)."""
    with _hands(tasks, folder, request) as workers:
        running = Batch(
            workers, tally, manifest, retries=request.retries, fail_fast=request.fail_fast
        )

        def stop() -> None:
            running.stop()
            tally.is_stopping = True

        with _signals_call(stop) as is_called:
            outcomes = running.run(tasks, request.about)
    return outcomes, is_called()


def _hands(tasks: Sequence[Task], folder: Folder, request: Request) -> Pool | Actors:
    """Who does the work: processes here, or actors of a cluster."""
    from tpvideo.pipeline.batch.work import Job

    job = Job(request.settings, str(folder.root))
    if request.cluster is not None:
        from tpvideo.pipeline.batch.ray_cluster import Actors

        job = replace(job, split_s=request.split_s)
        return Actors(job, request.cluster or None, request.workers, most=len(tasks))
    from tpvideo.pipeline.batch.machine import crew
    from tpvideo.pipeline.batch.pool import Pool

    hands = crew(request.workers, request.settings)
    return Pool(job, hands.environments[: len(tasks)], memory_bytes=hands.memory_bytes)


@contextmanager
def _signals_call(answer: Callable[[], None]) -> Iterator[Callable[[], bool]]:
    """Inside, Ctrl-C, and what else asks a program to end, calls `answer`; yields whether it did.

    No KeyboardInterrupt is raised, so none can arrive between two lines that belong together.
    """
    calls: list[int] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        calls.append(number)
        answer()
        if number != signal.SIGINT:  # nobody is there to press it a second time
            answer()

    names = ("SIGINT", "SIGTERM", "SIGHUP")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    previous = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield lambda: bool(calls)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
