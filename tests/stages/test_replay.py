from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from tiny import labels, random_face, tiny_network
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from tpvideo.pipeline.frame import Image, Posed, Stamp
from tpvideo.stages.backdrop import parse_backdrop
from tpvideo.stages.invert import Inversion
from tpvideo.stages.networks.lean import make_lean
from tpvideo.stages.render import NovelView
from tpvideo.stages.replay import Recording, Replay, replayed


class Both(NamedTuple):
    total: Tensor
    nothing: None
    scaled: Tensor


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


def work(first: Tensor, second: Tensor, *, factor: float = 1.0) -> Both:
    return Both((first + second).sum(dim=1), None, first * factor)


class OnTheHost:
    """Records as a GPU does, slowly: a replay does the call again, into the same memory."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, call: Callable[[], Any], inputs: Sequence[Tensor]) -> Recording:
        self.sizes.append(len(inputs[0]))
        result = call()

        def again() -> None:
            for kept, new in zip(result, call(), strict=True):
                if kept is not None:
                    kept.copy_(new)

        return Recording(inputs, result, again)


def expect_same(found: Both, expected: Both) -> None:
    assert found.nothing is None
    assert torch.equal(found.total, expected.total) and torch.equal(found.scaled, expected.scaled)


def test_a_batch_between_two_sizes_is_filled_up_and_cut_again() -> None:
    record = OnTheHost()
    replay = Replay("test", work, record)
    for count in (3, 1, 4, 2, 3, 1):
        first, second = torch.randn(count, 5), torch.randn(count, 5)
        expect_same(replay(first, second), work(first, second))
    assert record.sizes == [4, 1, 2]


def test_a_result_survives_the_next_one() -> None:
    replay = Replay("test", work, OnTheHost())
    one, other = torch.randn(2, 2, 5)
    found = replay(one, one)
    replay(other, other)
    expect_same(found, work(one, one))


def test_each_option_and_shape_is_recorded_for_itself() -> None:
    record = OnTheHost()
    replay = Replay("test", work, record)
    for factor in (2.0, 3.0, 2.0):
        for width in (5, 6):
            values = torch.randn(2, width)
            expect_same(replay(values, values, factor=factor), work(values, values, factor=factor))
    assert len(record.sizes) == 4


def test_what_cannot_be_recorded_is_done_as_ever_with_one_notice(
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls = []

    def refuse(call: Callable[[], Any], inputs: Sequence[Tensor]) -> Recording:
        calls.append(len(inputs[0]))
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    caplog.set_level(logging.WARNING)
    replay = Replay("invert", work, refuse)
    values = torch.randn(2, 5)
    for count in (2, 2, 1):
        expect_same(replay(values[:count], values[:count]), work(values[:count], values[:count]))
    assert calls == [2] and len(caplog.records) == 1
    assert replay.notices == [
        "invert: no CUDA graph could be recorded, goes on without: operation not permitted when "
        "stream is capturing"
    ]


def test_a_counter_of_operations_sees_them_all() -> None:
    replay = Replay("test", torch.mm, OnTheHost())
    with FlopCounterMode(display=False) as counter:
        replay(torch.ones(2, 3), torch.ones(3, 4))
    assert counter.get_total_flops() == 2 * 2 * 3 * 4


def test_a_cpu_replays_nothing() -> None:
    assert replayed("test", work, torch.device("cpu")) is work


@pytest.mark.gpu
def test_a_recorded_network_draws_the_same_pictures() -> None:
    network = tiny_network().cuda()
    cameras = labels((0.3, 0.1), (-0.6, 0.0), (0.0, 0.0)).cuda()
    pictures = torch.rand(3, 3, 32, 32, device="cuda") * 2 - 1
    invert, render = Replay("invert", network.invert), Replay("render", network.render)
    for count in (3, 2, 1, 3):
        expected = network.invert(pictures[:count], cameras[:count])
        found = invert(pictures[:count], cameras[:count])
        torch.testing.assert_close(found.planes, expected.planes, atol=1e-4, rtol=1e-4)
        seen = render(found.planes, found.ws, cameras[:count], side=8).image
        view = network.render(expected.planes, expected.ws, cameras[:count], side=8).image
        torch.testing.assert_close(seen, view, atol=1e-2, rtol=0)
    assert invert.notices == [] and render.notices == []


@pytest.mark.gpu
def test_a_wait_cannot_be_recorded_and_is_done_as_ever() -> None:
    replay = Replay("test", lambda values: values * values.sum().item())
    values = torch.ones(2, 2, device="cuda")
    assert torch.equal(replay(values).cpu(), torch.full((2, 2), 4.0))
    assert len(replay.notices) == 1
    assert torch.equal((values + 1).cpu(), torch.full((2, 2), 2.0))  # the device works on


def drawn(device: str, first_every: int, detail: bool) -> tuple[list[Image], list[str]]:
    """Pictures of seven faces, and what the stages have to say."""
    network = make_lean(tiny_network().to(device))
    faces = [random_face(seed, yaw=0.1 * seed) for seed in range(7)]
    invert = Inversion(network, device=device, batch=3, first_every=first_every)
    view = NovelView(
        network, yaw_rad=-0.2, size=64, detail=detail, device=device, batch=4,
        backdrop=parse_backdrop("black"),
    )  # fmt: skip
    posed = [Posed(Stamp(i, i), face.crop, face) for i, face in enumerate(faces)]
    heads = [
        head
        for at in range(0, len(posed), invert.batch)
        for head in invert.process(posed[at : at + invert.batch])
    ]
    pictures = [each.rgb for at in (0, 4) for each in view.process(heads[at : at + 4])]
    return pictures, [*invert.notices, *view.notices]


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("first_every", [1, 3])
@pytest.mark.parametrize("detail", [True, False])
def test_whole_stages_draw_the_same_on_a_gpu(device: str, first_every: int, detail: bool) -> None:
    expected, _ = drawn("cpu", first_every, detail)
    found, notices = drawn(device, first_every, detail)
    assert notices == [] and len(found) == 7
    for picture, other in zip(found, expected, strict=True):
        assert other.std() > 5
        # importance samples may fall elsewhere by a rounding, and a pixel be trusted or not
        assert np.abs(picture.astype(int) - other).mean() < 1
