"""Steady the square and the camera of a face: live from what was, in films from what comes as well.

Both filters take less of a reading's neighbours the faster the head moves (One-Euro). The causal
one lags by as much as it remembers; the other looks as far ahead as behind and does not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tpvideo.pipeline.checkpoint import State
from tpvideo.stages import geometry
from tpvideo.stages.facefinder import FaceReading
from tpvideo.stages.one_euro import OneEuro

Array = NDArray[np.float64]

STEADIEST_HZ, QUICKEST_HZ = 0.4, 8.0
"""Cutoff of the smoothing at rest for smooth = 1 and for smooth near 0."""

SPEED_GAINS = (8.0, 8.0, 8.0, 5.0, 5.0, 5.0)
"""Hertz per unit a second: centre (in sides of the crop), logarithm of the side, three angles."""


def numbers_of(reading: FaceReading) -> Array:
    """[6] what is smoothed of a reading: the square's centre in pixels, the logarithm of its side,
    roll, yaw and pitch."""
    box = reading.box()
    angles = (box.roll_rad, reading.yaw_rad, reading.pitch_rad)
    return np.array([*box.centre, math.log(box.side_px), *angles])


class Pose(NamedTuple):
    """Where a face is and whence it is seen."""

    fit: geometry.CropFit
    yaw_rad: float
    pitch_rad: float


class PoseSmoother:
    """Causal: One-Euro smoothing of the crop's square and of the camera's angles."""

    def __init__(self, smooth: float) -> None:
        self.smooth = smooth
        self._filter = OneEuro(_cutoff_hz(smooth), SPEED_GAINS)
        self._numbers = _Numbers()
        self.reset()

    def reset(self) -> None:
        """Let the next pose pass unchanged."""
        self._filter.reset()
        self._numbers = _Numbers()

    def state(self) -> State:
        """The pose so far; see Stage.state."""
        return {"filter": self._filter.state(), "numbers": self._numbers.state()}

    def restore(self, state: State) -> None:
        """Go on from an earlier `state`."""
        self._filter.restore(state["filter"])
        self._numbers.restore(state["numbers"])

    def __call__(self, reading: FaceReading, time_s: float) -> Pose:
        """The smoothed pose of a face at a time."""
        numbers = self._numbers.of(numbers_of(reading))
        return self._numbers.pose(self._filter(numbers, time_s) if self.smooth else numbers)


class PoseFitter:
    """With a look ahead: a straight line through the readings of a few frames around each.

    At distance t a reading counts exp(-2 pi f |t|), which is the causal filter's weight on either
    side; f rises with the speed of the line through all of them.

    Args:
        smooth: strength, 0 (off) to 1.
        reach: most readings that are kept from before.
    """

    def __init__(self, smooth: float, reach: int) -> None:
        self.smooth = smooth
        self.reach = reach
        self.reset()

    def reset(self) -> None:
        """Begin a new shot."""
        self._numbers = _Numbers()
        self._past: list[tuple[float, Array]] = []

    def state(self) -> State:
        """The readings so far that still count; see Stage.state."""
        past = [[time_s, *numbers.tolist()] for time_s, numbers in self._past]
        return {"past": past, "numbers": self._numbers.state()}

    def restore(self, state: State) -> None:
        """Go on from an earlier `state`."""
        self._past = [(row[0], np.array(row[1:])) for row in state["past"]]
        self._numbers.restore(state["numbers"])

    def __call__(self, read: Array, time_s: float, coming: Sequence[tuple[Array, float]]) -> Pose:
        """The smoothed pose of a face at a time.

        Args:
            read: `numbers_of` what was read then.
            time_s: later than the last.
            coming: the same of the next readings of the shot, and their times.
        """
        now = self._numbers.of(read)
        ahead = self._numbers.copy()  # what comes is seen again, and then from nearer
        later = [(at_s, ahead.of(each)) for each, at_s in coming]
        around = [*self._past, (time_s, now), *later]
        self._past = around[: len(self._past) + 1][-self.reach :]
        times_s = np.array([at_s for at_s, _ in around]) - time_s
        values = np.array([numbers for _, numbers in around])
        fitted = line_through(times_s, values, _cutoff_hz(self.smooth)) if self.smooth else now
        return self._numbers.pose(fitted)


def line_through(times_s: Array, values: Array, cutoff_hz: float) -> Array:
    """[D] at time 0, where one reading is, the straight line through [N, D] readings."""
    if len(values) == 1:
        alone: Array = values[0].copy()
        return alone
    even = np.ones_like(values)
    speeds = _line(times_s, values, even)[1]
    cutoffs = cutoff_hz + np.array(SPEED_GAINS) * np.abs(speeds)  # [D]
    near = np.exp(-2 * math.pi * cutoffs * np.abs(times_s)[:, None])  # [N, D]
    return _line(times_s, values, near)[0]


def _line(times_s: Array, values: Array, weights: Array) -> tuple[Array, Array]:
    """[D] height at time 0 and [D] slope of a weighted least-squares line."""
    total = weights.sum(axis=0)
    mean_s = (weights * times_s[:, None]).sum(axis=0) / total
    mean = (weights * values).sum(axis=0) / total
    apart_s = times_s[:, None] - mean_s
    spread = (weights * apart_s**2).sum(axis=0)
    # Far from everything else a reading stands alone, and its line is level.
    slope = (weights * apart_s * values).sum(axis=0) / np.maximum(spread, 1e-12)
    return mean - slope * mean_s, slope


class _Numbers:
    """Turns poses of one shot into numbers that can be averaged, and back."""

    def __init__(self, unit_px: float = 0.0, roll_rad: float = 0.0) -> None:
        self.unit_px, self.roll_rad = unit_px, roll_rad

    def copy(self) -> _Numbers:
        return _Numbers(self.unit_px, self.roll_rad)

    def state(self) -> State:
        return {"unit_px": self.unit_px, "roll_rad": self.roll_rad}

    def restore(self, state: State) -> None:
        self.unit_px, self.roll_rad = state["unit_px"], state["roll_rad"]

    def of(self, read: Array) -> Array:
        """[6] `numbers_of` a reading, but the centre in sides of the shot's first square; roll goes
        on past half a turn, so that 179 and -179 degrees are neighbours."""
        x, y, log_side, roll, yaw, pitch = read.tolist()
        if not self.unit_px:
            self.unit_px, self.roll_rad = math.exp(log_side), roll
        self.roll_rad += math.remainder(roll - self.roll_rad, 2 * math.pi)
        return np.array([x / self.unit_px, y / self.unit_px, log_side, self.roll_rad, yaw, pitch])

    def pose(self, numbers: ArrayLike) -> Pose:
        """The pose that [6] numbers stand for."""
        x, y, log_side, roll, yaw, pitch = np.asarray(numbers, np.float64).tolist()
        centre = np.array([x, y]) * self.unit_px
        return Pose(geometry.CropFit(centre, math.exp(log_side), roll), yaw, pitch)


def _cutoff_hz(smooth: float) -> float:
    return QUICKEST_HZ * float((STEADIEST_HZ / QUICKEST_HZ) ** smooth)
