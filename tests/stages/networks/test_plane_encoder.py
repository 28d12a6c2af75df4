from __future__ import annotations

from typing import Any

import pytest
import torch
from parity import SALT, fill, golden, own_keys, published_keys, tolerances

from tpvideo.stages.networks.plane_encoder import PlaneEncoder
from tpvideo.weights.rule import draw

SMALL: dict[str, Any] = {
    "plane_channels": 12,
    "widths": (8, 8, 12, 16, 24),
    "units": (1, 2, 2, 2),
    "up_widths": (24, 16, 12, 8),
    "head_width": 8,
    "side": 32,
    "plane_side": 32,
}


@pytest.mark.parametrize("up", ["nearest", "pixelshuffle"])
def test_keys_and_shapes_are_the_published_ones(up: Any) -> None:
    with torch.device("meta"):
        network = PlaneEncoder(up=up)
    expected = published_keys(f"keys_triplanenet_v2_{up}.json", "triplanenet_encoder.")
    assert len(expected) == 441
    assert own_keys(network) == expected


@pytest.mark.parametrize("up", ["nearest", "pixelshuffle"])
@pytest.mark.parametrize("units", [(1, 2, 2, 2), (1, 1, 1, 1), (2, 1, 3, 4)])
@pytest.mark.parametrize("plane_side", [32, 16])
def test_refined_planes_have_the_shape_of_the_planes(up: Any, units: Any, plane_side: int) -> None:
    sizes = {**SMALL, "up": up, "units": units, "plane_side": plane_side}
    network = PlaneEncoder(**sizes, activation="lrelu").eval()
    refined = network(torch.rand(2, 9, 32, 32), torch.rand(2, 12, plane_side, plane_side))
    assert refined.shape == (2, 12, plane_side, plane_side)
    assert torch.isfinite(refined).all()


def test_planes_do_not_depend_on_the_batch() -> None:
    torch.manual_seed(0)
    network = PlaneEncoder(**SMALL).eval()
    images, planes = torch.rand(4, 9, 32, 32) * 2 - 1, torch.randn(4, 12, 32, 32)
    together = network(images, planes)
    pairs = zip(images, planes, strict=True)
    alone = torch.cat([network(image[None], plane[None]) for image, plane in pairs])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)  # order of summation


def test_a_start_at_identity_changes_nothing_and_still_learns() -> None:
    torch.manual_seed(0)
    network = PlaneEncoder(**SMALL)
    network.start_at_identity()
    planes = torch.randn(1, 12, 32, 32)
    refined = network(torch.rand(1, 9, 32, 32), planes)
    assert torch.equal(refined, planes)
    refined.square().sum().backward()
    gradient = network.get_parameter("final_head_two.4.weight").grad
    assert gradient is not None and gradient.abs().max() > 0


def test_planes_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match=r"planes \[B, \(12, 32, 32\)\]"):
        PlaneEncoder(**SMALL)(torch.zeros(1, 9, 32, 32), torch.zeros(1, 12, 16, 16))


@pytest.mark.slow
@pytest.mark.parametrize("up", ["nearest", "pixelshuffle"])
def test_planes_of_the_golden_input(up: Any) -> None:
    network = PlaneEncoder(up=up)
    fill(network, "triplanenet_encoder.")
    images = torch.from_numpy(0.5 * draw(SALT, "op.tpe.x", (1, 9, 256, 256))).float()
    planes = torch.from_numpy(draw(SALT, "op.tpe.p", (1, 96, 256, 256))).float()
    with torch.inference_mode():
        refined = network(images, planes)[..., ::16, ::16].numpy()
    error = abs(refined - golden(f"final_{up}.npz")["unit.planes.s16"]).max()
    assert error <= tolerances(f"final_{up}.npz")["unit.planes.s16"]
