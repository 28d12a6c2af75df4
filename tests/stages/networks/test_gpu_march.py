"""The kernels run here in Triton's interpreter, on the CPU; what they make of a GPU is compiled and
counted. `gpu` tests run them."""

from __future__ import annotations

import copy
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import labels, tiny_network
from torch import Tensor

from tpvideo.stages.networks import gpu_march
from tpvideo.stages.networks.generator import Generator
from tpvideo.stages.networks.gpu_march import TritonMarch, march_for, self_test
from tpvideo.stages.networks.lean import make_lean
from tpvideo.stages.networks.volume import Composite, Rays, camera_rays

ROOT = Path(__file__).resolve().parents[3]
CAMERAS = labels((0.3, 0.1), (-0.6, 0.0))
CLOSE, MOVED = 1e-3, 4e-3
"""As in test_fused_march.py."""
WHOLE = 256
"""Rays of a program; few programs are quick in the interpreter."""


is_interpreted = os.environ.get("TRITON_INTERPRET") == "1"
"""Triton decides when it is imported, so that it cannot be decided for a test."""


@pytest.fixture
def interpreted() -> Iterator[None]:
    """A test whose kernels run on the CPU."""
    if find_spec("triton") is None or not is_interpreted:
        pytest.skip("needs the extra gpu-test and TRITON_INTERPRET=1, as in make test-triton")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture
def compiled() -> None:
    """A test whose kernels are compiled."""
    if find_spec("triton") is None or is_interpreted:
        pytest.skip("needs the extra gpu-test, without TRITON_INTERPRET=1")


@pytest.fixture(autouse=True)
def nothing_told_yet() -> None:
    gpu_march._tell.cache_clear()


def a_head(count: int = 2, **changes: Any) -> tuple[Generator, Tensor]:
    """A generator with planes of heads."""
    generator = tiny_network(**changes).decoder
    with torch.no_grad():
        return generator, generator.planes(torch.randn(count, generator.latents, 16))


def assert_close(found: Composite, expected: Composite, within: float) -> None:
    torch.testing.assert_close(found.features, expected.features, atol=within, rtol=0)
    torch.testing.assert_close(found.alphas, expected.alphas, atol=within, rtol=0)
    hit = expected.alphas > 0.1  # depth of next to nothing is next to anything
    assert hit.any()
    torch.testing.assert_close(found.depths[hit], expected.depths[hit], atol=within, rtol=0)


@torch.no_grad()
@pytest.mark.slow
@pytest.mark.parametrize("fine", [True, False])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"axes": "eg3d", "density_gain": 1.0, "samples": [12, 9], "box": 1.0},
        {"plane_channels": 32, "hidden": 64, "colours": 32, "axes": "eg3d"},
        {"samples": [5, 4]},
    ],
    ids=["default", "soft", "published sizes", "odd samples"],
)
def test_the_march_in_triton_sees_what_the_plain_one_sees(
    interpreted: None, changes: dict[str, Any], fine: bool
) -> None:
    generator, planes = a_head(**changes)
    rays = camera_rays(CAMERAS, 15)  # fewer rays than a program has room for
    expected = generator.march(planes, rays, fine=fine)
    assert expected.alphas.std() > 0.01  # part solid, part empty
    found = TritonMarch(generator, block=WHOLE)(planes, rays, fine, True)
    assert_close(found, expected, MOVED if fine else CLOSE)


@torch.no_grad()
@pytest.mark.slow
def test_blocks_of_empty_rays_and_of_hidden_ones_stop_early(interpreted: None) -> None:
    generator = tiny_network(density_gain=400.0).decoder
    planes, rays = gpu_march.a_ball(generator), gpu_march.rays_across(generator, 12)
    order = generator.march(planes, rays).alphas[0, :, 0].argsort()  # blocks of a kind
    rays = Rays(*(each[:, order] for each in rays))
    expected = generator.march(planes, rays, fine=False)
    blocks = expected.alphas.reshape(-1, 16)
    assert (blocks[0] < 1e-3).all() and (blocks[-1] > 1 - 1e-4).all()
    assert_close(TritonMarch(generator, block=16)(planes, rays, False, True), expected, CLOSE)


@torch.no_grad()
def test_of_a_published_network_nothing_is_left_out(interpreted: None) -> None:
    generator = tiny_network(image_channels=3).decoder
    planes, rays = gpu_march.a_ball(generator), gpu_march.rays_across(generator, 8)
    expected = generator.march(planes, rays)
    assert ((expected.alphas > 1e-6) & (expected.alphas < 1e-3)).any()  # met next to nothing
    found = TritonMarch(generator, block=64)(planes, rays, True, True)
    faint = expected.alphas[..., 0] < 1e-3
    torch.testing.assert_close(found.alphas[faint], expected.alphas[faint], rtol=1e-2, atol=1e-6)
    assert found.features[faint].abs().max() > 0


