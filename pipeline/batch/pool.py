"""Worker processes on this machine: one task each at a time; a process that dies is replaced.

Every worker is started anew (`spawn`), so that it holds nothing of this process, and talks over a
pipe of its own. When this process dies, the pipe breaks, and the worker drops its task and ends.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from tpvideo.pipeline.batch.task import Outcome, Progress, Task
from tpvideo.pipeline.batch.work import Job, Workbench
from tpvideo.pipeline.errors import TpvideoError

log = logging.getLogger(__name__)

ABORT = "abort"
MOST_FAILED_STARTS = 2
"""In a row, before it is no accident."""
GRACE_S = 20.0
"""How long a worker may take to drop its task, before it is killed."""


class StartFailure(TpvideoError):
    """A worker cannot begin: models or settings are at fault, not a source."""


@dataclass(slots=True)
class Worker:
    """A process, and what it is at."""

    name: str
    process: SpawnProcess
    pipe: Connection
    task: Task | None = None
    is_ready: bool = False
    since_s: float = field(default_factory=time.monotonic)


class Pool:
    """So many workers; `submit` tasks while `free`, and listen to `events`."""

    def __init__(
        self,
        job: Job,
        environments: Sequence[Mapping[str, str]],
        *,
        memory_bytes: int | None = None,
    ) -> None:
        """
        Args:
            job: what all tasks have in common.
            environments: variables for each worker, set before anything is imported; there are
                as many workers.
            memory_bytes: a worker that holds more after a task is replaced by a fresh one.
        """
        self._job = job
        self._environments = tuple(environments)
        self._memory_bytes = memory_bytes
        self._context = multiprocessing.get_context("spawn")
        self._workers: dict[int, Worker] = {}
        self._started = self._failed_starts = 0
        self.replaced = 0
        """Workers that were replaced, because they died or held too much."""

    def __enter__(self) -> Pool:
        for slot in range(len(self._environments)):
            self._start(slot)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def free(self) -> int:
        """How many tasks can be submitted now."""
        return sum(worker.task is None for worker in self._workers.values())

    def submit(self, task: Task) -> str:
        """Give a task to a free worker; returns the worker's name."""
        idle = [worker for worker in self._workers.values() if worker.task is None]
        worker = max(idle, key=lambda worker: worker.is_ready)
        worker.task, worker.since_s = task, time.monotonic()
        with suppress(OSError):  # it died; its end is noticed by events
            worker.pipe.send(task)
        return worker.name

    def events(self, timeout_s: float) -> Iterator[Progress | Outcome]:
        """What the workers told since; waits up to `timeout_s` for the first news.

        Raises:
            StartFailure: a worker cannot load what it needs, so none can.
        """
        slots = {worker.pipe: slot for slot, worker in self._workers.items()}
        for pipe in wait(list(slots), timeout_s):
            assert isinstance(pipe, Connection)
            slot = slots[pipe]
            worker = self._workers[slot]
            try:
                news = pipe.recv()
            except (EOFError, OSError):
                yield from self._buried(slot)
                continue
            if isinstance(news, Progress):
                yield news
            elif isinstance(news, Outcome):
                worker.task = None
                self._retire_if_large(slot, news.resident_bytes)
                yield news
            elif news is None:
                worker.is_ready = True
            else:
                raise StartFailure(str(news))

    def abort(self) -> None:
        """Ask every worker to drop its task; their outcomes still come."""
        for worker in self._workers.values():
            if worker.task is not None:
                with suppress(OSError):
                    worker.pipe.send(ABORT)

    def close(self) -> None:
        """End all workers, and wait until they are gone."""
        self.abort()
        for worker in self._workers.values():
            with suppress(OSError):
                worker.pipe.send(None)
        deadline_s = time.monotonic() + GRACE_S
        for worker in self._workers.values():
            worker.process.join(max(0.1, deadline_s - time.monotonic()))
            _end(worker.process)
            worker.pipe.close()
        self._workers.clear()

    def _start(self, slot: int) -> None:
        ours, theirs = self._context.Pipe()
        self._started += 1
        name = f"worker {self._started}"
        process = self._context.Process(
            target=_work,
            args=(theirs, self._job, name, dict(self._environments[slot])),
            name=f"tpvideo {name}",
            daemon=True,
        )
        process.start()
        theirs.close()
        self._workers[slot] = Worker(name, process, ours)

    def _buried(self, slot: int) -> Iterator[Outcome]:
        """Replace a worker that died; its task, if it had one, has crashed."""
        worker = self._workers[slot]
        worker.process.join(GRACE_S)
        _end(worker.process)
        worker.pipe.close()
        code = worker.process.exitcode
        self._failed_starts = 0 if worker.is_ready else self._failed_starts + 1
        if self._failed_starts > MOST_FAILED_STARTS:
            raise StartFailure(f"workers end while they start ({_told_of(code)})")
        self._replace(slot)
        if worker.task is not None:
            yield Outcome(
                worker.task,
                "failed",
                f"the worker process died ({_told_of(code)})",
                kind="WorkerDied",
                worker=worker.name,
                elapsed_s=time.monotonic() - worker.since_s,
                is_crash=True,
            )

    def _retire_if_large(self, slot: int, resident_bytes: int) -> None:
        if self._memory_bytes is None or resident_bytes <= self._memory_bytes:
            return
        worker = self._workers[slot]
        log.debug("%s holds %d MiB and is replaced", worker.name, resident_bytes >> 20)
        with suppress(OSError):
            worker.pipe.send(None)
        worker.process.join(GRACE_S)
        _end(worker.process)
        worker.pipe.close()
        self._replace(slot)

    def _replace(self, slot: int) -> None:
        self.replaced += 1
        self._start(slot)


def _end(process: SpawnProcess) -> None:
    """Kill a process that is still there, and take its exit code, so that no zombie is left."""
    if process.is_alive():
        process.kill()
    process.join()


def _told_of(code: int | None) -> str:
    if code is not None and code < 0:
        with suppress(ValueError):
            return signal.Signals(-code).name
    return f"exit code {code}"


def _work(pipe: Connection, job: Job, name: str, environment: dict[str, str]) -> None:
    """The whole life of a worker process."""
    # Ctrl-C reaches the whole group of processes; what it means is decided in the first one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.update(environment)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    logging.getLogger("tpvideo").addHandler(logging.NullHandler())
    try:
        bench = Workbench(job, name)
    except TpvideoError as error:
        pipe.send(str(error))
        return
    pipe.send(None)
    with suppress(EOFError, OSError, KeyboardInterrupt):
        while (task := pipe.recv()) is not None:
            if task != ABORT:
                pipe.send(_one(bench, task, pipe))


def _one(bench: Workbench, task: Task, pipe: Connection) -> Outcome:
    """Carry out a task, listening for its end meanwhile."""
    is_over = threading.Event()

    def listen() -> None:
        try:
            while not is_over.is_set():
                if pipe.poll(0.2) and not is_over.is_set():
                    pipe.recv()
                    bench.abort()
                    return
        except (EOFError, OSError):  # the first process is gone
            bench.abort()

    def tell(progress: Progress) -> None:
        with suppress(OSError):
            pipe.send(progress)

    listener = threading.Thread(target=listen, name="tpvideo-listen")
    listener.start()
    try:
        return bench.run(task, tell)
    finally:
        is_over.set()
        listener.join()
