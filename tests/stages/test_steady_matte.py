from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tpvideo.pipeline.errors import ConfigError
from tpvideo.stages.steady_matte import LONGEST_KEEP, MOVED, STILL, SteadyMatte

STILL_PICTURE = np.full((8, 8, 3), 100, np.uint8)


def matte(value: float) -> NDArray[np.float32]:
    return np.full((8, 8), value, np.float32)


def test_strength_zero_returns_the_matte_itself() -> None:
    steady = SteadyMatte(0)
    steady(STILL_PICTURE, matte(0.2))
    alpha = matte(0.6)
    assert steady(STILL_PICTURE, alpha) is alpha


def test_flicker_in_a_still_place_is_averaged_away() -> None:
    steady = SteadyMatte(1.0)
    steady(STILL_PICTURE, matte(0.5))
    # A step of 0.2 is a small disagreement, so the past keeps its full share.
    expected = 0.7 + LONGEST_KEEP * (0.5 - 0.7)
    np.testing.assert_allclose(steady(STILL_PICTURE, matte(0.7)), expected, atol=1e-6)


def test_more_strength_moves_less() -> None:
    moved = []
    for strength in (0.0, 0.25, 0.5, 1.0):
        steady = SteadyMatte(strength)
        steady(STILL_PICTURE, matte(0.5))
        moved.append(float(np.abs(steady(STILL_PICTURE, matte(0.7)) - 0.5).mean()))
    assert moved == sorted(moved, reverse=True)
    assert moved[0] > 2 * moved[-1]


def test_a_place_that_moved_shows_no_ghost_while_others_hold() -> None:
    steady = SteadyMatte(1.0)
    steady(STILL_PICTURE, matte(0.8))
    moved = STILL_PICTURE.copy()
    moved[:, 5:] += 60
    alpha = steady(moved, matte(0.6))
    np.testing.assert_array_equal(alpha[:, 6:], np.float32(0.6))
    assert (alpha[:, :3] > 0.75).all()


def test_slow_motion_adds_up_and_ends_the_memory() -> None:
    steady = SteadyMatte(1.0)
    for level in range(100, 200, 2):  # two levels a frame pass for noise, each by itself
        picture = np.full((8, 8, 3), level, np.uint8)
        alpha = steady(picture, matte(level / 200))
    # A memory of 12 frames would lag by 12 * 2 / 200 = 0.12.
    assert abs(float(alpha.mean()) - 198 / 200) < 0.06


def test_a_network_that_changes_its_mind_is_believed() -> None:
    steady = SteadyMatte(1.0)
    steady(STILL_PICTURE, matte(0.0))
    np.testing.assert_array_equal(steady(STILL_PICTURE, matte(1.0)), 1.0)


def test_a_cut_begins_anew_even_where_both_shots_look_alike() -> None:
    steady = SteadyMatte(1.0)
    steady(STILL_PICTURE, matte(0.8))
    other = np.full((8, 8, 3), 200, np.uint8)
    other[:2, :2] = 100
    np.testing.assert_array_equal(steady(other, matte(0.6)), np.float32(0.6))


def test_another_size_and_forget_begin_anew() -> None:
    steady = SteadyMatte(1.0)
    steady(STILL_PICTURE, matte(0.8))
    wider = steady(np.full((8, 12, 3), 100, np.uint8), np.full((8, 12), 0.6, np.float32))
    np.testing.assert_array_equal(wider, np.float32(0.6))
    steady.forget()
    again = steady(np.full((8, 12, 3), 100, np.uint8), np.full((8, 12), 0.5, np.float32))
    np.testing.assert_array_equal(again, np.float32(0.5))


@pytest.mark.parametrize("strength", [-0.1, 1.5])
def test_strength_out_of_range_is_refused(strength: float) -> None:
    with pytest.raises(ConfigError, match="smoothing must be 0 to 1"):
        SteadyMatte(strength)


def test_a_whole_shot_is_steadied_as_the_plain_recursion_says() -> None:
    rng = np.random.default_rng(3)
    still = rng.integers(0, 256, (16, 24, 3)).astype(np.float64)
    steady, seen_before, alpha_before = SteadyMatte(0.7), None, None
    for _ in range(4):
        picture = np.clip(still + rng.normal(0, 30, still.shape), 0, 255).astype(np.uint8)
        alpha = rng.random((16, 24)).astype(np.float32)
        padded = np.pad(picture.astype(np.float64), ((1, 1), (1, 1), (0, 0)), mode="edge")
        shifted = [padded[y : y + 16, x : x + 24] for y in range(3) for x in range(3)]
        seen = sum(shifted) / 9
        expected = alpha
        if seen_before is not None:
            change = np.abs(seen - seen_before).max(axis=2)
            keep = LONGEST_KEEP * 0.7**0.5 * np.clip((MOVED - change) / (MOVED - STILL), 0, 1)
            keep *= 1 - np.clip(2 * np.abs(alpha - alpha_before) - 1, 0, 1)
            expected = alpha + keep * (alpha_before - alpha)
            seen = seen + keep[..., None] * (seen_before - seen)
        np.testing.assert_allclose(steady(picture, alpha), expected, atol=1e-4)
        seen_before, alpha_before = seen, expected