@torch.no_grad()
def test_depth_alone_is_the_same_depth(interpreted: None) -> None:
    generator, planes = a_head(1)
    march, rays = TritonMarch(generator, block=64), camera_rays(CAMERAS[:1], 8)
    whole, bare = march(planes, rays, True, True), march(planes, rays, True, False)
    assert bare.features.shape == (1, 64, 0)
    assert torch.equal(bare.depths, whole.depths)
    assert torch.equal(bare.alphas, whole.alphas)


@torch.no_grad()
def test_a_ray_beyond_everything_is_empty(interpreted: None) -> None:
    generator, planes = a_head(1)
    generator.decoder.get_parameter("net.2.bias")[0] = -100.0
    rays = Rays(torch.full((1, 1, 3), 50.0), torch.tensor([[[0.0, 0.0, 1.0]]]))
    seen = TritonMarch(generator, block=16)(planes, rays, True, True)
    assert seen.features.abs().max() == 0 and seen.alphas.abs().max() < 1e-4
    step = (generator.far - generator.near) / (generator.coarse - 1)
    assert seen.depths.item() == pytest.approx(generator.far + step / 2)


@pytest.mark.slow
def test_the_self_test_knows_a_march_that_sees_something_else(interpreted: None) -> None:
    generator = tiny_network().decoder
    march = TritonMarch(generator, block=1024)
    assert self_test(generator, march) is None
    march.density_bias += 0.1
    said = self_test(generator, march)
    assert said is not None and "apart on average" in said


def test_the_self_test_looks_at_something_solid_amid_nothing() -> None:
    for changes in ({}, {"axes": "eg3d", "box": 1.0}):
        generator = tiny_network(**changes).decoder
        with torch.no_grad():
            seen = generator.march(
                gpu_march.a_ball(generator), gpu_march.rays_across(generator, 24)
            )
        assert seen.alphas.max() > 0.99 and seen.alphas.min() < 1e-3


def test_what_cannot_be_marched_in_triton_is_marched_plainly_with_a_notice(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(gpu_march, "find_spec", lambda name: None)
    for _ in range(2):
        assert march_for(tiny_network().decoder) is None
    (record,) = caplog.records
    assert record.message.endswith("without Triton, more slowly: it is not installed")
    monkeypatch.setattr(gpu_march, "find_spec", lambda name: name)
    assert march_for(tiny_network(hidden=48).decoder) is None
    assert "widths are (16, 48, 16), not powers of two" in caplog.text


def test_a_triton_that_fails_leaves_the_plain_march(
    compiled: None, caplog: pytest.LogCaptureFixture
) -> None:
    """As where it finds no C compiler, or here no GPU."""
    if torch.cuda.is_available():
        pytest.skip("here it does not fail")
    assert march_for(tiny_network().decoder) is None
    (record,) = caplog.records
    assert "more slowly: it fails: " in record.message


@pytest.mark.slow
def test_it_compiles_for_an_h200_without_one(compiled: None, tmp_path: Path) -> None:
    report = tmp_path / "kernels.json"
    command = [sys.executable, str(ROOT / "bench" / "compile_march.py"), "--json", str(report)]
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path / "cache")}
    subprocess.run(command, env=environment, check=True, timeout=300)
    rows = json.loads(report.read_text())["kernels"]
    assert len(rows) == 6
    for row in rows:
        assert row["code"] > 1000
        assert row["stack"] == 0, "what is marched should be in registers"
        assert row["shared"] <= 48 * 1024


@torch.no_grad()
@pytest.mark.gpu
@pytest.mark.parametrize("fine", [True, False])
@pytest.mark.parametrize("changes", [{}, {"plane_channels": 32, "hidden": 64, "colours": 32}])
def test_a_gpu_sees_what_the_plain_march_sees(changes: dict[str, Any], fine: bool) -> None:
    generator, planes = a_head(**changes)
    rays = camera_rays(CAMERAS, 40)
    expected = generator.march(planes, rays, fine=fine)
    generator.cuda()
    march = TritonMarch(generator)
    found = march(planes.cuda(), Rays(*(each.cuda() for each in rays)), fine, True)
    assert_close(Composite(*(each.cpu() for each in found)), expected, MOVED if fine else CLOSE)


@pytest.mark.gpu
def test_a_lean_network_on_a_gpu_marches_in_triton() -> None:
    network = tiny_network()
    lean = make_lean(copy.deepcopy(network).cuda())
    assert isinstance(lean.decoder.marcher, TritonMarch)
    with torch.no_grad():
        planes = network.decoder.planes(torch.randn(2, network.decoder.latents, 16))
        expected = network.decoder.look(planes, CAMERAS)
        found = lean.decoder.look(planes.cuda(), CAMERAS.cuda())
    assert_close(Composite(*(each.cpu() for each in found)), expected, MOVED)
