"""What each thread of a run does: move items between a channel and a source, stage or sink."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from tpvideo.pipeline.channel import Channel, EndOfStream
from tpvideo.pipeline.metrics import Clock
from tpvideo.pipeline.stage import Sink, Source, Stage

Item = TypeVar("Item")
In = TypeVar("In")
Out = TypeVar("Out")

SOURCE_NAME = "decode"
SINK_NAME = "encode"
_EXHAUSTED: Any = object()  # next() returns it at the end of an iterator; never enters a channel


class Worker:
    """The work of one thread, with what others may ask about it meanwhile."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.clock = Clock(name)
        self.frames: range | None = None
        """The frames in hand, for the message if they fail; None at the end of the stream."""

    def work(self) -> None:
        """Work until the stream ends; raises what the part raises, or Cancelled."""
        raise NotImplementedError

    def _timed(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items one by one; the making of each counts as work."""
        with self.clock.spend("busy_s"):
            iterator = iter(items)
        while True:
            with self.clock.spend("busy_s"):
                item = next(iterator, _EXHAUSTED)
            if item is _EXHAUSTED:
                return
            yield item

    def _put(self, outbox: Channel[Item], item: Item) -> None:
        with self.clock.spend("blocked_s"):
            outbox.put(item)

    def _get(self, inbox: Channel[Item], most: int, linger_s: float | None) -> list[Item]:
        """The next batch, empty at the end of the stream; marks its frames as the ones in hand."""
        with self.clock.spend("starved_s"):
            try:
                items = inbox.get_batch(most, linger_s)
            except EndOfStream:
                items = []
        self.frames = frames_of(items, self.clock.timing.frames) if items else None
        return items


class SourceWorker(Worker, Generic[Out]):
    """Reads one frame at least, then until the source runs out or `is_stop_asked` says so."""

    def __init__(
        self, source: Source[Out], outbox: Channel[Out], is_stop_asked: Callable[[], bool]
    ) -> None:
        super().__init__(SOURCE_NAME)
        self._source = source
        self._outbox = outbox
        self._is_stop_asked = is_stop_asked
        self.is_stopped = False
        """Reading ended because it was asked to."""

    def work(self) -> None:
        self.frames = range(1)
        for item in self._timed(self._source):
            frame = frames_of([item], self.clock.timing.frames).stop
            self.frames = range(frame, frame + 1)  # the next one, which may not be readable
            self._put(self._outbox, item)
            self.clock.count(1)
        self.zero_pts = 0
        """Time of the first frame, in ticks; 0 for items without a stamp."""
            if self._is_stop_asked():
                self.is_stopped = True
                break
        self._outbox.close()
            if not self.clock.timing.frames:
                self.zero_pts = getattr(getattr(item, "stamp", None), "pts", 0)


class StageWorker(Worker, Generic[In, Out]):
    """Feeds a stage batches, and hands on each result as soon as the stage yields it."""

    def __init__(
        self, stage: Stage[In, Out], inbox: Channel[In], outbox: Channel[Out], *, live: bool
    ) -> None:
        super().__init__(stage.name)
        self._stage = stage
        self._inbox = inbox
        self._outbox = outbox
        # Live input would wait long for a full batch: the frames that are there must do.
        self._linger_s = 0.0 if live and stage.linger_s is None else stage.linger_s

    def work(self) -> None:
        while items := self._get(self._inbox, self._stage.batch, self._linger_s):
            with self.clock.spend("busy_s"):
                results = self._stage.process(items)
            self._hand_on(results)
            self.clock.count(len(items))
        with self.clock.spend("busy_s"):
            results = self._stage.flush()
        self._hand_on(results)
        self._outbox.close()

    def _hand_on(self, results: Iterable[Out]) -> None:
        for result in self._timed(results):
            self._put(self._outbox, result)


class SinkWorker(Worker, Generic[In]):
    """Gives the sink one frame after the other."""

    def __init__(self, sink: Sink[In], inbox: Channel[In]) -> None:
        super().__init__(SINK_NAME)
        self._sink = sink
        self._inbox = inbox

    def work(self) -> None:
        while items := self._get(self._inbox, 1, None):
            with self.clock.spend("busy_s"):
                self._sink.consume(items[0])
            self.clock.count(1)


def frames_of(items: Sequence[object], count: int) -> range:
    """The frames that a batch covers.

    By the items' stamps; items without one are counted, `count` having gone before them.
    """
    first = getattr(items[0], "stamp", None)
    last = getattr(items[-1], "stamp", None)
    if first is None or last is None:
        return range(count, count + len(items))
    return range(first.index, last.index + 1)
