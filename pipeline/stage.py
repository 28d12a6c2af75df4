"""What the runner asks of a source, a stage and a sink.

Each of them may also have attributes that the runner puts into the Report: `losses`, a
tpvideo.pipeline.losses.Losses, `notices`, a list of lines about what was done otherwise than
one would expect, and `gauge`, a tpvideo.pipeline.gauge.Gauge. Whoever has nothing to tell has none.
A stage that hands items on later than they come tells in `held` how many it has.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar, runtime_checkable

from tpvideo.pipeline.checkpoint import Checkpoint, State
from tpvideo.pipeline.frame import StreamInfo

Out = TypeVar("Out")
In_contra = TypeVar("In_contra", contravariant=True)
Out_co = TypeVar("Out_co", covariant=True)
In = TypeVar("In")
Job = TypeVar("Job")
Made = TypeVar("Made")


class Source(Protocol[Out_co]):
    """Where frames come from. A source that can block for long wakes at least once a second."""

    def open(self) -> StreamInfo:
        """Make ready to read and describe the stream; runs before any thread starts."""

    def __iter__(self) -> Iterator[Out_co]:
        """Yield frames in presentation order."""

    def close(self) -> None:
        """Release what open acquired; called once, also after a failure."""


class Stage(Generic[In_contra, Out_co]):
    """One step that a frame takes. Subclasses write process; the rest has defaults.

    A stage is used by one thread at a time, unless it is a LanedStage, and keeps the order of its
    items.
    """

    batch: int = 1
    """Most items handed to process at once."""
    linger_s: float | None = None
    """How long to wait to fill a batch after its first item; None waits until it is full."""

    @property
    def name(self) -> str:
        """A short word for tables and messages."""
        return type(self).__name__.lower()

    def open(self, info: StreamInfo) -> StreamInfo:
        """Make ready; may change what later stages see. Runs before any thread starts."""
        return info

    def process(self, items: Sequence[In_contra]) -> Iterable[Out_co]:
        """Turn 1..batch items into any number of items, in order."""
        raise NotImplementedError

    def flush(self) -> Iterable[Out_co]:
        """Hand over what is still held when the stream has ended."""
        return ()

    def state(self) -> State:
        """Everything that the frames so far change in what later ones become; {} is nothing.

        Called between two calls of process. What process later changes in place is copied; items
        that are held back are part of it.
        """
        return {}

    def restore(self, state: State) -> None:
        """Go on where another run's `state` was taken; called after open, if at all.

        Raises:
            KeyError, TypeError, ValueError: it is no state of this stage.
        """

    def close(self) -> None:
        """Release what open acquired; called once, also after a failure."""


class LanedStage(Stage[In, Out], Generic[In, Job, Made, Out]):
    """A stage in three steps, of which the middle one can go on for several batches at once.

    What a batch changes in what later ones become happens in `prepare` and `finish`, which are
    called in the order of the batches, each for one at a time; `prepare` may be batches ahead. At
    `state` and `flush` every batch that was begun has ended.
    """

    lanes: int = 1
    """Most batches in work at once; live, there is one."""

    def prepare(self, items: Sequence[In]) -> Job:
        """Begin 1..batch items: all that `work` needs of them and of what went before."""
        raise NotImplementedError

    def work(self, job: Job) -> Made:
        """The long part; changes nothing in the stage."""
        raise NotImplementedError

    def finish(self, items: Sequence[In], made: Made) -> Iterable[Out]:
        """End what `prepare` began: the items' results, in order."""
        raise NotImplementedError

    def process(self, items: Sequence[In]) -> Iterable[Out]:
        """The three steps in a row."""
        return self.finish(items, self.work(self.prepare(items)))


class Sink(Protocol[In_contra]):
    """Where frames end up."""

    def open(self, info: StreamInfo) -> None:
        """Make ready to write; fails here when the target cannot be written."""

    def consume(self, item: In_contra, /) -> None:
        """Take one frame, in order."""

    def finish(self) -> None:
        """Make the result appear under its name; called only after every frame arrived."""

    def close(self) -> None:
        """Release what open acquired and remove what was not finished; always called."""


@runtime_checkable
class Interruptible(Protocol):
    """A source whose reading can be ended from outside."""

    def interrupt(self) -> None:
        """Let a read that hangs in another thread return soon, if there is a way."""


@runtime_checkable
class Keeper(Protocol):
    """A sink that an interrupted run can be continued with."""

    def keep(self, checkpoint: Checkpoint, /) -> None:
        """Make everything consumed so far, and the checkpoint, survive the end of the process."""
