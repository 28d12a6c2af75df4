"""Frame times rise, and change as little as they must."""

from __future__ import annotations

from fractions import Fraction

import pytest

from tpvideo.stages.clock import Clock

MILLISECOND = Fraction(1, 1000)


@pytest.mark.parametrize(
    ("reported", "repaired"),
    [
        ([0, 40, 80, 1000], [0, 40, 80, 1000]),
        ([-40, 0, 40], [-40, 0, 40]),
        ([0, None, 80], [0, 40, 80]),  # missing: one frame later
        ([0, 40, 40, 80], [0, 40, 60, 80]),  # repeated: half a frame, the next is untouched
        ([0, 40, 30, 80], [0, 40, 60, 80]),
        ([None, 40], [0, 40]),
        ([5000, 5040, 0, 40], [5000, 5040, 5080, 5120]),  # the clock starts again
    ],
)
def test_times_rise_strictly(reported: list[int | None], repaired: list[int]) -> None:
    clock = Clock(MILLISECOND, Fraction(25))
    assert [clock.repair(pts) for pts in reported] == repaired
    assert clock.repaired == sum(a != b for a, b in zip(reported, repaired, strict=True))


def test_a_coarse_time_base_still_rises() -> None:
    clock = Clock(Fraction(1), Fraction(25))
    assert [clock.repair(0) for _ in range(3)] == [0, 1, 2]
