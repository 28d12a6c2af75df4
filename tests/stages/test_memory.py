"""Out of memory on the device: smaller batches, the same pictures, and a word about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from tiny import random_face, tiny_network

from tpvideo.pipeline.errors import DeviceError
from tpvideo.pipeline.frame import Inverted, Posed, Stamp
from tpvideo.stages.invert import Inversion
from tpvideo.stages.memory import Halving
from tpvideo.stages.render import NovelView

PICTURE = np.zeros((64, 96, 3), np.uint8)


def at_most(most: int, sizes: list[int], error: RuntimeError) -> Callable[[Sequence[int]], Any]:
    """Work that fails on larger batches and notes the size of each."""

    def work(items: Sequence[int]) -> list[int]:
        sizes.append(len(items))
        if len(items) > most:
            raise error
        return [10 * item for item in items]

    return work


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("cublas error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
    ],
)
def test_batches_are_halved_until_they_fit_and_stay_so(error: RuntimeError) -> None:
    sizes: list[int] = []
    halving = Halving("invert")
    work = at_most(2, sizes, error)
    assert halving(work, range(8)) == [10 * number for number in range(8)]
    assert sizes == [8, 4, 2, 2, 2, 2]
    assert halving(work, range(3)) == [0, 10, 20]
    assert sizes[6:] == [2, 1]
    assert halving.notices == [
        "invert: out of memory with 8 frames at once; goes on with 4",
        "invert: out of memory with 4 frames at once; goes on with 2",
    ]


def test_what_was_done_before_the_memory_ran_out_is_not_done_again() -> None:
    done: list[int] = []
    room = [4, 4]

    def work(items: Sequence[int]) -> Sequence[int]:
        if len(items) > (room.pop() if room else 1):
            raise torch.OutOfMemoryError("CUDA out of memory")
        done.extend(items)
        return items

    halving = Halving("render")
    halving._most = 4
    assert halving(work, range(10)) == list(range(10))
    assert done == list(range(10))


def test_too_little_memory_for_one_frame_is_said_with_the_way_out() -> None:
    work = at_most(0, [], torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(DeviceError, match=r"too small for one frame in invert; .* --device cpu"):
        Halving("invert")(work, range(4))


def test_other_errors_are_left_as_they_are() -> None:
    sizes: list[int] = []
    with pytest.raises(RuntimeError, match="shapes differ"):
        Halving("invert")(at_most(0, sizes, RuntimeError("shapes differ")), range(4))
    assert sizes == [4]


def limited(function: Callable[..., Any], most: int) -> Callable[..., Any]:
    """A network's method that has memory for `most` pictures."""

    def call(first: torch.Tensor, *others: Any, **named: Any) -> Any:
        if len(first) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return function(first, *others, **named)

    return call


def test_inversion_and_rendering_give_the_same_with_too_little_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = tiny_network()
    posed = [Posed(Stamp(i, i), PICTURE, random_face(i) if i != 2 else None) for i in range(6)]
    roomy = Inversion(network, batch=6).process(posed)
    pictures = list(NovelView(network, yaw_rad=0.3, size=64, batch=6).process(roomy))
    monkeypatch.setattr(network, "invert", limited(network.invert, 2))
    monkeypatch.setattr(network, "render", limited(network.render, 1))
    inversion = Inversion(network, batch=6)
    view = NovelView(network, yaw_rad=0.3, size=64, batch=6)
    scarce = inversion.process(posed)
    assert_same_heads(scarce, roomy)
    for one, other in zip(view.process(scarce), pictures, strict=True):
        assert one.stamp == other.stamp
        assert np.abs(one.rgb.astype(int) - other.rgb).max() <= 1  # sums in another order
    assert len(inversion.notices) == 2
    assert len(view.notices) == 3


def assert_same_heads(ones: list[Inverted], others: list[Inverted]) -> None:
    for one, other in zip(ones, others, strict=True):
        assert one.stamp == other.stamp
        assert (one.head is None) == (other.head is None)
        if one.head is not None and other.head is not None:
            torch.testing.assert_close(one.head.planes, other.head.planes, atol=1e-4, rtol=1e-4)
