from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from tiny import SIZES, labels, tiny_network
from torch import Tensor, nn

from tpvideo.stages.networks import fused_conv
from tpvideo.stages.networks.fused_conv import FusedConv, fuse
from tpvideo.stages.networks.lean import fold_norms, make_lean
from tpvideo.stages.networks.triplanenet import TriPlaneNet

CAMERAS = labels((0.2, 0.1), (-0.5, 0.0))


def varied_network(**changes: Any) -> TriPlaneNet:
    """A network whose batch norms have something to do."""
    network = tiny_network(**changes)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean):
                assert tensor is not None
                tensor.data.normal_(0.3, 0.4)
            assert module.running_var is not None
            module.running_var.uniform_(0.3, 2.0)
    return network


@torch.inference_mode()
def picture(network: TriPlaneNet, count: int) -> Tensor:
    images = torch.linspace(-1, 1, 32).expand(count, 3, 32, 32)
    found = network.invert(images, CAMERAS[:count])
    return network.render(found.planes, found.ws, CAMERAS[:count]).image


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("activation", ["lrelu", "prelu"])
def test_a_lean_network_draws_the_same_pictures(count: int, activation: str) -> None:
    sizes = tiny_network_parts(activation)
    network = varied_network(**sizes)
    before = picture(network, count)
    lean = picture(make_lean(network), count)
    assert before.std() > 0.05
    # a compiled march leaves out what adds up to a quarter of a level
    torch.testing.assert_close(lean, before, atol=2e-3, rtol=0)


def tiny_network_parts(activation: str) -> dict[str, Any]:
    return {part: {**SIZES[part], "activation": activation} for part in ("encoder", "offsets")}


def test_a_lean_network_in_bfloat16_stays_close() -> None:
    network = varied_network()
    before = picture(network, 1)
    lean = make_lean(network, torch.bfloat16)
    assert next(lean.psp_encoder.input_layer.parameters()).dtype == torch.bfloat16
    after = picture(lean, 1)
    assert after.dtype == torch.float32
    assert (after - before).square().mean() < 4 * 10**-4  # 40 dB of a range of 2
    torch.testing.assert_close(picture(make_lean(lean, torch.bfloat16), 1), after)


def test_a_norm_before_a_convolution_stays_and_one_behind_it_goes() -> None:
    chain = nn.Sequential(
        nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.LeakyReLU(0.2)
    ).eval()
    chain[2].running_mean.normal_()
    chain[2].running_var.uniform_(0.5, 2)
    x = torch.randn(2, 3, 6, 6)
    with torch.no_grad():
        before = chain(x.clone())
        fold_norms(chain)
        torch.testing.assert_close(chain(x), before)
    assert [type(module) for module in chain] == [
        nn.BatchNorm2d,
        nn.Conv2d,
        nn.Identity,
        nn.LeakyReLU,
    ]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [1, 3])
@torch.inference_mode()
def test_a_fused_convolution_computes_it_and_all_leaky_relus_behind_it(
    stride: int, size: int
) -> None:
    torch.manual_seed(0)
    chain = nn.Sequential(
        nn.Conv2d(5, 7, size, stride, size // 2), nn.LeakyReLU(0.2), nn.LeakyReLU(0.5), nn.Tanh()
    ).requires_grad_(False)
    pictures = torch.randn(2, 5, 9, 9)
    before = chain(pictures)
    fuse(chain)
    assert [type(module) for module in chain] == [FusedConv, nn.Identity, nn.Identity, nn.Tanh]
    torch.testing.assert_close(chain(pictures), before)
    torch.testing.assert_close(chain(pictures[1:]), before[1:])  # packed for a batch of two


def test_an_activation_that_is_no_leaky_relu_stays() -> None:
    chain = nn.Sequential(nn.Conv2d(4, 4, 3), nn.PReLU(4), nn.LeakyReLU(0.2)).requires_grad_(False)
    fuse(chain)
    assert [type(module) for module in chain] == [FusedConv, nn.PReLU, nn.LeakyReLU]
    assert chain[0].kind == "none"


def test_without_fused_operators_the_plain_ones_draw_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = varied_network()
    plain = copy.deepcopy(network)
    fused = picture(make_lean(network), 1)
    monkeypatch.setattr(fused_conv, "can_fuse", lambda dtype: False)
    make_lean(plain)
    assert not any(isinstance(module, FusedConv) for module in plain.modules())
    torch.testing.assert_close(picture(plain, 1), fused, atol=1e-4, rtol=0)
