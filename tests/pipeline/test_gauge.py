from __future__ import annotations

import json

import numpy as np
import pytest

from tpvideo.pipeline.frame import Stamp
from tpvideo.pipeline.gauge import Gauge


def noted(*values: float, least: float = 0.0) -> Gauge:
    gauge = Gauge("confidence", least=least, low_at=0.5)
    for index, value in enumerate(values):
        gauge.add(value, Stamp(index, 10 * index))
    return gauge


def test_quantiles_are_those_of_the_numbers() -> None:
    values = np.random.default_rng(0).uniform(size=500)
    reading = noted(*values).read()
    assert reading is not None and reading.frames == 500
    for share, value in reading.quantiles:
        assert value == pytest.approx(np.quantile(values, share), abs=0.02)


def test_one_frame_is_every_quantile() -> None:
    reading = noted(0.25).read()
    assert reading is not None and {value for _, value in reading.quantiles} == {0.25}
    assert reading.latest == 0.25


def test_low_frames_are_told_in_stretches() -> None:
    reading = noted(0.9, 0.4, 0.3, 0.9, 0.1).read()
    assert reading is not None and reading.below == 0
    assert [(low.first, low.last) for low in reading.low] == [
        (Stamp(1, 10), Stamp(2, 20)),
        (Stamp(4, 40), Stamp(4, 40)),
    ]


def test_frames_below_the_threshold_are_counted() -> None:
    reading = noted(0.9, 0.4, 0.6, least=0.7).read()
    assert reading is not None and (reading.below, reading.low_at) == (2, 0.7)
    assert sum(low.count for low in reading.low) == 2


def test_before_the_first_frame_there_is_nothing_to_tell() -> None:
    gauge = noted(0.1)
    gauge.clear()
    assert gauge.read() is None


def test_a_resumed_gauge_goes_on() -> None:
    first, later = noted(0.1, 0.8, least=0.3), noted(least=0.3)
    later.restore(first.state())
    assert later.read() == first.read()
    json.dumps({**first.state(), "counts": None})  # all else is what a ledger may hold
    with pytest.raises(ValueError, match="another gauge"):
        later.restore({**first.state(), "counts": np.zeros(3)})
