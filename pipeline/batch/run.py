"""A whole batch: skip what is good, hand out the rest, retry, and write down what became of it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any, Protocol

from tpvideo.pipeline.batch.manifest import Manifest
from tpvideo.pipeline.batch.storage import mark_of
from tpvideo.pipeline.batch.task import Made, Outcome, Progress, Task

POLL_S = 0.5

SLOW_TIMES = 3
"""A file is slow when it takes so many times as long as others of its length."""
SLOW_S = 60.0
"""And at least so long."""
FEWEST_TO_JUDGE = 5
MOST_POSTERS = 1000
"""Pictures that are kept, so that memory stays bounded; the page shows no more files."""


class Workers(Protocol):
    """Who carries tasks out; see pool.Pool and ray_cluster.Actors."""

    @property
    def free(self) -> int: ...

    def submit(self, task: Task) -> str: ...

    def events(self, timeout_s: float) -> Iterable[Progress | Outcome]: ...

    def abort(self) -> None: ...


class Watcher(Protocol):
    """Who is told how the batch goes on; see table."""

    def begun(self, task: Task, worker: str) -> None: ...

    def moved(self, progress: Progress) -> None: ...

    def ended(self, outcome: Outcome) -> None: ...

    def again(self, outcome: Outcome, how: str) -> None: ...

    def slow(self, task: Task, elapsed_s: float, usual_s: float) -> None: ...


@dataclass(slots=True)
class Plan:
    """What is left to do, and what needs nothing."""

    wanted: list[Task]
    settled: list[Outcome]
    """Good already, or refused."""


def examine(tasks: Iterable[Task], manifest: Manifest, *, overwrite: bool) -> Plan:
    """Decide for every result whether it is good, wanted, or in the way.

    A task of which some results are good is left with the others.
    """
    plan = Plan([], [])
    for task in tasks:
        source = task.listed or mark_of(task.source)
        wanted, good, refused = [], [], []
        for target in task.targets:
            verdict, why = manifest.judge(task, source, target)
            if verdict == "good":
                known = manifest.records[target.name]
                good.append(Made(target, known.made.mark))
            elif verdict == "refused" and not overwrite:
                refused.append(why)
            else:
                wanted.append(target)
        if refused:
            reason = "; ".join(refused)
            plan.settled.append(Outcome(task, "failed", reason, kind="OutputError"))
        elif wanted:
            plan.wanted.append(replace(task, targets=tuple(wanted)))
        else:
            plan.settled.append(Outcome(task, "good", made=tuple(good), source=source))
    return plan


@dataclass(slots=True)
class Batch:
    """The tasks of one run on their way through the workers."""

    workers: Workers
    watcher: Watcher
    manifest: Manifest
    retries: int = 0
    fail_fast: bool = False
    outcomes: list[Outcome] = field(default_factory=list)
    """Of every task, in the order they ended."""
    is_stopping: bool = False
    """Nothing further is handed out."""
    is_aborting: bool = False
    """What is under way is dropped as well."""
    _waiting: deque[Task] = field(default_factory=deque)
    _alone: deque[Task] = field(default_factory=deque)
    _running: set[str] = field(default_factory=set)
    _attempts: dict[str, int] = field(default_factory=dict)
    _crashed: set[str] = field(default_factory=set)
    _is_abort_sent: bool = False
    _split_tasks: dict[str, Outcome] = field(default_factory=dict)
    """By the source: the task that was split, with what its parts took so far."""
    _parts_left: dict[str, int] = field(default_factory=dict)
    _since_s: dict[str, tuple[Task, float]] = field(default_factory=dict)
    """By the key of what is under way: when it began."""
    _paces: list[float] = field(default_factory=list)
    """Seconds a byte of the files that are done."""
    _broken: set[str] = field(default_factory=set)
    """Sources of which a part failed."""

    def run(self, tasks: Sequence[Task], about: Mapping[str, Any]) -> list[Outcome]:
        """Carry out all tasks; returns when none is left or under way.

        Args:
            tasks: with targets that may be written.
            about: what the manifest says of this run.
        """
        self.manifest.promise(tasks, about)
        self._waiting.extend(tasks)
        while self._running or (self._is_left and not self.is_stopping):
            if self.is_aborting and not self._is_abort_sent:
                self._is_abort_sent = True
                self.workers.abort()
            self._hand_out()
            for event in self.workers.events(POLL_S):
                if isinstance(event, Progress):
                    self.watcher.moved(event)
                else:
                    self._ended(event)
            self._tell_of_slow()
        for task in self._never_begun():
            self._keep(Outcome(task, "unstarted", "the batch was stopped before its turn"))
        return self.outcomes

    def stop(self) -> None:
        """Hand out nothing further; a second call drops what is under way. From a signal."""
        self.is_aborting = self.is_stopping
        self.is_stopping = True

    def _never_begun(self) -> list[Task]:
        """Each source once, also when it had been split."""
        left = {task.source: task for task in (*self._waiting, *self._alone)}
        return [
            replace(task, part=None, joins=0)
            for source, task in left.items()
            if source not in self._broken
        ]

    @property
    def _is_left(self) -> bool:
        return bool(self._waiting or self._alone)

    def _hand_out(self) -> None:
        while not self.is_stopping and self._waiting and self.workers.free:
            self._submit(self._waiting.popleft())
        # What brought a worker down gets the machine for itself.
        if not self.is_stopping and self._alone and not self._running and self.workers.free:
            self._submit(self._alone.popleft())

    def _submit(self, task: Task) -> None:
        self._running.add(task.key)
        self._since_s[task.key] = task, time.monotonic()
        self._attempts[task.key] = self._attempts.get(task.key, 0) + 1
        self.watcher.begun(task, self.workers.submit(task))

    def _ended(self, outcome: Outcome) -> None:
        task = outcome.task
        self._running.discard(task.key)
        self._since_s.pop(task.key, None)
        if outcome.state == "done" and task.bytes and not task.joins:
            self._paces.append(outcome.elapsed_s / task.bytes)
        attempts = self._attempts[task.key]
        outcome = replace(outcome, attempts=attempts)
        if outcome.state == "failed" and not self.is_stopping:
            if outcome.is_crash and task.key not in self._crashed:
                self._crashed.add(task.key)
                self._alone.append(task)
                self.watcher.again(outcome, "once more, on its own, when the others are done")
                return
            if outcome.is_worth_retrying and attempts <= self.retries:
                self._waiting.append(task)
                self.watcher.again(outcome, f"attempt {attempts + 1} of {self.retries + 1}")
                return
        if outcome.state == "split":
            self._split(outcome)
            return
        if task.part is not None:
            self._part_ended(outcome)
        else:
            self._keep(self._joined(outcome) if task.joins else outcome)
        if outcome.state == "failed" and self.fail_fast:
            self.is_stopping = self.is_aborting = True

    def _tell_of_slow(self) -> None:
        """Name, once, what takes far longer than files of its length do."""
        if len(self._paces) < FEWEST_TO_JUDGE:
            return
        pace = median(self._paces[-1000:])
        for key, (task, since_s) in list(self._since_s.items()):
            elapsed_s, usual_s = time.monotonic() - since_s, pace * task.bytes
            if task.bytes and elapsed_s > max(SLOW_S, SLOW_TIMES * usual_s):
                del self._since_s[key]
                self.watcher.slow(task, elapsed_s, usual_s)

    def _split(self, outcome: Outcome) -> None:
        """Hand out the parts instead; the film is joined when all of them are there."""
        self._split_tasks[outcome.task.source] = replace(outcome, parts=())
        self._parts_left[outcome.task.source] = len(outcome.parts)
        self._waiting.extendleft(reversed(outcome.parts))
        self.watcher.again(outcome, f"in {len(outcome.parts)} parts")

    def _part_ended(self, outcome: Outcome) -> None:
        """Count a part; with the last one comes the joining, and with a bad one the film's end."""
        source = outcome.task.source
        whole = self._split_tasks[source]
        gathered = replace(
            whole,
            frames=whole.frames + outcome.frames,
            elapsed_s=whole.elapsed_s + outcome.elapsed_s,
            cpu_s=whole.cpu_s + outcome.cpu_s,
            notices=(*whole.notices, *outcome.notices),
        )
        self._split_tasks[source] = gathered
        self._parts_left[source] -= 1
        self.watcher.again(outcome, f"{self._parts_left[source]} parts to come")
        if outcome.state != "done" and source in self._parts_left:
            self._waiting = deque(task for task in self._waiting if task.source != source)
            if source not in self._broken:
                self._broken.add(source)
                self._keep(replace(outcome, task=whole.task))
        elif not self._parts_left[source] and source not in self._broken:
            count = outcome.task.part.of if outcome.task.part else 0
            self._waiting.appendleft(replace(whole.task, joins=count))

    def _joined(self, outcome: Outcome) -> Outcome:
        """The outcome of a film, of its parts and their joining together."""
        parts = self._split_tasks[outcome.task.source]
        return replace(
            outcome,
            task=parts.task,
            elapsed_s=parts.elapsed_s + outcome.elapsed_s,
            cpu_s=parts.cpu_s + outcome.cpu_s,
            notices=(*parts.notices, *outcome.notices),
        )

    def _keep(self, outcome: Outcome) -> None:
        if len(self.outcomes) >= MOST_POSTERS:
            outcome = replace(outcome, poster=b"")
        self.outcomes.append(outcome)
        if outcome.state in ("done", "failed"):
            self.manifest.add(outcome)
        self.watcher.ended(outcome)


def exit_code(outcomes: Sequence[Outcome], *, is_interrupted: bool) -> int:
    """0: all are there; 3: some are missing; 1: none is there; 130: interrupted."""
    if is_interrupted:
        return 130
    missing = [outcome for outcome in outcomes if outcome.state not in ("done", "good")]
    if not missing:
        return 0
    return 1 if len(missing) == len(outcomes) else 3
