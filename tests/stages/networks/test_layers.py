from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tpvideo.stages.networks.layers import (
    EqualLinear,
    ModulatedConv,
    SynthesisBlock,
    SynthesisLayer,
    ToRGB,
    expect_shape,
    resampling_filter,
    upsample2,
)

EXACT: dict[str, Any] = {"atol": 1e-5, "rtol": 1e-5}  # order of summation


def modulated(x: Tensor, weight: Tensor, style: Tensor, *, demodulate: bool, up: bool) -> Tensor:
    """Parity spec 4.4 word for word: a weight for every sample, zeros inserted, then smoothed."""
    results = []
    for picture, scales in zip(x, style, strict=True):
        kernel = weight * scales[None, :, None, None]
        if demodulate:
            kernel = kernel * torch.rsqrt(kernel.square().sum((1, 2, 3), keepdim=True) + 1e-8)
        if up:
            wide = F.conv_transpose2d(picture[None], kernel.transpose(0, 1), stride=2)
            taps = (4 * resampling_filter()).expand(len(kernel), 1, 4, 4)
            results.append(F.conv2d(F.pad(wide, (1, 1, 1, 1)), taps, groups=len(kernel)))
        else:
            results.append(F.conv2d(picture[None], kernel, padding=weight.shape[-1] // 2))
    return torch.cat(results)


def test_a_wrong_shape_is_named_with_what_was_wanted() -> None:
    expect_shape("planes", torch.zeros(2, 3), (None, 3))
    with pytest.raises(ValueError, match=r"planes must have shape \[any, 4\], got \[2, 3\]"):
        expect_shape("planes", torch.zeros(2, 3), (None, 4))
    with pytest.raises(ValueError, match=r"got \[2, 3\]"):
        expect_shape("planes", torch.zeros(2, 3), (2, 3, 1))


def test_equal_linear_scales_weight_and_bias_when_used() -> None:
    layer = EqualLinear(4, 1, rate=0.01, bias_init=3.0)
    assert layer.bias.item() == pytest.approx(300)
    layer.weight.data[:] = torch.tensor([[100.0, 200.0, 0.0, -100.0]])
    # 0.01 / sqrt(4) * (100 + 200 * 2 - 100 * 4) + 0.01 * 300
    assert layer(torch.tensor([1.0, 2.0, 3.0, 4.0])).item() == pytest.approx(3.5)


def test_doubling_mixes_three_parts_of_a_pixel_with_one_of_its_neighbour() -> None:
    row = torch.tensor([4.0, 8.0]).reshape(1, 1, 1, 2).expand(1, 1, 4, 2)
    middle = upsample2(row)[0, 0, 3]  # rows far from the border repeat
    torch.testing.assert_close(middle, torch.tensor([3.0, 5.0, 7.0, 6.0]))


def test_doubling_is_zero_insertion_and_the_filter() -> None:
    x = torch.randn(2, 3, 5, 6)
    inserted = torch.zeros(2, 3, 10, 12)
    inserted[:, :, ::2, ::2] = x
    taps = (4 * resampling_filter()).expand(3, 1, 4, 4)
    slow = F.conv2d(F.pad(inserted, (2, 1, 2, 1)), taps, groups=3)
    torch.testing.assert_close(upsample2(x), slow, **EXACT)


@pytest.mark.parametrize("upsample", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_modulated_convolution_is_one_with_modulated_weights(
    upsample: bool, training: bool
) -> None:
    conv = ModulatedConv(5, 7, 4, upsample=upsample).train(training)
    x, style = torch.randn(3, 5, 6, 6), 1 + 0.5 * torch.randn(3, 5)
    fast = conv.convolve(x, style) * conv.demodulation(style)[:, :, None, None]
    slow = modulated(x, conv.weight, style, demodulate=True, up=upsample)
    torch.testing.assert_close(fast, slow, **EXACT)


def test_the_folded_kernel_is_kept_and_forgotten_when_weights_load_or_move() -> None:
    conv = ModulatedConv(2, 2, 4, upsample=True).requires_grad_(False).eval()
    other = ModulatedConv(2, 2, 4, upsample=True)
    x, style = torch.randn(1, 2, 4, 4), torch.ones(1, 2)

    def check() -> None:
        slow = modulated(x, conv.weight, style, demodulate=False, up=True)
        torch.testing.assert_close(conv.convolve(x, style), slow, **EXACT)

    check()
    assert conv._derived() is conv._derived()
    conv.load_state_dict(other.state_dict())
    check()
    conv.load_state_dict(ModulatedConv(2, 2, 4, upsample=True).state_dict(), assign=True)
    conv.requires_grad_(False)
    check()
    conv.train()
    conv.weight.mul_(2)
    conv.eval()
    check()
    assert conv.double()._derived().kernel.dtype == torch.float64


def test_the_upsampling_kernel_passes_gradients_to_the_weight() -> None:
    conv = ModulatedConv(2, 3, 4, upsample=True).eval()
    loss = conv.convolve(torch.randn(1, 2, 4, 4), torch.ones(1, 2)).square().sum()
    loss.backward()  # type: ignore[no-untyped-call]
    assert conv.weight.grad is not None and conv.weight.grad.abs().min() > 0


@pytest.mark.parametrize("upsample", [False, True])
def test_synthesis_layer_is_convolution_noise_bias_activation_and_clamp(upsample: bool) -> None:
    layer = SynthesisLayer(3, 4, 6, 8, upsample=upsample, clamp=1.5).eval()
    layer.noise_strength.data.fill_(0.7)
    layer.bias.data.normal_()
    side = 4 if upsample else 8
    x, latent = torch.randn(2, 3, side, side), torch.randn(2, 6)
    style = latent @ (layer.affine.weight / math.sqrt(6)).T + layer.affine.bias
    slow = modulated(x, layer.weight, style, demodulate=True, up=upsample)
    slow = slow + 0.7 * layer.noise_const + layer.bias[None, :, None, None]
    slow = (torch.where(slow > 0, slow, 0.2 * slow) * math.sqrt(2)).clamp(-1.5, 1.5)
    fast = layer(x, latent)
    torch.testing.assert_close(fast, slow, **EXACT)
    assert (fast.abs() == 1.5).any()  # the clamp was reached


def test_to_rgb_neither_demodulates_nor_activates() -> None:
    layer = ToRGB(4, 3, 6)
    x, latent = torch.randn(2, 4, 5, 5), torch.randn(2, 6)
    style = layer.affine(latent) / 2  # sqrt(4)
    slow = modulated(x, layer.weight, style, demodulate=False, up=False)
    torch.testing.assert_close(layer(x, latent), slow, **EXACT)


def test_a_block_adds_its_picture_to_the_doubled_one() -> None:
    block = SynthesisBlock(3, 4, 6, 8, 2).eval()
    x, image, ws = torch.randn(2, 3, 4, 4), torch.randn(2, 2, 4, 4), torch.randn(2, 3, 6)
    assert block.latents == 3
    features, picture = block(x, image, ws)
    _, alone = block(x, None, ws)
    assert features.shape == (2, 4, 8, 8)
    torch.testing.assert_close(picture, alone + upsample2(image), **EXACT)


def test_the_first_block_starts_from_its_constant() -> None:
    block = SynthesisBlock(0, 4, 6, 4, 2).eval()
    ws = torch.randn(2, 2, 6)
    assert block.latents == 2
    features, picture = block(None, None, ws)
    constant = block.const[None].expand(2, -1, -1, -1)
    torch.testing.assert_close(features, block.conv1(constant, ws[:, 0]), **EXACT)
    torch.testing.assert_close(picture, block.torgb(features, ws[:, 1]), **EXACT)
