"""Several threads for one stage: each takes a batch, works on it, and hands on in its turn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Condition, Lock
from typing import Any, Generic, TypeVar

from tpvideo.pipeline.channel import Cancelled, Channel
from tpvideo.pipeline.checkpoint import Checkpoint
from tpvideo.pipeline.metrics import Clock, Timing, mean_of
from tpvideo.pipeline.stage import LanedStage
from tpvideo.pipeline.worker import StageWorker, Worker, frames_of

In = TypeVar("In")
Out = TypeVar("Out")


class LanedWorker(Worker, Generic[In, Out]):
    """Feeds a stage as many batches at once as it has lanes.

    Batches begin and end in order, one at a time. A checkpoint, and the end of the stream, wait
    until every batch before them has ended, and hold back those behind them.
    """

    def __init__(
        self,
        stage: LanedStage[In, Any, Any, Out],
        inbox: Channel[In | Checkpoint],
        outbox: Channel[Out | Checkpoint],
    ) -> None:
        super().__init__(stage.name)
        order = _Order()
        self._lanes = [_Lane(stage, inbox, outbox, order) for _ in range(stage.lanes)]

    @property
    def timing(self) -> Timing:
        """Of all lanes: their frames, and the mean of their times."""
        return mean_of([lane.timing for lane in self._lanes])

    def work(self) -> None:
        """Work until every lane has ended; raises what made them end."""
        with ThreadPoolExecutor(len(self._lanes), f"tpvideo-{self.name}") as pool:
            ends = [pool.submit(lane.work) for lane in self._lanes]
        failed = [
            (isinstance(error, Cancelled), lane.frames, error)
            for lane, end in zip(self._lanes, ends, strict=True)
            if (error := end.exception()) is not None
        ]
        if failed:  # where one failed, the others were cancelled
            _, self.frames, error = min(failed, key=lambda each: each[0])
            raise error


class _Lane(StageWorker[In, Out]):
    """One of the threads."""

    def __init__(
        self,
        stage: LanedStage[In, Any, Any, Out],
        inbox: Channel[In | Checkpoint],
        outbox: Channel[Out | Checkpoint],
        order: _Order,
    ) -> None:
        super().__init__(stage, inbox, outbox, live=False)
        self._laned = stage
        self._order = order

    def work(self) -> None:
        """Work until the stream ends; whatever ends it earlier ends the other lanes as well."""
        try:
            while self._pass_on():
                pass
        except BaseException:
            self._order.break_off()
            self._inbox.cancel()  # one of them may wait there
            raise

    def _pass_on(self) -> bool:
        """Pass on a batch or a checkpoint; whether more may follow."""
        with self._order.begin(self.clock) as turn:
            if self._order.is_over:
                return False
            items = self._take()
            if not items or isinstance(items[0], Checkpoint):
                with self._order.end(turn, self.clock):
                    self._order.is_over = not items
                    self._end() if not items else self._mark(items[0])
                return bool(items)
            self.frames = self._order.count(items)
            with self.clock.spend("busy_s"):
                job = self._laned.prepare(items)
        with self.clock.spend("busy_s"):
            made = self._laned.work(job)
        with self._order.end(turn, self.clock):
            with self.clock.spend("busy_s"):
                results = self._laned.finish(items, made)
            self._hand_on(results)
            self.clock.count(len(items))
        return True


class _Order:
    """Whose turn it is to begin, and to end."""

    def __init__(self) -> None:
        self.is_over = False
        """The stream has ended."""
        self._begins = Lock()
        self._changed = Condition()
        self._begun, self._ended = 0, 0
        self._frames = 0
        self._is_broken = False

    def count(self, items: Sequence[object]) -> range:
        """The frames of the next batch."""
        found = frames_of(items, self._frames)
        self._frames += len(items)
        return found

    @contextmanager
    def begin(self, clock: Clock) -> Iterator[int]:
        """Alone, take the next turn."""
        with clock.spend("starved_s"):
            self._begins.acquire()
        try:
            self._begun += 1
            yield self._begun
        finally:
            self._begins.release()

    @contextmanager
    def end(self, turn: int, clock: Clock) -> Iterator[None]:
        """Wait until all turns before this one have ended, and end it.

        Raises:
            Cancelled: one of them broke off.
        """
        with clock.spend("blocked_s"), self._changed:
            self._changed.wait_for(lambda: self._ended == turn - 1 or self._is_broken)
            if self._is_broken:
                raise Cancelled
        yield
        with self._changed:
            self._ended = turn
            self._changed.notify_all()

    def break_off(self) -> None:
        """Let nobody wait for a turn that will not come."""
        with self._changed:
            self._is_broken = True
            self._changed.notify_all()
