"""A number of every frame, between 0 and 1, told in few: quantiles, and the stretches where it is
low. What is kept does not grow with the stream."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tpvideo.pipeline.checkpoint import State
from tpvideo.pipeline.frame import Stamp
from tpvideo.pipeline.losses import Loss, Losses

BINS = 200
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a Gauge has seen."""

    name: str
    frames: int
    """How many frames had the number."""
    quantiles: tuple[tuple[float, float], ...]
    """Share of the frames, and the number that so many stay below; to 1 / BINS."""
    least: float
    """The threshold that was asked for; 0 where there is none."""
    below: int
    """Frames below it."""
    low_at: float
    """What counts as low."""
    low: tuple[Loss, ...]
    """The stretches of frames that are low."""
    latest: float
    """Of the last frame."""


class Gauge:
    """Where one part of a run notes a number of every frame.

    Args:
        name: of the number.
        least: the threshold that was asked for.
        low_at: below it, or below the threshold, frames are placed one by one.
    """

    def __init__(self, name: str, *, least: float = 0.0, low_at: float) -> None:
        self.name = name
        self.least = least
        self.low_at = max(least, low_at)
        self.clear()

    def clear(self) -> None:
        """A new stream begins."""
        self._counts = np.zeros(BINS + 1, np.int64)
        self._below = 0
        self._latest = 0.0
        self._low = Losses()

    def add(self, value: float, stamp: Stamp) -> None:
        """Note a frame's number, 0..1."""
        self._counts[round(value * BINS)] += 1
        self._below += value < self.least
        self._latest = value
        if value < self.low_at:
            self._low.add(self.name, stamp)

    def read(self) -> Reading | None:
        """What there is to tell so far; None before the first frame."""
        upto = self._counts.cumsum()
        frames = int(upto[-1])
        if not frames:
            return None
        quantiles = tuple((share, self._quantile(upto, share)) for share in QUANTILES)
        return Reading(
            self.name,
            frames,
            quantiles,
            least=self.least,
            below=self._below,
            low_at=self.low_at,
            low=self._low.found,
            latest=self._latest,
        )

    def state(self) -> State:
        """What was noted so far, for a Checkpoint."""
        return {
            "counts": self._counts.copy(),
            "below": self._below,
            "latest": self._latest,
            "low": self._low.state(),
        }

    def restore(self, state: State) -> None:
        """Go on from an earlier `state`."""
        counts = np.asarray(state["counts"], np.int64)
        if counts.shape != self._counts.shape:
            raise ValueError("the counts of another gauge")
        self._counts, self._below = counts.copy(), int(state["below"])
        self._latest = float(state["latest"])
        self._low.restore(state["low"])

    @staticmethod
    def _quantile(upto: np.ndarray[tuple[int], np.dtype[np.int64]], share: float) -> float:
        """The least number that so many of the frames do not exceed, at least one of them."""
        wanted = max(1.0, share * float(upto[-1]))
        return float(np.searchsorted(upto, wanted)) / BINS
