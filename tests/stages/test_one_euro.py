from __future__ import annotations

import math

import numpy as np
import pytest

from tpvideo.stages.one_euro import OneEuro


def test_the_first_value_passes_unchanged() -> None:
    assert OneEuro(1.0, [0.0, 0.0])([3.0, -2.0], 7.0).tolist() == [3.0, -2.0]


def test_at_rest_it_is_a_low_pass_worked_by_hand() -> None:
    """With step 1/(2 pi) s and cutoff 1 Hz, tau equals the step: half of each new value."""
    smooth = OneEuro(1.0, [0.0])
    step_s = 1 / (2 * math.pi)
    values = [float(smooth([x], i * step_s)[0]) for i, x in enumerate([0.0, 8.0, 8.0, 8.0])]
    assert values == pytest.approx([0.0, 4.0, 6.0, 7.0])


def test_speed_raises_the_cutoff_by_the_papers_formula() -> None:
    """Speed: half (1 Hz at this step) of 8 units in 1/(2 pi) s, that is 8 pi units/s; a gain of
    1/(4 pi) makes the cutoff 1 + 2 = 3 Hz, whose share is 1 / (1 + 1/3)."""
    smooth = OneEuro(1.0, [1 / (4 * math.pi)])
    smooth([0.0], 0.0)
    value = smooth([8.0], 1 / (2 * math.pi))
    assert value == pytest.approx(8 * 0.75)


def test_numbers_are_filtered_each_on_their_own() -> None:
    both = OneEuro(2.0, [1.0, 5.0])
    alone = OneEuro(2.0, [1.0])
    for i, x in enumerate([0.0, 1.0, 3.0, 2.0]):
        assert both([x, -4 * x], i / 25)[0] == pytest.approx(alone([x], i / 25)[0])


def test_uneven_times_count() -> None:
    """Over a long gap the old value fades; over a short one it stays."""
    near, far = OneEuro(1.0, [0.0]), OneEuro(1.0, [0.0])
    near([0.0], 0.0)
    far([0.0], 0.0)
    assert near([1.0], 0.01)[0] < 0.1
    assert far([1.0], 10.0)[0] > 0.98


@pytest.mark.parametrize("forget", [True, False])
def test_reset_and_time_running_backwards_start_anew(forget: bool) -> None:
    smooth = OneEuro(0.1, [0.0])
    smooth([0.0], 5.0)
    if forget:
        smooth.reset()
        assert smooth.is_fresh
    assert smooth([9.0], 6.0 if forget else 5.0)[0] == 9.0


def test_results_are_not_changed_by_later_calls() -> None:
    smooth = OneEuro(1.0, [0.0])
    first = smooth([1.0], 0.0)
    smooth([5.0], 1.0)
    assert first.tolist() == [1.0]
    assert isinstance(first, np.ndarray)
