"""What each thread of a run does: move items between a channel and a source, stage or sink."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from tpvideo.pipeline.channel import Channel, EndOfStream
from tpvideo.pipeline.checkpoint import Checkpoint, State
from tpvideo.pipeline.gauge import Gauge
from tpvideo.pipeline.losses import Losses
from tpvideo.pipeline.metrics import Clock, Timing
from tpvideo.pipeline.stage import Keeper, Sink, Source, Stage

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

    @property
    def timing(self) -> Timing:
        """What it did so far. From any thread."""
        return self.clock.timing

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
        has_frames = items and not isinstance(items[0], Checkpoint)
        self.frames = frames_of(items, self.clock.timing.frames) if has_frames else None
        return items


class SourceWorker(Worker, Generic[Out]):
    """Reads one frame at least, then until the source runs out or `is_stop_asked` says so."""

    checkpoint_every: int | None = None
    """Frames between two checkpoints, counted from the stream's first; None sets none."""
    begin: Checkpoint | None = None
    """Where an earlier run stopped; None is the stream's first frame."""

    def __init__(
        self,
        source: Source[Out],
        outbox: Channel[Out | Checkpoint],
        is_stop_asked: Callable[[], bool],
    ) -> None:
        super().__init__(SOURCE_NAME)
        self._source = source
        self._outbox = outbox
        self._is_stop_asked = is_stop_asked
        self.is_stopped = False
        """Reading ended because it was asked to."""
        self.zero_pts = 0
        """Time of the first frame, in ticks; 0 for items without a stamp."""

    def work(self) -> None:
        self.frames = range(1)
        for item in self._timed(self._source):
            if not self.clock.timing.frames:
                pts: int = getattr(getattr(item, "stamp", None), "pts", 0)
                self.zero_pts = pts if self.begin is None else self.begin.zero_pts
            frame = frames_of([item], self.clock.timing.frames).stop
            self.frames = range(frame, frame + 1)  # the next one, which may not be readable
            self._put(self._outbox, item)
            self.clock.count(1)
            if self.checkpoint_every and frame % self.checkpoint_every == 0:
                self._put(self._outbox, Checkpoint(frame, self.zero_pts))
            if self._is_stop_asked():
                self.is_stopped = True
                break
        self._outbox.close()


class StageWorker(Worker, Generic[In, Out]):
    """Feeds a stage batches, and hands on each result as soon as the stage yields it."""

    def __init__(
        self,
        stage: Stage[In, Out],
        inbox: Channel[In | Checkpoint],
        outbox: Channel[Out | Checkpoint],
        *,
        live: bool,
        admitted: Channel[None] | None = None,
    ) -> None:
        """`admitted` holds an item for each one in flight, and is full when there are enough."""
        super().__init__(stage.name)
        self._stage = stage
        self._inbox = inbox
        self._outbox = outbox
        # Live input would wait long for a full batch: the frames that are there must do.
        self._linger_s = 0.0 if live and stage.linger_s is None else stage.linger_s
        self._admitted = admitted

    def work(self) -> None:
        while items := self._take():
            if isinstance(items[0], Checkpoint):
                self._mark(items[0])
                continue
            with self.clock.spend("busy_s"):
                results = self._stage.process(items)
            self._hand_on(results)
            self.clock.count(len(items))
        self._end()

    def _mark(self, checkpoint: Checkpoint) -> None:
        """Pass a checkpoint on, with what the stage remembers at this moment."""
        self._put(self._outbox, checkpoint.past(memory_of(self._stage)))

    def _end(self) -> None:
        """Hand on what is held, and say that nothing follows."""
        with self.clock.spend("busy_s"):
            results = self._stage.flush()
        self._hand_on(results)
        self._outbox.close()

    def _take(self) -> list[Any]:
        """The next batch, once there is room for it; empty at the end of the stream."""
        if self._admitted is None:
            return self._get(self._inbox, self._stage.batch, self._linger_s)
        self._put(self._admitted, None)  # first the room, then the item: the newest there is
        return self._get(self._inbox, 1, self._linger_s)

    def _hand_on(self, results: Iterable[Out]) -> None:
        for result in self._timed(results):
            self._put(self._outbox, result)


class SinkWorker(Worker, Generic[In]):
    """Gives the sink one frame after the other."""

    def __init__(
        self, sink: Sink[In], inbox: Channel[Any], admitted: Channel[None] | None = None
    ) -> None:
        """`admitted` loses an item for each one that the sink has taken."""
        super().__init__(SINK_NAME)
        self._sink = sink
        self._inbox = inbox
        self._admitted = admitted

    def work(self) -> None:
        while items := self._get(self._inbox, 1, None):
            if isinstance(items[0], Checkpoint):
                with self.clock.spend("busy_s"):
                    self._keep(items[0])
                continue
            with self.clock.spend("busy_s"):
                self._sink.consume(items[0])
            self.clock.count(1)
            if self._admitted is not None:
                self._admitted.get_batch(1, None)

    def _keep(self, checkpoint: Checkpoint) -> None:
        if isinstance(self._sink, Keeper):
            self._sink.keep(checkpoint)


def memory_of(stage: Stage[Any, Any]) -> State:
    """What a stage remembers, how many items it holds back, and the losses and numbers it has told
    of."""
    losses: Losses | None = getattr(stage, "losses", None)
    gauge: Gauge | None = getattr(stage, "gauge", None)
    return {
        "stage": stage.state(),
        "held": getattr(stage, "held", 0),
        "losses": losses and losses.state(),
        "gauge": gauge and gauge.state(),
    }


def remind(stage: Stage[Any, Any], memory: State) -> None:
    """Give a stage back its `memory_of`; raises what Stage.restore does."""
    stage.restore(memory["stage"])
    losses: Losses | None = getattr(stage, "losses", None)
    if losses is not None:
        losses.restore(memory["losses"])
    gauge: Gauge | None = getattr(stage, "gauge", None)
    if gauge is not None:
        gauge.restore(memory["gauge"])


def frames_of(items: Sequence[object], count: int) -> range:
    """The frames that a batch covers.

    By the items' stamps; items without one are counted, `count` having gone before them.
    """
    first = getattr(items[0], "stamp", None)
    last = getattr(items[-1], "stamp", None)
    if first is None or last is None:
        return range(count, count + len(items))
    return range(first.index, last.index + 1)
