"""The One-Euro filter: steady when still, quick when moving (Casiez, Roussel, Vogel 2012)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tpvideo.pipeline.checkpoint import State

Array = NDArray[np.float64]

SPEED_CUTOFF_HZ = 1.0
"""Cutoff of the speed estimate, as in the paper."""


class OneEuro:
    """Causal smoothing of a few numbers that come with their times.

    Args:
        cutoff_hz: cutoff at rest; lower is steadier.
        speed_gain: how much the cutoff rises with speed, per number, in hertz per unit a second.
    """

    def __init__(self, cutoff_hz: float, speed_gain: ArrayLike) -> None:
        self.cutoff_hz = cutoff_hz
        self.speed_gain = np.asarray(speed_gain, np.float64)
        self.reset()

    def reset(self) -> None:
        """Forget what came before: the next numbers pass unchanged."""
        self._time_s: float | None = None
        self._values: Array = np.zeros(0)
        self._speeds: Array = np.zeros(0)

    def state(self) -> State:
        """What came before; see Stage.state."""
        return {
            "time_s": self._time_s,
            "values": self._values.tolist(),
            "speeds": self._speeds.tolist(),
        }

    def restore(self, state: State) -> None:
        """Go on from an earlier `state`."""
        self._time_s = state["time_s"]
        self._values = np.array(state["values"], np.float64)
        self._speeds = np.array(state["speeds"], np.float64)

    @property
    def is_fresh(self) -> bool:
        """Nothing came yet."""
        return self._time_s is None

    def __call__(self, values: ArrayLike, time_s: float) -> Array:
        """[N] smoothed numbers from [N] numbers at a later time than the last."""
        new = np.asarray(values, np.float64)
        if self._time_s is None or time_s <= self._time_s:
            self._values, self._speeds = new.copy(), np.zeros_like(new)
        else:
            step_s = time_s - self._time_s
            speeds = (new - self._values) / step_s
            self._speeds += _share(SPEED_CUTOFF_HZ, step_s) * (speeds - self._speeds)
            cutoffs = self.cutoff_hz + self.speed_gain * np.abs(self._speeds)
            self._values = self._values + _share(cutoffs, step_s) * (new - self._values)
        self._time_s = time_s
        return self._values.copy()


def _share(cutoff_hz: ArrayLike, step_s: float) -> Array:
    """How much of the new value a first-order low-pass takes: 1 / (1 + tau / step)."""
    return 1 / (1 + 1 / (2 * math.pi * np.asarray(cutoff_hz, np.float64) * step_s))
