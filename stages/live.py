"""What all live sources have in common.

A live source's pts is the moment a picture was taken, in ticks of TIME_BASE on `now`'s clock, so
that anybody further down can tell a picture's age.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from fractions import Fraction

from tpvideo.pipeline.frame import Decoded, StreamInfo

TIME_BASE = Fraction(1, 1_000_000)
"""Seconds per tick of every live source."""

PATIENCE_S = 0.5
"""How long a live source waits before it looks whether it is to go on."""


def now() -> int:
    """This moment in ticks of TIME_BASE; only differences mean anything."""
    return time.monotonic_ns() // 1000


def age_s(pts: int) -> float:
    """Seconds since the moment of a live picture's pts."""
    return (now() - pts) / 1e6


class LiveSource(ABC):
    """What all live sources have in common: they ask `is_over` at least once a second."""

    def __init__(self) -> None:
        self.is_over: Callable[[], bool] = lambda: False
        """Whether to stop waiting; whoever runs the source puts Pipeline.is_stopping here."""
        self.state = "starting"
        """What the source is doing, for people."""

    @abstractmethod
    def open(self) -> StreamInfo:
        """See pipeline.stage.Source; time is in ticks of TIME_BASE."""

    @abstractmethod
    def __iter__(self) -> Iterator[Decoded]:
        """Pictures as they come, until there are no more or `is_over` says so."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what open acquired."""

    def _wait(self, seconds: float) -> bool:
        """Wait; False as soon as there is nothing to wait for any more."""
        until_s = time.monotonic() + seconds
        while not self.is_over():
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                return True
            time.sleep(min(left_s, PATIENCE_S))
        return False
