"""Latency: quantiles by hand, and a budget that turns the preset down."""

from __future__ import annotations

import pytest

from tpvideo.pipeline.live.controls import Controls, Panel
from tpvideo.pipeline.live.latency import RECENT, STEP_S, Budget, Meter


def test_quantiles_of_a_hundred_known_latencies() -> None:
    meter = Meter("capture to show")
    for number in range(1, 101):
        meter.add(number / 100)
    whole, recent = meter.all(), meter.recent()
    assert whole is not None and recent is not None
    assert (whole.p50_s, whole.p95_s, whole.p99_s) == pytest.approx((0.5, 0.95, 0.99), abs=STEP_S)
    # numpy interpolates between neighbours that are 10 ms apart
    assert (recent.p50_s, recent.p95_s, recent.p99_s) == pytest.approx((0.5, 0.95, 0.99), abs=0.01)
    assert str(whole) == "500 / 950 / 990 ms"


def test_a_meter_without_pictures_has_no_quantiles_and_no_rate() -> None:
    meter = Meter("capture to show")
    assert (meter.recent(), meter.all(), meter.rate()) == (None, None, 0.0)


def test_recent_figures_forget_what_the_whole_session_remembers() -> None:
    meter = Meter("capture to show")
    for latency_s in [5.0] * RECENT + [0.1] * RECENT:
        meter.add(latency_s)
    whole, recent = meter.all(), meter.recent()
    assert whole is not None and recent is not None
    assert recent.p99_s == pytest.approx(0.1)
    assert whole.p95_s == pytest.approx(5.0, abs=STEP_S)
    assert (whole.pictures, recent.pictures) == (2 * RECENT, RECENT)


def feed(budget: Budget, latency_s: float, count: int = Budget.PICTURES) -> None:
    for _ in range(count):
        budget.note(latency_s)


def test_a_missed_budget_lowers_the_preset_step_by_step_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    panel = Panel(Controls(preset="quality"))
    budget = Budget(0.15, panel)
    feed(budget, 0.4)
    assert panel.controls.preset == "balanced"
    assert "400 ms is over the 150 ms allowed: preset quality becomes balanced" in caplog.text
    feed(budget, 0.3)
    assert panel.controls.preset == "fast"
    feed(budget, 0.3)
    feed(budget, 0.3)
    assert panel.controls.preset == "fast"
    assert caplog.text.count("no preset is cheaper than fast") == 1  # said once, not for ever


def test_a_budget_that_is_kept_changes_nothing() -> None:
    panel = Panel(Controls(preset="quality"))
    budget = Budget(0.15, panel)
    for _ in range(5):
        feed(budget, 0.1, Budget.PICTURES - 1)
        budget.note(5.0)  # one in twenty may be late
    assert panel.controls.preset == "quality"
    assert budget.said == ""


def test_without_a_budget_any_latency_will_do() -> None:
    panel = Panel(Controls(preset="quality"))
    feed(Budget(None, panel), 50.0, 100)
    assert panel.controls.preset == "quality"


def test_a_preset_chosen_by_hand_is_judged_by_its_own_pictures() -> None:
    panel = Panel(Controls(preset="balanced"))
    budget = Budget(0.15, panel)
    feed(budget, 0.4, Budget.PICTURES - 1)
    panel.turn(preset="quality")
    budget.note(0.4)  # the first of the new preset: the nineteen before do not count
    assert panel.controls.preset == "quality"
