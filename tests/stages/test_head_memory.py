from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from tiny import random_face, tiny_network

from tpvideo.pipeline.errors import ConfigError
from tpvideo.pipeline.frame import Earlier, Face, Head, Posed, Stamp, StreamInfo
from tpvideo.stages.head_memory import HeadMemory, recalled
from tpvideo.stages.invert import Inversion


def turned(*yaws: float) -> list[Face]:
    return [random_face(seed, yaw=yaw) for seed, yaw in enumerate(yaws)]


def crops(earlier: Earlier | None) -> int:
    assert earlier is not None
    return int(earlier.face.crop.sum())


def test_a_head_that_has_not_turned_has_nothing_to_remember() -> None:
    memory = HeadMemory(0.5)
    assert [memory(face) for face in turned(0.3, 0.3, 0.3)] == [None] * 3


def test_the_frame_that_saw_the_hidden_side_is_remembered() -> None:
    memory = HeadMemory(0.5)
    faces = turned(0.5, 0.2, -0.3)
    found = [memory(face) for face in faces]
    assert found[2] is not None and found[2].share == 1
    assert found[2].face.crop is faces[0].crop
    back = memory(random_face(9, yaw=0.4))
    assert back is not None and back.face.crop is faces[2].crop


def test_halfway_nothing_counts_so_that_nothing_jumps() -> None:
    memory = HeadMemory(0.5)
    for face in turned(0.5, -0.5):
        memory(face)
    yaws = np.linspace(-0.5, 0.5, 101)
    found = [memory(random_face(3, yaw=yaw)) for yaw in yaws]
    shares = [0.0 if each is None else each.share for each in found]
    assert shares[0] == shares[-1] == 1 and shares[50] == pytest.approx(0, abs=1e-4)
    assert np.abs(np.diff(shares)).max() < 0.08  # 0.02 rad of TURNED_RAD = 0.3 rad a step


def test_a_newer_frame_from_as_far_takes_the_place_of_an_older_one() -> None:
    memory = HeadMemory(0.5)
    faces = turned(0.5, 0.48, 0.2, -0.3)
    assert [memory(face) for face in faces][3].face.crop is faces[1].crop  # type: ignore[union-attr]


def test_frames_that_show_little_of_a_face_are_not_remembered() -> None:
    memory = HeadMemory(0.5)
    profile, sure, doubtful, last = turned(1.2, 0.4, 0.6, -0.4)
    for face in (profile, sure, replace(doubtful, confidence=0.2)):
        memory(face)
    found = memory(last)
    assert found is not None and found.face.crop is sure.crop


def test_less_strength_counts_less_and_none_remembers_nothing() -> None:
    memory = HeadMemory(0.25)
    first, second = turned(0.5, -0.3)
    memory(first)
    found = memory(second)
    assert found is not None and found.share == pytest.approx(0.5)
    memory.smooth = 0.0
    assert memory(second) is None and memory.state() == {}
    with pytest.raises(ConfigError, match="between 0 and 1, got 2"):
        HeadMemory(2)


def test_it_goes_on_from_its_state() -> None:
    memory, later = HeadMemory(0.5), HeadMemory(0.5)
    for face in turned(0.5, 0.1, -0.3):
        memory(face)
    later.restore(memory.state())
    for face in turned(-0.2, 0.4):
        expected, found = memory(face), later(face)
        assert expected is not None and found is not None
        assert (crops(found), found.share) == (crops(expected), expected.share)
        np.testing.assert_array_equal(found.face.camera, expected.face.camera)
        np.testing.assert_array_equal(found.face.alpha, expected.face.alpha)
    later.restore({})
    assert later(random_face(1, yaw=-0.3)) is None


def test_a_batch_recalls_what_each_head_remembers() -> None:
    own, other = turned(0.2, 0.5)
    heads = [Head(None, None), Head(None, None, earlier=Earlier(other, 0.7))]
    assert recalled(heads[:1], [own], torch.device("cpu")) is None
    found = recalled(heads, [own, own], torch.device("cpu"))
    assert found is not None
    assert found.crops[0] is own.crop and found.crops[1] is other.crop
    np.testing.assert_allclose(found.shares.flatten(), [0, 0.7], rtol=1e-6)
    np.testing.assert_array_equal(found.labels[1], other.camera)


def test_the_inversion_forgets_at_a_cut_and_at_a_new_stream() -> None:
    stage = Inversion(tiny_network(), batch=4, memory=HeadMemory(0.5))
    info = StreamInfo(4, 4, Fraction(25), Fraction(1, 25), None)
    stage.open(info)
    rgb = np.zeros((4, 4, 3), np.uint8)
    items = [Posed(Stamp(n, n), rgb, face) for n, face in enumerate(turned(0.5, -0.3))]

    def remembers(item: Posed) -> bool:
        [found] = stage.process([item])
        return found.head is not None and found.head.earlier is not None

    assert [remembers(item) for item in items] == [False, True]
    assert not remembers(replace(items[0], cut=True))
    assert remembers(replace(items[1], face=random_face(5, yaw=-0.3)))
    stage.open(info)
    assert not remembers(items[1])
