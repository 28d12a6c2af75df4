from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tiny import random_face, tiny_network

from tpvideo.pipeline.errors import ConfigError
from tpvideo.pipeline.frame import Posed, Stamp
from tpvideo.stages.first_branch import FirstBranch
from tpvideo.stages.invert import Inversion, network_input
from tpvideo.stages.networks.triplanenet import TriPlaneNet

RGB = np.zeros((4, 4, 3), np.uint8)


def shot(count: int, *, cuts: tuple[int, ...] = (0,)) -> list[Posed]:
    return [
        Posed(Stamp(index, 40 * index), RGB, random_face(index), cut=index in cuts)
        for index in range(count)
    ]


def looks(network: TriPlaneNet) -> list[Any]:
    """Grows by one with every run of the style encoder."""
    seen: list[Any] = []
    network.psp_encoder.register_forward_hook(lambda *_: seen.append(None))
    return seen


def test_the_first_branch_looks_at_every_third_frame_and_at_the_first_after_a_cut() -> None:
    network = tiny_network()
    stage, seen = Inversion(network, first_every=3), looks(network)
    counts = []
    for item in shot(9, cuts=(0, 5)):
        stage.process([item])
        counts.append(len(seen))
    assert counts == [1, 1, 1, 2, 2, 3, 3, 3, 4]


def test_the_second_branch_sees_every_frame() -> None:
    network = tiny_network()
    stage = Inversion(network, first_every=2)
    first, second = (stage.process([item])[0] for item in shot(2))
    assert first.head is not None and second.head is not None and second.face is not None
    latents = first.head.latents[None]
    with torch.inference_mode():
        pictures, labels = network_input([second.face], network.side, torch.device("cpu"))
        expected = network.refine(pictures, labels, latents, network.decoder.planes(latents))
    assert torch.equal(second.head.latents, first.head.latents)
    torch.testing.assert_close(second.head.planes, expected.planes[0])
    assert not torch.equal(second.head.planes, first.head.planes)


def test_a_kept_answer_survives_an_interruption() -> None:
    network = tiny_network()
    items = shot(6)
    whole = Inversion(network, first_every=4)
    expected = [whole.process([item])[0].head for item in items]
    before, after = Inversion(network, first_every=4), Inversion(network, first_every=4)
    for item in items[:2]:
        before.process([item])
    after.restore(before.state())
    for item, head in zip(items[2:], expected[2:], strict=True):
        again = after.process([item])[0].head
        assert again is not None and head is not None
        assert torch.equal(again.latents, head.latents)
        torch.testing.assert_close(again.planes, head.planes)


def test_a_new_stream_is_looked_at_anew() -> None:
    network = tiny_network()
    keep, seen = FirstBranch(network, 8), looks(network)
    picture, _ = network_input([random_face(0)], network.side, torch.device("cpu"))
    for _ in range(2):
        keep.forget()
        keep(lambda: picture)
    assert len(seen) == 2 and keep.state()["age"] == 1
    keep.forget()
    assert keep.state() == {}


def test_every_frame_at_least_has_its_turn() -> None:
    with pytest.raises(ConfigError, match="n >= 1, got 0"):
        FirstBranch(tiny_network(), 0)
