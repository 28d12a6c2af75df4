"""What the result lacks of its source: told by the parts of a run, put together in the Report."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

from tpvideo.pipeline.checkpoint import State
from tpvideo.pipeline.frame import Stamp

MOST_RANGES = 1000
"""So that an endless run cannot fill the memory; beyond it, the last range grows over the gaps."""


@dataclass(frozen=True, slots=True)
class Loss:
    """One kind of loss in one stretch of the stream."""

    what: str
    """What was missing and what is shown instead, in few words."""
    count: int
    """How many frames, packets or tracks."""
    first: Stamp | None = None
    """The first frame concerned, or the frame after what is missing; None: not to be placed."""
    last: Stamp | None = None
    stage: str = ""
    """Who tells it; filled in by the runner."""

    def seconds(self, time_base: Fraction, zero_pts: int) -> tuple[float, float] | None:
        """When its first and last frame begin, in seconds after the frame at zero_pts."""
        if self.first is None or self.last is None:
            return None
        first, last = (
            float((stamp.pts - zero_pts) * time_base) for stamp in (self.first, self.last)
        )
        return first, last


class Losses:
    """Where one part of a run notes what it could not give.

    A source, stage or sink that can lose something has one as its attribute `losses`. Only the
    part's own thread writes, and each write replaces the whole value, so that another thread may
    read it at any moment without a lock.
    """

    def __init__(self) -> None:
        self.found: tuple[Loss, ...] = ()
        """In the order of the stream."""

    def add(self, what: str, stamp: Stamp | None = None, count: int = 1) -> None:
        """Note a loss at a frame; it joins the one before when it is the same, one frame later.

        Args:
            what: in few words, such as "no face: the picture before is shown".
            stamp: the frame; None where there is none to name.
            count: how many frames, packets or tracks are lost at this place.
        """
        last = self.found[-1] if self.found else None
        if last is not None and last.what == what and self._continues(last, stamp):
            grown = replace(last, count=last.count + count, last=stamp)
            self.found = (*self.found[:-1], grown)
        else:
            self.found = (*self.found, Loss(what, count, stamp, stamp))

    def clear(self) -> None:
        """Forget everything: a new stream begins."""
        self.found = ()

    def state(self) -> State:
        """What was noted so far, for a Checkpoint."""
        return {
            "found": [
                [loss.what, loss.count, _ticks(loss.first), _ticks(loss.last)]
                for loss in self.found
            ]
        }

    def restore(self, state: State) -> None:
        """Go on from an earlier `state`."""
        self.found = tuple(
            Loss(str(what), int(count), first and Stamp(*first), last and Stamp(*last))
            for what, count, first, last in state["found"]
        )

    def _continues(self, last: Loss, stamp: Stamp | None) -> bool:
        if last.last is None or stamp is None:
            return last.last is stamp
        return stamp.index <= last.last.index + 1 or len(self.found) >= MOST_RANGES


def _ticks(stamp: Stamp | None) -> tuple[int, int] | None:
    return None if stamp is None else (stamp.index, stamp.pts)
