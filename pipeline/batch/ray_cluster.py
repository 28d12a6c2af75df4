"""Workers on a cluster: an actor for each GPU, or for so many cores; Ray places and restarts them.

Ray does all scheduling: it finds the nodes, restarts an actor that dies, and gives its task to it
again. Here is only how a worker looks to Ray, and what the batch asks of it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tpvideo.pipeline.batch.task import Outcome, Progress, Task
from tpvideo.pipeline.batch.work import Job, Workbench
from tpvideo.pipeline.config import Settings
from tpvideo.pipeline.errors import ConfigError, MissingExtraError, TpvideoError, in_one_line

log = logging.getLogger(__name__)

CORES_A_WORKER = 2
TASK_RETRIES = 2
"""How often Ray gives a task to a worker anew when the one before died with it."""
PROGRESS_INTERVAL_S = 1.0
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


@dataclass(frozen=True, slots=True)
class Share:
    """What each worker is given of its node."""

    gpus: int
    cores: int

    def __str__(self) -> str:
        return f"{self.gpus} GPU and {self.cores} cores" if self.gpus else f"{self.cores} cores"

    def fits(self, node: Mapping[str, float]) -> int:
        """How many workers a node with these resources carries."""
        by_cores = int(node.get("CPU", 0) // self.cores)
        return min(by_cores, int(node.get("GPU", 0) // self.gpus)) if self.gpus else by_cores


class RemoteBench:
    """A worker as Ray runs it: one task at a time, with a second thread that answers questions."""

    def __init__(self, job: Job, name: str, models: Mapping[str, tuple[str, str, Any]]) -> None:
        self._job = job
        self._name = name
        self._models = models
        self._bench: Workbench | None = None
        self._progress: Progress | None = None

    def run(self, task: Task) -> Outcome | str:
        """Carry out a task; a text says why no task can be carried out."""
        self._progress = None
        if self._bench is None:
            try:
                settings = with_models(self._job.settings, self._models)
                self._bench = Workbench(replace(self._job, settings=settings), self._name)
            except TpvideoError as error:
                return in_one_line(error)
        return self._bench.run(task, self._keep)

    def progress(self) -> Progress | None:
        """How far the task is."""
        return self._progress

    def abort(self) -> None:
        """Drop the task."""
        if self._bench is not None:
            self._bench.abort()

    def process(self) -> int:
        """The number of the process, for tests that kill it."""
        return os.getpid()

    def _keep(self, progress: Progress) -> None:
        self._progress = progress


@dataclass(slots=True)
class _Busy:
    actor: Any
    name: str
    task: Task
    since_s: float
    question: Any = None
    asked_s: float = field(default_factory=time.monotonic)


class Actors:
    """Workers on a Ray cluster; `submit` tasks while `free`, and listen to `events`."""

    def __init__(
        self, job: Job, address: str | None, workers: int | None, *, most: int | None = None
    ) -> None:
        """Connect, and ask for the workers.

        Args:
            job: what all tasks have in common.
            address: of the cluster's head, as Ray takes it; None starts one on this machine.
            workers: how many; None is one for each GPU, or for every CORES_A_WORKER cores.
            most: no more than this are of use.

        Raises:
            MissingExtraError: Ray is not installed.
            ConfigError: the cluster cannot be reached, or can never carry so many workers.
        """
        self._ray = _connected(address)
        self.share, self.count = self._measure(job.settings, workers, most)
        models = _stored(self._ray, job.settings)
        threads = {"OMP_NUM_THREADS": str(self.share.cores), "OMP_WAIT_POLICY": "PASSIVE"}
        kind = self._ray.remote(RemoteBench).options(
            num_gpus=self.share.gpus,
            num_cpus=self.share.cores,
            max_restarts=-1,
            max_task_retries=TASK_RETRIES,
            max_concurrency=2,
            runtime_env={"env_vars": threads},
        )
        names = [f"worker {number + 1}" for number in range(self.count)]
        self._idle = [(kind.remote(job, name, models), name) for name in names]
        self._busy: dict[Any, _Busy] = {}

    def __enter__(self) -> Actors:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def free(self) -> int:
        """How many tasks can be submitted now."""
        return len(self._idle)

    def submit(self, task: Task) -> str:
        """Give a task to a free worker; returns the worker's name."""
        actor, name = self._idle.pop()
        self._busy[actor.run.remote(task)] = _Busy(actor, name, task, time.monotonic())
        return name

    def events(self, timeout_s: float) -> Iterator[Progress | Outcome]:
        """What became of tasks since; waits up to `timeout_s` for the first of them.

        Raises:
            ConfigError: the workers cannot load what they need.
        """
        if self._busy:
            ready, _ = self._ray.wait(list(self._busy), num_returns=1, timeout=timeout_s)
            for reference in ready:
                busy = self._busy.pop(reference)
                self._idle.append((busy.actor, busy.name))
                yield self._outcome(reference, busy)
        yield from self._progress()

    def abort(self) -> None:
        """Ask every worker to drop its task; their outcomes still come."""
        for busy in self._busy.values():
            busy.actor.abort.remote()

    def processes(self) -> list[int]:
        """The process of every worker."""
        actors = [actor for actor, _ in self._idle] + [busy.actor for busy in self._busy.values()]
        found: list[int] = self._ray.get([actor.process.remote() for actor in actors])
        return found

    def close(self) -> None:
        """Let go of the workers and the cluster."""
        for actor, _ in self._idle:
            self._ray.kill(actor)
        for busy in self._busy.values():
            self._ray.kill(busy.actor)
        self._ray.shutdown()

    def _measure(
        self, settings: Settings, workers: int | None, most: int | None
    ) -> tuple[Share, int]:
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        gpus = 0 if settings.device == "cpu" else int(sum(node.get("GPU", 0) for node in nodes))
        largest = max((int(node.get("CPU", 0)) for node in nodes), default=0)
        share = Share(
            gpus=1 if gpus or settings.device == "cuda" else 0,
            cores=max(1, min(CORES_A_WORKER, largest)),
        )
        carried = sum(share.fits(node) for node in nodes)
        count = workers or min(carried, most or carried)
        if not count or count > carried:
            has = "; ".join(
                f"{int(node.get('GPU', 0))} GPU, {int(node.get('CPU', 0))} cores" for node in nodes
            )
            raise ConfigError(
                f"{workers or 'at least 1'} workers of {share} each are asked for; the cluster "
                f"carries {carried} (its nodes: {has or 'none'})"
            )
        return share, min(count, most or count)

    def _outcome(self, reference: Any, busy: _Busy) -> Outcome:
        try:
            news = self._ray.get(reference)
        except Exception as error:  # Ray's: the worker died more often than it is restarted for
            elapsed_s = time.monotonic() - busy.since_s
            reason = f"its worker died {TASK_RETRIES + 1} times: {_line(error)}"
            return Outcome(
                busy.task, "failed", reason, "WorkerDied", elapsed_s=elapsed_s, worker=busy.name
            )
        if isinstance(news, str):
            raise ConfigError(news)
        assert isinstance(news, Outcome)
        return news

    def _progress(self) -> Iterator[Progress]:
        """Ask every busy worker once a second, and hand on what has been answered."""
        for busy in self._busy.values():
            if busy.question is None and time.monotonic() - busy.asked_s > PROGRESS_INTERVAL_S:
                busy.question, busy.asked_s = (
                    busy.actor.progress.options(max_task_retries=0).remote(),
                    time.monotonic(),
                )
        asked = {busy.question: busy for busy in self._busy.values() if busy.question is not None}
        if not asked:
            return
        answered, _ = self._ray.wait(list(asked), num_returns=len(asked), timeout=0)
        for question in answered:
            asked[question].question = None
            try:
                answer = self._ray.get(question)
            except Exception:  # the worker died; its outcome tells
                continue
            if answer is not None:
                yield answer


