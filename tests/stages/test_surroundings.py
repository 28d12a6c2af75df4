from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from tpvideo.pipeline.frame import Face, Image, Posed, Stamp, StreamInfo
from tpvideo.stages import geometry
from tpvideo.stages.face import cut_face
from tpvideo.stages.surroundings import Surroundings, continued, room_at

INFO = StreamInfo(160, 120, Fraction(25), Fraction(1, 25), None)
RED = np.array([200, 30, 30], np.uint8)


def wall(shift: int = 0, seed: int = 0) -> Image:
    """A wall with blotches of a few pixels."""
    random = np.random.default_rng(seed)
    small = random.integers(40, 160, (30, 40, 3), dtype=np.uint8)
    large = np.asarray(Pillow.fromarray(small).resize((160, 120), Pillow.Resampling.BICUBIC))
    return np.roll(large, shift, axis=1).copy()


def stood_at(x: int, room: Image, index: int = 0) -> Posed:
    """A red person, 24 pixels wide and 40 high, before a room; the crop is 80 pixels wide."""
    rgb, alpha = room.copy(), np.zeros((120, 160), np.uint8)
    rgb[40:80, x - 12 : x + 12], alpha[40:80, x - 12 : x + 12] = RED, 255
    fit = geometry.CropFit(np.array([float(x), 60.0]), 80.0, 0.0)
    face = cut_face(rgb, alpha, fit, 0.0, 0.0, 64, 1.0)
    return Posed(Stamp(index, index), rgb, face)


def emptied(item: Posed) -> Image:
    """The whole picture with its room in place."""
    assert item.face is not None and item.face.room is not None
    room, rgb = item.face.room, item.rgb.copy()
    rgb[room.top : room.top + room.rgb.shape[0], room.left : room.left + room.rgb.shape[1]] = (
        room.rgb
    )
    return rgb


def opened() -> Surroundings:
    stage = Surroundings()
    stage.open(INFO)
    return stage


def apart(one: Image, other: Image, rows: slice, columns: slice) -> float:
    return float(np.abs(one[rows, columns].astype(int) - other[rows, columns]).mean())


def hidden_by(x: int) -> tuple[slice, slice]:
    return slice(40, 80), slice(x - 12, x + 12)


def test_the_person_is_gone_and_what_is_beside_stays() -> None:
    room = wall()
    (item,) = opened().process([stood_at(80, room)])
    found = emptied(item)
    middle = found[45:75, 75:85].astype(int)
    assert middle[..., 0].mean() < 150 and middle[..., 1].mean() > 60  # wall, not red
    np.testing.assert_array_equal(found[:, :55], room[:, :55])
    np.testing.assert_array_equal(found[:25], room[:25])


def test_what_an_earlier_frame_showed_is_put_behind_a_person_who_moved() -> None:
    room, stage = wall(), opened()
    # in two steps: from 60 they uncover 100, and standing at 100 the crop still shows 60
    stage.process([stood_at(60, room, 0)])
    (item,) = stage.process([stood_at(96, room, 1)])
    alone = opened().process([stood_at(96, room)])[0]
    guessed, remembered = (
        apart(emptied(each), room, slice(42, 78), slice(86, 94)) for each in (alone, item)
    )
    assert remembered < 4 < 12 < guessed


def test_the_plate_follows_the_light() -> None:
    room, stage = wall(), opened()
    stage.process([stood_at(60, room, 0)])
    brighter = room + np.uint8(30)
    (item,) = stage.process([stood_at(96, brighter, 1)])
    assert apart(emptied(item), brighter, slice(42, 78), slice(86, 94)) < 6


def test_another_room_forgets_the_plate() -> None:
    stage = opened()
    stage.process([stood_at(60, wall(), 0)])
    other = wall(seed=5)
    (item,) = stage.process([stood_at(96, other, 1)])
    alone = opened().process([stood_at(96, other)])[0]
    np.testing.assert_array_equal(emptied(item), emptied(alone))


def test_a_frame_without_a_face_passes_by_and_a_repeated_face_keeps_its_identity() -> None:
    stage = opened()
    first = stood_at(80, wall())
    again = replace(first, stamp=Stamp(1, 1))
    nobody = replace(first, stamp=Stamp(2, 2), face=None)
    found = stage.process([first, again, nobody])
    assert found[0].face is found[1].face and found[2] is nobody


def test_a_resumed_stage_goes_on_with_its_plate() -> None:
    room, stage, later = wall(), opened(), opened()
    stage.process([stood_at(60, room, 0)])
    later.restore(stage.state())
    one, other = (each.process([stood_at(96, room, 1)])[0] for each in (stage, later))
    np.testing.assert_array_equal(emptied(one), emptied(other))
    assert opened().state() == {"size": [0, 0], "part": None}


def test_the_square_of_a_face_is_cut_out_without_the_person() -> None:
    (item,) = opened().process([stood_at(80, wall())])
    assert isinstance(item.face, Face)
    square = room_at(item.rgb, item.face, 80)
    assert np.abs(square.astype(int) - emptied(item)[20:100, 40:120]).mean() < 4


def test_what_is_known_is_kept_and_what_is_not_lies_between() -> None:
    values = torch.zeros(1, 1, 16, 16)
    values[..., 8:] = 1
    weight = torch.ones(1, 1, 16, 16)
    weight[..., 6:10] = 0
    filled = continued(values, weight)
    assert filled[..., :6] == pytest.approx(0) and filled[..., 10:] == pytest.approx(1)
    assert filled.min() >= 0 and filled.max() <= 1
    assert 0.2 < float(filled[..., 6:10].mean()) < 0.8
