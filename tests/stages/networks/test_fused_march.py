from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from tiny import labels, tiny_network
from torch import Tensor

from tpvideo.stages.networks import fused_march
from tpvideo.stages.networks.fused_march import march_for
from tpvideo.stages.networks.generator import Generator, Marcher
from tpvideo.stages.networks.lean import make_lean
from tpvideo.stages.networks.volume import Composite, Rays, camera_rays

CAMERAS = labels((0.3, 0.1), (-0.6, 0.0))
CLOSE = 1e-3
"""What the samples that are left out may add up to: a quarter of a level of 255."""
MOVED = 4e-3
"""The same where samples gather at the surface: a processor's rounding decides into which interval
one falls that lies between two, and so where it is taken."""


@pytest.fixture(autouse=True)
def needs_numba_and_the_same_planes_every_time() -> Iterator[None]:
    pytest.importorskip("numba")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def a_head(**changes: Any) -> tuple[Generator, Tensor, Marcher]:
    """A generator with planes of two heads, and its compiled march."""
    generator = tiny_network(**changes).decoder
    with torch.no_grad():
        planes = generator.planes(torch.randn(2, generator.latents, 16))
    march = march_for(generator)
    assert march is not None
    return generator, planes, march


def assert_close(found: Composite, expected: Composite, within: float) -> None:
    torch.testing.assert_close(found.features, expected.features, atol=within, rtol=0)
    torch.testing.assert_close(found.alphas, expected.alphas, atol=within, rtol=0)
    hit = expected.alphas > 0.1  # depth of next to nothing is next to anything
    assert hit.any()
    torch.testing.assert_close(found.depths[hit], expected.depths[hit], atol=within, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("fine", [True, False])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"axes": "eg3d", "density_gain": 1.0, "samples": [12, 8], "box": 1.0},
        {"plane_channels": 32, "hidden": 64, "colours": 32},
        {"samples": [5, 4]},
    ],
    ids=["default", "soft", "published sizes", "odd samples"],
)
def test_the_compiled_march_sees_what_the_plain_one_sees(
    changes: dict[str, Any], fine: bool
) -> None:
    generator, planes, march = a_head(**changes)
    rays = camera_rays(CAMERAS, 20)
    expected = generator.march(planes, rays, fine=fine)
    assert expected.alphas.std() > 0.01  # part solid, part empty
    assert_close(march(planes, rays, fine, True), expected, MOVED if fine else CLOSE)


@torch.no_grad()
def test_depth_alone_is_the_same_depth() -> None:
    _, planes, march = a_head()
    rays = camera_rays(CAMERAS, 16)
    whole, bare = march(planes, rays, True, True), march(planes, rays, True, False)
    assert bare.features.shape == (2, 256, 0)
    assert torch.equal(bare.depths, whole.depths)
    assert torch.equal(bare.alphas, whole.alphas)


@torch.no_grad()
def test_threads_share_the_rays(monkeypatch: pytest.MonkeyPatch) -> None:
    _, planes, march = a_head()
    rays = camera_rays(CAMERAS, 16)
    alone = march(planes, rays, True, True)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    for together, one in zip(march(planes, rays, True, True), alone, strict=True):
        assert torch.equal(together, one)


@torch.no_grad()
def test_planes_of_any_memory_order_are_read() -> None:
    _, planes, march = a_head()
    rays = camera_rays(CAMERAS, 8)
    turned = planes.contiguous(memory_format=torch.channels_last)
    assert torch.equal(
        march(planes, rays, True, True).features, march(turned, rays, True, True).features
    )


@torch.no_grad()
def test_a_ray_beyond_everything_is_empty() -> None:
    generator, planes, _ = a_head()
    generator.decoder.get_parameter("net.2.bias")[0] = -100.0
    march = march_for(generator)
    assert march is not None
    rays = Rays(torch.full((2, 1, 3), 50.0), torch.tensor([0.0, 0.0, 1.0]).expand(2, 1, 3))
    seen = march(planes, rays, True, True)
    assert seen.features.abs().max() == 0 and seen.alphas.abs().max() < 1e-4
    step = (generator.far - generator.near) / (generator.coarse - 1)
    assert seen.depths[0, 0].item() == pytest.approx(generator.far + step / 2)


def test_a_lean_network_marches_compiled_and_training_plainly() -> None:
    network = make_lean(tiny_network())
    generator = network.decoder
    assert isinstance(generator.marcher, fused_march.FusedMarch)
    with torch.no_grad():
        planes = generator.planes(torch.randn(2, generator.latents, 16))
        quick = generator.look(planes, CAMERAS)
        assert generator.look(planes, CAMERAS, coloured=False).features.numel() == 0
    plain = generator.look(planes, CAMERAS)  # gradients are on
    assert_close(quick, plain, MOVED)


def test_without_numba_or_with_odd_widths_the_plain_march_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert march_for(tiny_network(hidden=24).decoder) is None
    monkeypatch.setattr(fused_march, "find_spec", lambda name: None)
    assert march_for(tiny_network().decoder) is None


def test_its_approximations_are_as_close_as_they_say() -> None:
    from tpvideo.stages.networks import march_kernel as kernel

    for x in (-30.0, -8.0, -1.0, -1e-3, 0.0, 0.5, 3.0, 12.0, 40.0):
        value = kernel.f32(x)
        assert kernel.softplus(value) == pytest.approx(math.log1p(math.exp(x)), abs=4e-6)
        assert kernel.sigmoid(value) == pytest.approx(1 / (1 + math.exp(-x)), abs=2e-6)
