"""Which settings are accepted, and how they are written."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest

from tpvideo.pipeline.config import (
    Preset,
    Settings,
    Trim,
    parse_angle,
    parse_edit,
    parse_smooth,
    parse_trim,
)
from tpvideo.pipeline.errors import ConfigError


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"yaw_rad": 9.0}, "yaw must be within 1.2 rad of frontal, got 9"),
        ({"yaw_rad": math.nan}, "yaw must be within 1.2 rad"),
        ({"pitch_rad": -1.0}, "pitch must be within 0.8 rad of frontal, got -1"),
        ({"view": "sideways"}, "view must be fixed or follow, got sideways"),
        ({"on_lost": "panic"}, "on-lost must be hold or source or blank or fail, got panic"),
        ({"background": "mauve"}, "background must be black, .* or #rrggbb, got mauve"),
        ({"background": "#12345"}, "got #12345"),
        ({"size": 255}, "size must be an even number of pixels from 64 to 4096, got 255"),
        ({"size": 8}, "got 8"),
        ({"crf": 52}, r"crf must be 0 \(best\) to 51, got 52"),
        ({"face": 0}, "at least 1, got 0"),
        ({"face": "ugliest"}, "face must be largest or center, got ugliest"),
        ({"smooth": 1.5}, "smooth must be auto, off, or 0 to 1, got 1.5"),
        ({"edit": (("smile", 10.5),)}, "the edit smile must be within 10, got 10.5"),
        ({"edit": (("smile", math.nan),)}, "the edit smile must be within 10, got nan"),
        ({"edit": (("big smile", 1.0),)}, "'big smile' is no direction's name"),
        ({"queue": 0}, "queue must be at least 1, got 0"),
        ({"batch_size": 0}, "batch-size must be at least 1, got 0"),
        ({"background": "transparent", "layout": "side-by-side"}, "no transparency"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_by_name(wrong: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        Settings(**wrong)


def test_every_plain_and_every_extreme_setting_is_accepted() -> None:
    Settings()
    Settings(yaw_rad=-1.2, pitch_rad=0.8, size=4096, crf=0, face=3, smooth=0.0, queue=1)
    Settings(background="#00FF7f", batch_size=1)
    Settings(edit=(("smile", -10.0), ("age_2", 0.0)), directions="own.safetensors")


def test_an_edit_is_a_name_and_a_strength() -> None:
    assert parse_edit("smile=1.5") == ("smile", 1.5)
    assert parse_edit(" c3 = -2 ") == ("c3", -2.0)
    for text in ("smile", "smile=", "smile=much", "=1=2"):
        with pytest.raises(ConfigError, match="is no edit; write NAME=STRENGTH"):
            parse_edit(text)


@pytest.mark.parametrize(
    ("text", "radians"),
    [
        ("-0.3", -0.3),
        ("0.3rad", 0.3),
        ("180deg", math.pi),
        ("-90 deg", -math.pi / 2),
        ("17°", 17 * math.pi / 180),
    ],
)
def test_angles_are_radians_or_degrees(text: str, radians: float) -> None:
    assert parse_angle(text) == pytest.approx(radians)


@pytest.mark.parametrize("text", ["", "left", "3 grad", "deg", "1 2"])
def test_what_is_no_angle_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is no angle; write radians"):
        parse_angle(text)


@pytest.mark.parametrize(
    ("text", "trim"),
    [
        ("0:05-0:20", (Fraction(5), Fraction(20))),
        ("5-20.04", (Fraction(5), Fraction(2004, 100))),
        ("1:00:01.5-", (Fraction(7203, 2), None)),
        ("-0:20", (None, Fraction(20))),
    ],
)
def test_trims_are_exact_and_open_where_nothing_is_written(text: str, trim: Trim) -> None:
    assert parse_trim(text) == trim


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("20", "is no trim"),
        ("-", "is no trim"),
        ("five-six", "is no time"),
        ("1:2:3:4-", "is no time"),
        ("20-5", "ends before it begins"),
        ("5-5", "ends before it begins"),
    ],
)
def test_what_is_no_trim_is_refused(text: str, line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        parse_trim(text)


def test_smoothing_is_automatic_off_or_a_number() -> None:
    assert parse_smooth("auto") == Settings().smooth
    assert parse_smooth("off") == 0.0
    assert parse_smooth("0.7") == 0.7
    with pytest.raises(ConfigError, match="got 'much'"):
        parse_smooth("much")


@pytest.mark.parametrize(("preset", "size"), [("fast", 256), ("balanced", 512), ("quality", 1024)])
def test_the_preset_says_the_size_unless_one_is_asked_for(preset: Preset, size: int) -> None:
    assert Settings(preset=preset).size == size
    assert Settings(preset=preset, size=300).size == 300
