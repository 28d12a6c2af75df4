from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from tiny import tiny_network

from tpvideo.pipeline.errors import NoFaceError
from tpvideo.pipeline.frame import Image, Inverted, Posed, Rendered, Stamp, StreamInfo
from tpvideo.stages import geometry
from tpvideo.stages.face import cut_face
from tpvideo.stages.in_frame import InFrame, composed, counts
from tpvideo.stages.invert import Inversion
from tpvideo.stages.render import NovelView
from tpvideo.stages.surroundings import Surroundings
from tpvideo.stages.views import SeveralViews

INFO = StreamInfo(160, 120, Fraction(25), Fraction(1, 25), None)
NETWORK = tiny_network()


def frame(index: int, *, roll: float = 0.2) -> Posed:
    """A smooth picture with a disc for a head."""
    y, x = np.mgrid[:120, :160]
    rgb = np.dstack([80 + x // 2, 60 + y, 90 + (x + y) // 3]).astype(np.uint8)
    alpha = ((x - 80) ** 2 + (y - 60) ** 2 < 24**2).astype(np.uint8) * 255
    rgb[alpha == 255] = (190, 140 + index % 3, 120)
    fit = geometry.CropFit(np.array([80.0, 60.0]), 90.0, roll)
    return Posed(Stamp(index, 7 * index), rgb, cut_face(rgb, alpha, fit, 0.1, 0.0, 64, 1.0))


def inverted(*items: Posed) -> list[Inverted]:
    rooms = Surroundings()
    rooms.open(INFO)
    return Inversion(NETWORK).process(rooms.process(items))


def stage(**options: Any) -> InFrame:
    settings: dict[str, Any] = {
        "yaw_rad": 0.3, "follow": True, "on_neck": True, "backdrop": None, "on_lost": "source",
        "size": 64, "batch": 4,
    }  # fmt: skip
    made = InFrame(NovelView(NETWORK, **{**settings, **options}))
    assert made.open(INFO) == INFO
    return made


def psnr(one: Image, other: Image) -> float:
    return float(-10 * np.log10(np.square((one.astype(float) - other) / 255).mean()))


def test_what_is_far_from_the_head_is_the_source_bit_for_bit() -> None:
    (item,) = inverted(frame(0))
    (found,) = stage().process([item])
    assert found.rgb.shape == item.rgb.shape and found.alpha is None
    np.testing.assert_array_equal(found.rgb[:, :14], item.rgb[:, :14])
    np.testing.assert_array_equal(found.rgb[:, -14:], item.rgb[:, -14:])
    assert not np.array_equal(found.rgb, item.rgb)


def test_a_head_that_does_not_turn_is_the_source_but_for_interpolation() -> None:
    (item,) = inverted(frame(0))
    turned, straight = (next(iter(stage(yaw_rad=yaw).process([item]))).rgb for yaw in (0.5, 0.0))
    assert psnr(straight, item.rgb) > psnr(turned, item.rgb)


def test_frames_without_a_face_are_the_source_unchanged_and_told() -> None:
    (item,) = inverted(frame(0))
    lost = replace(item, stamp=Stamp(1, 7), face=None, head=None)
    made = stage()
    _, found = made.process([item, lost])
    assert found.rgb is lost.rgb and found.stamp == lost.stamp
    (loss,) = made.losses.found
    assert "the source is shown" in loss.what and loss.first == Stamp(1, 7)


def test_a_run_that_never_saw_a_face_fails() -> None:
    made = stage()
    list(made.process([Inverted(Stamp(0, 0), frame(0).rgb, None, None)]))
    with pytest.raises(NoFaceError, match="no face"):
        made.flush()


def test_frames_of_a_batch_do_not_depend_on_each_other() -> None:
    near, far = frame(0), frame(1)
    fit = geometry.CropFit(np.array([80.0, 60.0]), 140.0, 0.0)
    alpha = np.zeros((120, 160), np.uint8)
    alpha[20:100, 40:120] = 255
    large = Posed(Stamp(1, 7), far.rgb, cut_face(far.rgb, alpha, fit, 0.1, 0.0, 64, 1.0))
    items = inverted(near, large, frame(2))
    together = list(stage().process(items))
    for item, found in zip(items, together, strict=True):
        (alone,) = stage().process([item])
        assert found.stamp == item.stamp
        assert (
            np.abs(alone.rgb.astype(int) - found.rgb).max() <= 1
        )  # rounding of nearly equal floats


def test_the_parts_add_up_as_written() -> None:
    item = inverted(frame(0, roll=0.0))[0]
    assert item.face is not None and item.face.room is not None
    white = np.full((128, 128, 3), 255, np.uint8)
    middle = slice(55, 65), slice(75, 85)

    def shown(opacity: int) -> Image:
        drawn = Rendered(item.stamp, white, np.full((128, 128), opacity, np.uint8))
        assert item.face is not None
        return composed(item.rgb, item.face, drawn)

    assert (shown(255)[middle] == 255).all()
    room = item.face.room
    behind = room.rgb[55 - room.top : 65 - room.top, 75 - room.left : 85 - room.left]
    assert np.abs(shown(0)[middle].astype(int) - behind).max() <= 1
    half = shown(128)[middle].astype(float)
    np.testing.assert_allclose(half, (255 + behind.astype(float)) / 2, atol=2.5)


def test_what_is_drawn_counts_in_the_middle_and_not_at_the_edges() -> None:
    share = counts(200)
    assert share[20:130, 20:180].min() == 1
    assert max(share[0].max(), share[-1].max(), share[:, 0].max(), share[:, -1].max()) < 0.02
    assert share[185, 10:30].max() == 0 and share[185, 100] > 0.9  # shoulders, neck
    assert np.abs(np.diff(share, axis=0)).max() < 0.2 and np.abs(np.diff(share, axis=1)).max() < 0.2


def test_a_resumed_stage_still_knows_that_it_saw_a_face() -> None:
    made, later = stage(), stage()
    list(made.process(inverted(frame(0))))
    later.restore(made.state())
    later.flush()


def test_several_turns_share_one_room() -> None:
    (item,) = inverted(frame(0))
    views = SeveralViews([stage(), stage(yaw_rad=-0.3)])
    assert views.open(INFO) == INFO
    (found,) = views.process([item])
    one, other = found.pictures
    assert one.rgb.shape == other.rgb.shape == item.rgb.shape
    assert not np.array_equal(one.rgb, other.rgb)
