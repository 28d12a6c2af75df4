"""How the parts of a run tell what they lost, and how the report says it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import pytest
from parts import INFO, Collect

from tpvideo.pipeline import Report, Stage, Stamp, StreamInfo, Timing, losses, read
from tpvideo.pipeline.losses import Loss, Losses
from tpvideo.pipeline.metrics import clock_text


@dataclass(frozen=True)
class Item:
    stamp: Stamp


class Clip:
    """Frames 0..9 at 25 a second, the first of them at 10 s; warns of one thing."""

    notices = ("the clip is made up",)

    def open(self) -> StreamInfo:
        return INFO

    def __iter__(self) -> Iterator[Item]:
        yield from (Item(Stamp(index, 250 + index)) for index in range(10))

    def close(self) -> None:
        pass


class Blink(Stage[Item, Item]):
    """Loses frames 3, 4 and 7."""

    def __init__(self) -> None:
        self.losses = Losses()

    def process(self, items: Sequence[Item]) -> Sequence[Item]:
        for item in items:
            if item.stamp.index in (3, 4, 7):
                self.losses.add("eyes shut", item.stamp)
        return items


def test_the_report_says_which_stage_lost_what_and_when() -> None:
    report = read(Clip()).then(Blink()).into(Collect()).run()
    assert [(loss.stage, loss.what, loss.count) for loss in report.losses] == [
        ("blink", "eyes shut", 2),
        ("blink", "eyes shut", 1),
    ]
    assert report.losses[0].seconds(INFO.time_base, report.zero_pts) == (0.12, 0.16)
    assert report.told_losses() == [
        "3 x eyes shut, at 0:00.12-0:00.16 (frames 3-4), 0:00.28 (frame 7)"
    ]
    assert report.warnings == ("the clip is made up",)


def test_a_run_that_lost_nothing_has_nothing_to_tell() -> None:
    report = read(Clip()).into(Collect()).run()
    assert report.losses == ()
    assert report.told_losses() == []


def test_a_loss_without_a_place_joins_its_like_and_no_other() -> None:
    found = Losses()
    found.add("track left out")
    found.add("track left out")
    found.add("track left out", Stamp(0, 0))
    assert [(loss.count, loss.first) for loss in found.found] == [(2, None), (1, Stamp(0, 0))]


def test_another_run_goes_on_with_what_was_lost() -> None:
    earlier, later = Losses(), Losses()
    earlier.add("track left out")
    earlier.add("eyes shut", Stamp(3, 253))
    later.restore(json.loads(json.dumps(earlier.state())))
    later.add("eyes shut", Stamp(4, 254))
    assert later.found == (
        Loss("track left out", 1),
        Loss("eyes shut", 2, Stamp(3, 253), Stamp(4, 254)),
    )


def test_the_memory_of_an_endless_run_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "MOST_RANGES", 3)
    found = Losses()
    for index in range(0, 20, 2):
        found.add("eyes shut", Stamp(index, index))
    assert [loss.count for loss in found.found] == [1, 1, 8]
    assert found.found[-1] == Loss("eyes shut", 8, Stamp(4, 4), Stamp(18, 18))


def test_only_the_first_places_are_told_in_words() -> None:
    many = tuple(Loss("eyes shut", 1, Stamp(i, i), Stamp(i, i)) for i in range(0, 14, 2))
    report = Report((Timing("decode"),), 1.0, losses=many, time_base=Fraction(1))
    assert report.told_losses()[0].endswith("0:08.00 (frame 8), and 2 more places")


def test_times_are_written_like_a_player_does() -> None:
    assert [clock_text(s) for s in (0.0, 62.359, 3600.0, -0.5)] == [
        "0:00.00", "1:02.36", "1:00:00.00", "-0:00.50",
    ]  # fmt: skip
