from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from tiny import random_face, remembering_network, tiny_network
from torch import Tensor

from tpvideo.pipeline.errors import ConfigError
from tpvideo.pipeline.frame import Face, Head, Inverted, Posed, Stamp, StreamInfo
from tpvideo.stages.head_memory import HeadMemory
from tpvideo.stages.invert import Inversion

STEP_S = 0.04
RIGHT, LEFT = random_face(0, yaw=0.6), random_face(1, yaw=-0.6)
"""Seen by cameras that stand toward +x and toward -x."""


@pytest.fixture
def memory() -> HeadMemory:
    return HeadMemory(remembering_network(), 0.5)


def head(seed: int) -> Head:
    random = torch.Generator().manual_seed(seed)
    return Head(torch.zeros(6, 16), torch.randn(48, 16, 16, generator=random))


def watch(memory: HeadMemory, known: Head, face: Face, begin: int, frames: int) -> Tensor:
    """[48, 16, 16] planes that come of the last of some frames that all show the same."""
    for number in range(begin, begin + frames):
        known_now = memory(known, face, number * STEP_S)
    found: Tensor = known_now.planes
    return found


def test_the_first_frame_passes_unchanged(memory: HeadMemory) -> None:
    assert torch.equal(watch(memory, head(0), RIGHT, 0, 1), head(0).planes)


def test_a_side_that_turned_away_stays_as_it_was_seen(memory: HeadMemory) -> None:
    watch(memory, head(0), RIGHT, 0, 50)
    hidden = slice(16), slice(None), slice(14, 16)  # x > 0.3
    seen = slice(16), slice(6, 10), slice(3, 6)  # level with the camera, and on its side
    before, now = head(0).planes, head(1).planes
    for frames in (1, 49):  # at once, and two seconds later
        found = watch(memory, head(1), LEFT, 50, frames)
        assert (found - before)[hidden].abs().mean() < 0.15 * (now - before)[hidden].abs().mean()
        assert torch.equal(found[seen], now[seen])


def test_the_planes_that_look_along_the_face_are_the_frames_own(memory: HeadMemory) -> None:
    watch(memory, head(0), RIGHT, 0, 50)
    assert torch.equal(watch(memory, head(1), LEFT, 50, 1)[16:], head(1).planes[16:])


def test_what_was_never_seen_well_is_averaged_over_time() -> None:
    memory = HeadMemory(remembering_network(), 0.5)
    shown = [memory(head(number), LEFT, number * STEP_S).planes[:16] for number in range(100)]
    hidden = torch.stack(shown[50:])[..., 15]
    alone = torch.stack([head(number).planes[:16, :, 15] for number in range(50, 100)])
    assert hidden.std(dim=0).mean() < 0.5 * alone.std(dim=0).mean()


def test_it_leaves_the_head_that_it_is_given_as_it_is(memory: HeadMemory) -> None:
    watch(memory, head(0), RIGHT, 0, 5)
    given = head(1)
    memory(given, LEFT, 5 * STEP_S)
    assert torch.equal(given.planes, head(1).planes)


def test_a_frame_of_doubtful_sight_teaches_it_little() -> None:
    doubtful = replace(RIGHT, confidence=0.3)
    learnt = []
    for face in (RIGHT, doubtful):
        memory = HeadMemory(remembering_network(), 0.5)
        watch(memory, head(0), RIGHT, 0, 20)
        watch(memory, head(2), face, 20, 20)
        hidden = watch(memory, head(1), LEFT, 40, 1)[:16, :, 15]
        learnt.append(float((hidden - head(0).planes[:16, :, 15]).abs().mean()))
    assert learnt[1] < 0.3 * learnt[0]


def test_without_strength_heads_pass_and_nothing_is_remembered(memory: HeadMemory) -> None:
    watch(memory, head(0), RIGHT, 0, 5)
    memory.smooth = 0.0
    passing = head(1)
    assert memory(passing, LEFT, 1.0) is passing
    memory.smooth = 0.5
    assert torch.equal(memory(passing, LEFT, 1.1).planes, passing.planes)


def test_it_goes_on_from_its_state_to_the_bit(memory: HeadMemory) -> None:
    watch(memory, head(0), RIGHT, 0, 7)
    later = HeadMemory(remembering_network(), 0.5)
    later.restore(memory.state())
    for number in range(7, 12):
        expected = memory(head(number), LEFT, number * STEP_S).planes
        assert torch.equal(later(head(number), LEFT, number * STEP_S).planes, expected)
    memory.forget()
    later.restore(memory.state())
    assert torch.equal(later(head(3), LEFT, 9.0).planes, head(3).planes)


def test_a_strength_out_of_range_and_a_model_without_a_mean_head_are_refused() -> None:
    with pytest.raises(ConfigError, match="between 0 and 1, got 2"):
        HeadMemory(remembering_network(), 2)
    with pytest.raises(ConfigError, match="no mean head"):
        HeadMemory(tiny_network(), 0.5)


def stage() -> Inversion:
    network = remembering_network()
    inversion = Inversion(network, batch=4, memory=HeadMemory(network, 0.5))
    inversion.open(StreamInfo(4, 4, Fraction(25), Fraction(1, 25), None))
    return inversion


def posed(number: int, face: Face | None, *, cut: bool = False) -> Posed:
    return Posed(Stamp(number, number), np.zeros((4, 4, 3), np.uint8), face, cut=cut)


def turning(frames: int) -> list[Posed]:
    faces = [random_face(n, yaw=0.7 - 1.4 * n / frames) for n in range(frames)]
    return [posed(n, face, cut=n == 0) for n, face in enumerate(faces)]


def planes(found: list[Inverted]) -> Tensor:
    return torch.stack([item.head.planes for item in found if item.head is not None])


def test_a_new_stream_or_a_cut_begins_without_a_memory() -> None:
    items = turning(8)
    last = items[-1]
    alone = planes(stage().process([last]))
    remembering = stage()
    remembering.process(items[:4])
    assert not torch.equal(planes(remembering.process([last])), alone)
    cut = [posed(20, random_face(7, yaw=-0.525), cut=True)]
    assert torch.equal(planes(remembering.process(cut)), planes(stage().process(cut)))
    remembering.process(items[:4])
    remembering.open(StreamInfo(4, 4, Fraction(25), Fraction(1, 25), None))
    assert torch.equal(planes(remembering.process([last])), alone)


def test_a_restored_stage_makes_what_an_undisturbed_one_makes() -> None:
    items = turning(8)
    undisturbed = stage()
    undisturbed.process(items[:4])
    restored = stage()
    restored.restore(undisturbed.state())
    expected = planes(undisturbed.process(items[4:]))
    assert torch.equal(planes(restored.process(items[4:])), expected)
    assert not torch.equal(planes(stage().process(items[4:])), expected)


def test_a_face_that_stands_still_is_learnt_once() -> None:
    first, second = turning(2)
    repeated = [first, replace(first, stamp=Stamp(1, 30), cut=False)]
    inversion = stage()
    found = inversion.process(repeated)
    assert found[0].head is found[1].head
    assert inversion.state()["time_s"] == 0.0
    inversion.process([second])
    assert inversion.state()["time_s"] == pytest.approx(STEP_S)
