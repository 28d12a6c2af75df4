"""The drawing stage: knobs between pictures, and what is seen while there is no face."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from parts import INFO
from tiny import random_face, tiny_network

from tpvideo.pipeline.frame import Image, Inverted, Stamp
from tpvideo.pipeline.live.controls import Controls, Panel
from tpvideo.pipeline.live.view import FADE_S, HOLD_S, LiveView, Shown, thumbnail
from tpvideo.stages.backdrop import parse_backdrop
from tpvideo.stages.invert import Inversion
from tpvideo.stages.render import NovelView, OnLost

TICK_S = 1e-3
NETWORK = tiny_network()
FACE = random_face(1)
HEAD = Inversion(NETWORK).invert([FACE])[0]
ROOM: Image = np.full((90, 160, 3), 60, np.uint8)


def live_view(panel: Panel, on_lost: OnLost = "blank", size: int = 64) -> LiveView:
    view = NovelView(
        NETWORK, yaw_rad=0.0, backdrop=parse_backdrop("black"), size=size, on_lost=on_lost
    )
    stage = LiveView(view, panel, TICK_S)
    stage.open(INFO)
    return stage


def packet(moment_s: float, *, has_face: bool = True) -> Inverted:
    stamp = Stamp(0, round(moment_s / TICK_S))
    return Inverted(stamp, ROOM, FACE if has_face else None, HEAD if has_face else None)


def draw(stage: LiveView, moment_s: float, *, has_face: bool = True) -> Shown:
    (shown,) = stage.process([packet(moment_s, has_face=has_face)])
    return shown


def test_turning_a_knob_changes_the_next_picture_and_turning_back_brings_it_back() -> None:
    panel = Panel(Controls())
    stage = live_view(panel)
    first = draw(stage, 0.0).rgb
    for change in ({"yaw_rad": 0.5}, {"pitch_rad": 0.4}, {"zoom": 1.6}, {"background": "white"}):
        panel.turn(**change)
        assert np.abs(draw(stage, 0.1).rgb.astype(int) - first).mean() > 1, change
        panel.turn(**{name: getattr(Controls(), name) for name in change})
        np.testing.assert_array_equal(draw(stage, 0.2).rgb, first)


def test_a_mirror_flips_the_finished_picture() -> None:
    panel = Panel(Controls(yaw_rad=0.3))
    stage = live_view(panel)
    straight = draw(stage, 0.0).rgb
    panel.turn(mirror=True)
    np.testing.assert_array_equal(draw(stage, 0.1).rgb, straight[:, ::-1])


def test_every_preset_gives_pictures_of_one_size() -> None:
    panel = Panel(Controls())
    stage = live_view(panel, size=300)
    sizes = set()
    for preset in ("fast", "balanced", "quality"):
        panel.turn(preset=preset)
        sizes.add(draw(stage, 0.0).rgb.shape)
    assert sizes == {(300, 300, 3)}


def test_a_lost_face_is_held_then_fades_to_the_background_and_back() -> None:
    stage = live_view(Panel(Controls(background="#ff0000")))
    face = draw(stage, 0.0).rgb.astype(int)
    held = draw(stage, HOLD_S * 0.9, has_face=False)
    np.testing.assert_array_equal(held.rgb, face)
    assert not held.has_face
    at = HOLD_S * 1.01
    levels = [face]
    while at < HOLD_S * 1.01 + FADE_S * 1.3:
        levels.append(draw(stage, at, has_face=False).rgb.astype(int))
        at += FADE_S / 6
    empty = levels[-1]
    np.testing.assert_array_equal(empty, np.broadcast_to([255, 0, 0], empty.shape))
    far = [np.abs(level - empty).mean() for level in levels]
    assert far == sorted(far, reverse=True)  # it only ever comes nearer
    steps = [before - after for before, after in pairwise(far)]
    assert max(steps) < 0.5 * far[0]  # and never jumps
    back = [draw(stage, at + n * FADE_S / 6).rgb.astype(int) for n in range(1, 8)]
    assert np.abs(back[0] - empty).mean() < 0.5 * far[0]
    np.testing.assert_array_equal(back[-1], face)


def test_a_short_loss_shows_nothing_at_all() -> None:
    stage = live_view(Panel(Controls()))
    face = draw(stage, 0.0).rgb
    for moment_s in (0.2, 0.4, 0.6):
        np.testing.assert_array_equal(draw(stage, moment_s, has_face=False).rgb, face)
    np.testing.assert_array_equal(draw(stage, 0.8).rgb, face)


def test_what_is_faded_to_may_be_the_camera_or_nothing() -> None:
    camera = live_view(Panel(Controls()), on_lost="source")
    draw(camera, 0.0)
    draw(camera, 2.0, has_face=False)
    np.testing.assert_array_equal(draw(camera, 3.0, has_face=False).rgb, np.full((64, 64, 3), 60))
    holding = live_view(Panel(Controls()), on_lost="hold")
    face = draw(holding, 0.0).rgb
    draw(holding, 2.0, has_face=False)
    np.testing.assert_array_equal(draw(holding, 600.0, has_face=False).rgb, face)


@pytest.mark.parametrize(("on_lost", "level"), [("blank", 0), ("source", 60), ("hold", 60)])
def test_before_the_first_face_there_is_nothing_to_hold(on_lost: OnLost, level: int) -> None:
    stage = live_view(Panel(Controls()), on_lost=on_lost)
    np.testing.assert_array_equal(draw(stage, 0.0, has_face=False).rgb, np.full((64, 64, 3), level))
    assert list(stage.flush()) == []  # and that is no failure


def test_a_session_without_end_collects_no_losses() -> None:
    stage = live_view(Panel(Controls()))
    for number in range(50):
        draw(stage, 0.2 * number, has_face=number % 2 == 0)
        draw(stage, 0.2 * number + 5.0, has_face=False)
    assert len(stage.view.losses.found) <= 1


def test_the_source_is_handed_on_small() -> None:
    wide: Image = np.zeros((1080, 1920, 3), np.uint8)
    assert thumbnail(wide, 480).shape == (270, 480, 3)
    assert thumbnail(ROOM, 480) is ROOM
