"""Knobs: what they accept, and how they reach a stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from parts import INFO

from tpvideo.pipeline.errors import ConfigError
from tpvideo.pipeline.live.controls import Controls, Panel, Steered
from tpvideo.pipeline.stage import Stage


@pytest.mark.parametrize(
    ("knob", "value", "complaint"),
    [
        ("yaw_rad", 3.0, "yaw must be within 1.2 rad"),
        ("yaw_rad", float("nan"), "yaw must be within"),
        ("yaw_rad", "1", "yaw_rad must be a number"),
        ("pitch_rad", True, "pitch_rad must be a number"),
        ("zoom", 9, "zoom must be 0.7 to 2.0"),
        ("smooth", -1, "smooth must be"),
        ("background", "transparent", "must be visible"),
        ("background", "../../etc", "background must be"),
        ("background", 5, "must be visible"),
        ("mirror", "yes", "mirror must be true or false"),
        ("preset", "best", "preset must be fast or"),
        ("volume", 1, "no knob called volume"),
    ],
)
def test_a_knob_refuses_nonsense_and_nothing_changes(
    knob: str, value: object, complaint: str
) -> None:
    panel = Panel(Controls(yaw_rad=0.1))
    with pytest.raises(ConfigError, match=complaint):
        panel.turn(**{knob: value})
    assert panel.controls == Controls(yaw_rad=0.1)


def test_who_listens_is_told_of_every_turn() -> None:
    panel = Panel(Controls())
    heard: list[float] = []
    panel.on_turn(lambda: heard.append(panel.controls.yaw_rad))
    panel.turn(yaw_rad=0.2)
    panel.turn(yaw_rad=-0.2, mirror=True)
    assert heard == [0.2, -0.2]


class Note(Stage[int, tuple[int, float]]):
    """Says which yaw held for each item."""

    yaw = 9.0
    calls: Sequence[str] = ()

    def process(self, items: Sequence[int]) -> list[tuple[int, float]]:
        return [(item, self.yaw) for item in items]

    def close(self) -> None:
        self.calls = [*self.calls, "close"]


def test_a_stage_is_steered_between_batches_and_only_when_a_knob_was_turned() -> None:
    panel, note = Panel(Controls(yaw_rad=0.1)), Note()
    steered: list[float] = []

    def steer(controls: Controls) -> None:
        note.yaw = controls.yaw_rad
        steered.append(controls.yaw_rad)

    stage: Any = Steered(note, panel, steer)
    stage.open(INFO)
    assert stage.name == "note"
    assert [*stage.process([1]), *stage.process([2])] == [(1, 0.1), (2, 0.1)]
    panel.turn(yaw_rad=0.5)
    assert list(stage.process([3])) == [(3, 0.5)]
    assert steered == [0.1, 0.5]
    stage.close()
    assert note.calls == ["close"]
