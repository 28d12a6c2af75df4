"""What a run's account says."""

from __future__ import annotations

import pytest

from tpvideo.pipeline.metrics import COLUMNS, Clock, Report, Timing

DECODE = Timing("decode", frames=20, batches=20, busy_s=1.0, blocked_s=9.0)
INVERT = Timing("invert", frames=20, batches=3, busy_s=9.5, starved_s=0.3, blocked_s=0.2)
ENCODE = Timing("encode", frames=19, batches=19, busy_s=2.0, starved_s=8.0)
REPORT = Report((DECODE, INVERT, ENCODE), elapsed_s=10.0)


def test_busiest_stage_is_the_bottleneck() -> None:
    assert REPORT.bottleneck == "invert"


def test_a_report_counts_the_frames_that_reached_the_sink() -> None:
    assert REPORT.frames == 19


def test_table_shows_shares_of_the_run_and_frames_a_batch() -> None:
    assert REPORT.rows() == [
        ("decode", "20", "10%", "-", "90%", "1.0"),
        ("invert", "20", "95%", "3%", "2%", "6.7"),
        ("encode", "19", "20%", "80%", "-", "1.0"),
    ]
    assert all(len(row) == len(COLUMNS) for row in REPORT.rows())


def test_a_report_before_the_first_frame_has_a_table_too() -> None:
    report = Report((Timing("decode"), Timing("encode")), elapsed_s=0.0)
    assert report.rows()[0] == ("decode", "0", "0%", "-", "0%", "0.0")


def test_clock_adds_up_what_was_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = iter([1.0, 3.0, 10.0, 14.0, 20.0, 20.5])
    monkeypatch.setattr("tpvideo.pipeline.metrics.time.perf_counter", lambda: next(now_s))
    clock = Clock("invert")
    with clock.spend("busy_s"):
        pass
    with clock.spend("busy_s"):
        pass
    with clock.spend("starved_s"):
        pass
    clock.count(8)
    clock.count(4)
    assert clock.timing == Timing("invert", frames=12, batches=2, busy_s=6.0, starved_s=0.5)


def test_clock_counts_the_time_before_a_failure() -> None:
    clock = Clock("invert")
    with pytest.raises(OSError), clock.spend("blocked_s"):
        raise OSError
    assert clock.timing.blocked_s > 0