def with_models(settings: Settings, models: Mapping[str, tuple[str, str, Any]]) -> Settings:
    """The settings with model files of the first machine replaced by copies on this node.

    Args:
        settings: as asked for.
        models: by setting: name, SHA-256 and content of a file.
    """
    import ray

    from tpvideo.weights.folder import directory, lock

    for setting, (name, digest, content) in models.items():
        path = directory() / "cluster" / digest[:16] / Path(name).name
        with lock(path):  # the first worker of a node writes it, the others find it
            if not path.is_file():
                part = path.with_suffix(".part")
                part.write_bytes(ray.get(content))
                os.replace(part, path)
        changed: dict[str, Any] = {setting: str(path)}
        settings = replace(settings, **changed)
    return settings


def _stored(ray: Any, settings: Settings) -> dict[str, tuple[str, str, Any]]:
    """Model files that the package does not bring along, in the cluster's memory: once a node."""
    from tpvideo.weights import directions, folder

    named = {"model": settings.model, "matting": settings.matting}
    paths = {
        setting: folder.locate(name)
        for setting, name in named.items()
        if name not in folder.SHIPPED and name not in ("auto", "modnet", "none")
    }
    if settings.edit and (settings.directions or "model" in paths):
        paths["directions"] = directions.locate(settings.directions, settings.model)
    stored = {}
    for setting, path in paths.items():
        content = path.read_bytes()
        stored[setting] = (path.name, hashlib.sha256(content).hexdigest(), ray.put(content))
    return stored


def _connected(address: str | None) -> Any:
    os.environ.update({name: os.environ.get(name, value) for name, value in QUIET.items()})
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("ray", "cluster", "--cluster ray") from error
    try:
        if not ray.is_initialized():
            here = {"include_dashboard": False} if address is None else {"address": address}
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **here)
    except Exception as error:  # of many kinds: no such address, another version of Ray or Python
        raise ConfigError(f"cannot reach the cluster at {address}: {_line(error)}") from error
    return ray


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if len(text) < 300 else f"{text[:297]}..."
