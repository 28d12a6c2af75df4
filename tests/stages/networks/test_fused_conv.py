from __future__ import annotations

import pytest
import torch
from torch import nn

from tpvideo.stages.networks.fused_conv import FusedConv, can_fuse, fuse_chains
from tpvideo.stages.networks.landmarks import LandmarkNet
from tpvideo.stages.networks.lean import fold_norms

needs_operators = pytest.mark.skipif(
    not can_fuse(torch.float32), reason="torch has no fused convolutions here"
)


@needs_operators
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(2, 16, 12, 12), (1, 16, 7, 9)])
def test_one_step_does_what_convolution_and_silu_do(
    stride: int, shape: tuple[int, int, int, int]
) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(16, 24, 3, stride, 1).requires_grad_(False)
    x = torch.randn(shape)
    with torch.inference_mode():
        fused = FusedConv(conv, "swish")
        fused(torch.randn(2, 16, 12, 12))  # lays the weights out for another picture
        torch.testing.assert_close(fused(x), nn.functional.silu(conv(x)), atol=1e-5, rtol=1e-5)


@needs_operators
def test_a_fused_landmark_network_says_the_same() -> None:
    torch.manual_seed(0)
    network = LandmarkNet(side=32).eval().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
    crops = torch.rand(2, 3, 32, 32) * 2 - 1
    with torch.inference_mode():
        plain = network(crops)
        for chain in [m for m in network.modules() if isinstance(m, nn.Sequential)]:
            fold_norms(chain)
        fuse_chains(network)
        fused = network(crops)
    convolutions = [m for m in network.features.modules() if isinstance(m, nn.Conv2d)]
    assert not convolutions  # every one has become a step
    for one, other in zip(plain, fused, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_what_no_convolution_precedes_stays() -> None:
    chain = nn.Sequential(nn.Linear(4, 4), nn.SiLU())
    fuse_chains(chain)
    assert isinstance(chain[1], nn.SiLU)
