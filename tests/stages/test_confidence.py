from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from tiny import random_face, tiny_network

from tpvideo.pipeline.errors import NoFaceError
from tpvideo.pipeline.frame import Face, Head, Posed, Stamp, StreamInfo
from tpvideo.stages.confidence import LOST_ERROR, SURE_ERROR, confidence
from tpvideo.stages.first_branch import FirstAnswer
from tpvideo.stages.invert import Inversion, network_input
from tpvideo.stages.networks.triplanenet import first_error

INFO = StreamInfo(120, 90, Fraction(25), Fraction(1, 25), None)
RGB = np.zeros((90, 120, 3), np.uint8)


def test_a_frontal_head_well_rebuilt_is_sure_and_loses_with_the_angle() -> None:
    sure = [confidence(random_face(0, yaw=yaw), 0.0) for yaw in (0.0, 0.4, -0.9, 1.2, -2.1)]
    assert sure[:2] == [1.0, 1.0] and 1 > sure[2] > sure[3] > sure[4] == 0
    assert confidence(random_face(0, pitch=0.9), 0.0) == pytest.approx(sure[2], abs=0.02)


def test_what_is_badly_rebuilt_is_not_sure() -> None:
    face = random_face(0, yaw=0.0)
    assert confidence(face, SURE_ERROR) == 1 and confidence(face, LOST_ERROR) == 0
    assert confidence(face, (SURE_ERROR + LOST_ERROR) / 2) == pytest.approx(0.5)


def test_a_matte_without_a_person_leaves_nothing() -> None:
    face = random_face(0, yaw=0.0)
    assert confidence(replace(face, alpha=np.zeros_like(face.alpha)), 0.0) == 0


def test_the_error_is_the_mean_difference_over_what_is_shown() -> None:
    seen, picture = torch.full((2, 3, 4, 4), -1.0), torch.full((2, 3, 4, 4), -1.0)
    seen[0, :, :2], picture[0, :, :2] = 0.0, 0.4  # half of the first is shown, off by 0.2 of 1
    residuals = torch.cat([seen, picture - seen, torch.randn(2, 3, 4, 4)], dim=1)
    torch.testing.assert_close(first_error(residuals), torch.tensor([0.2, 0.0]))


class WellRebuilt(Inversion):
    """Noise is not rebuilt by anybody; here it counts as if it were."""

    def invert(self, faces: Sequence[Face], firsts: Sequence[FirstAnswer] = ()) -> list[Head]:
        heads = zip(faces, super().invert(faces, firsts), strict=True)
        return [replace(head, confidence=confidence(face, 0.0)) for face, head in heads]


def frames(*yaws: float) -> list[Posed]:
    return [
        Posed(Stamp(index, index), RGB, random_face(index, yaw=yaw))
        for index, yaw in enumerate(yaws)
    ]


def test_heads_that_are_not_sure_enough_pass_like_frames_without_a_face() -> None:
    items = frames(0.1, 1.9, 0.0)
    everything = WellRebuilt(tiny_network())
    careful = WellRebuilt(tiny_network(), min_confidence=0.2)
    for stage in (everything, careful):
        stage.open(INFO)
    assert all(found.head is not None for found in everything.process(items))
    found = careful.process(items)
    assert [item.head is None for item in found] == [False, True, False]
    assert found[1].face is None and found[1].rgb is RGB
    reading = careful.gauge.read()
    assert reading is not None and (reading.frames, reading.below) == (3, 1)
    assert next(low.first for low in reading.low) == Stamp(1, 1)
    careful.flush()


def test_a_run_without_a_head_that_is_sure_enough_fails() -> None:
    stage = WellRebuilt(tiny_network(), min_confidence=0.9)
    stage.open(INFO)
    stage.process(frames(2.1, 2.2))
    with pytest.raises(NoFaceError, match=r"confidence of 0\.9, the best has 0\.00; give --min"):
        stage.flush()


def test_the_error_in_the_same_view_does_not_depend_on_the_batch() -> None:
    network = tiny_network()
    faces = [random_face(seed, yaw=yaw) for seed, yaw in enumerate((0.1, 0.8, -0.5))]
    pictures, labels = network_input(faces, network.side, torch.device("cpu"))
    with torch.inference_mode():
        together = network.invert(pictures, labels).error
        alone = [network.invert(pictures[i, None], labels[i, None]).error for i in range(3)]
    assert together is not None and (together > 0.05).all() and (together < 1).all()
    torch.testing.assert_close(together, torch.cat([each for each in alone if each is not None]))
