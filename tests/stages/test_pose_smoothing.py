from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from faces import known_face
from numpy.typing import NDArray

from tpvideo.stages.facefinder import FaceReading
from tpvideo.stages.pose_smoothing import PoseFitter, PoseSmoother, line_through, numbers_of

REACH = 4
RATE = 25


def looking_ahead(readings: Sequence[FaceReading], smooth: float = 0.5) -> list[float]:
    """Yaw of every frame, as a stage that holds REACH frames back has it."""
    fitter = PoseFitter(smooth, REACH)
    timed = [(numbers_of(reading), number / RATE) for number, reading in enumerate(readings)]
    return [
        fitter(*each, timed[number + 1 : number + 1 + REACH]).yaw_rad
        for number, each in enumerate(timed)
    ]


def causally(readings: Sequence[FaceReading], smooth: float = 0.5) -> list[float]:
    smoother = PoseSmoother(smooth)
    return [smoother(reading, n / RATE).yaw_rad for n, reading in enumerate(readings)]


def faces(yaws: Sequence[float] | NDArray[np.float64]) -> list[FaceReading]:
    return [known_face(80, 60, 50, yaw=float(yaw)) for yaw in yaws]


def lag_frames(yaws: NDArray[np.float64], smoothed: Sequence[float]) -> float:
    """By how many frames the smoothed come later: what is missing over the motion of a frame."""
    speed = np.gradient(yaws)
    return float(((yaws - np.array(smoothed)) * speed).sum() / (speed**2).sum())


def test_a_steady_turn_passes_as_it_is_from_the_first_frame_to_the_last() -> None:
    yaws = np.linspace(-0.5, 0.5, 20)
    np.testing.assert_allclose(looking_ahead(faces(yaws)), yaws, atol=1e-9)


def test_a_head_that_swings_does_not_lag_and_its_turning_points_come_when_they_do() -> None:
    yaws = 0.5 * np.sin(np.arange(75) / RATE * 2 * math.pi)  # once a second
    seen = faces(yaws)
    assert abs(lag_frames(yaws, looking_ahead(seen))) < 0.02
    assert lag_frames(yaws, causally(seen)) > 0.4
    assert abs(np.array(looking_ahead(seen)) - yaws).max() < 0.05


@pytest.mark.parametrize("filtered", [looking_ahead, causally])
def test_noise_of_a_still_head_becomes_less(filtered: Callable[..., list[float]]) -> None:
    noise = 0.01 * np.random.default_rng(3).standard_normal(200)
    left = [float(np.std(np.diff(filtered(faces(noise), smooth), 2))) for smooth in (0.1, 0.5, 1.0)]
    assert np.std(np.diff(noise, 2)) > left[0] > left[1] > left[2]
    assert left[1] < 0.35 * np.std(np.diff(noise, 2))


def test_what_comes_steadies_more_than_what_was_alone() -> None:
    noise = 0.01 * np.random.default_rng(3).standard_normal(200)
    ahead, causal = (np.std(np.diff(f(faces(noise)), 2)) for f in (looking_ahead, causally))
    assert ahead < 0.75 * causal


def test_without_strength_every_pose_passes_unchanged() -> None:
    assert looking_ahead(faces([0.1, 0.5, -0.3]), 0.0) == [0.1, 0.5, -0.3]


def test_roll_goes_on_past_half_a_turn() -> None:
    fitter = PoseFitter(0.5, REACH)
    rolls = [3.0, 3.1, -3.08318, -2.98318]  # a steady turn
    seen = [numbers_of(known_face(80, 60, 50, roll=roll)) for roll in rolls]
    timed = [(numbers, n / RATE) for n, numbers in enumerate(seen)]
    found = [fitter(*each, timed[n + 1 :]).fit.roll_rad for n, each in enumerate(timed)]
    np.testing.assert_allclose(found, [3.0, 3.1, 3.2, 3.3], atol=1e-4)


def test_after_its_state_is_restored_it_goes_on_the_same() -> None:
    seen = faces(0.02 * np.random.default_rng(5).standard_normal(12))
    whole = looking_ahead(seen)
    timed = [(numbers_of(reading), n / RATE) for n, reading in enumerate(seen)]
    first, second = PoseFitter(0.5, REACH), PoseFitter(0.5, REACH)
    for n in range(6):
        first(*timed[n], timed[n + 1 : n + 1 + REACH])
    second.restore(first.state())
    rest: list[Any] = [second(*timed[n], timed[n + 1 : n + 1 + REACH]) for n in range(6, 12)]
    assert [pose.yaw_rad for pose in rest] == whole[6:]


def test_a_line_goes_through_the_readings_near_it() -> None:
    """By hand: one reading is itself; two of a steady motion have it in their middle."""
    times_s = np.array([-1.0, 0.0, 1.0])
    values = np.zeros((3, 6))
    values[:, 3] = [1.0, 2.0, 3.0]
    np.testing.assert_allclose(line_through(times_s, values, 0.5)[3], 2.0, atol=1e-12)
    assert line_through(np.array([0.0]), values[:1], 0.5)[3] == 1.0
