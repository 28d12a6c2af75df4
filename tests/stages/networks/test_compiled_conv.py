from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tpvideo.stages.networks import winograd
from tpvideo.stages.networks.compiled_conv import CompiledConv, compile_convs, slopes_of
from tpvideo.stages.networks.direct import Direct
from tpvideo.stages.networks.layers import (
    SynthesisLayer,
    ToRGB,
    interleave,
    resampling_filter,
    upsample2,
    upsampling_kernel,
)
from tpvideo.stages.networks.trunk import SqueezeExcite
from tpvideo.stages.networks.winograd import Winograd, can_convolve

ROUNDING = 1e-5
"""Of sums over at most a thousand numbers of order 1, some ten times float32's last place."""


@pytest.fixture(autouse=True)
def needs_numba_and_the_same_numbers_every_time() -> Iterator[None]:
    pytest.importorskip("numba")
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(0)
        yield


@pytest.mark.parametrize("many", [0, 10**9])
@pytest.mark.parametrize(
    ("batch", "inputs", "each", "height", "width", "phases"),
    [
        (1, 8, 8, 1, 1, 1),
        (2, 16, 24, 9, 13, 1),
        (2, 32, 16, 18, 17, 4),
        (1, 16, 24, 7, 5, 4),
        (1, 48, 40, 4, 64, 1),
    ],
)
def test_winograd_computes_a_convolution_and_all_that_is_around_it(
    batch: int, inputs: int, each: int, height: int, width: int, phases: int, many: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(winograd, "MANY", many)
    fold = 2 if phases == 4 else 1
    x, weight = torch.randn(batch, inputs, height, width), torch.randn(each, inputs, 3, 3)
    weight /= math.sqrt(9 * inputs)
    scale, shift = torch.rand(batch, inputs), torch.randn(inputs)
    gain, bias = torch.rand(batch, each) + 0.5, torch.randn(each)
    noise, slopes = torch.randn(fold * height, fold * width), 2 * torch.rand(each) - 0.5
    found = Winograd(weight, phases)(
        x, scale=scale, shift=shift.numpy(), gain=gain, bias=bias, noise=noise,
        slopes=slopes.numpy(), limit=1.2,
    )  # fmt: skip
    kernel = upsampling_kernel(weight, resampling_filter()) if phases == 4 else weight
    y = F.conv2d(x * scale[..., None, None] + shift[:, None, None], kernel, padding=1)
    y = interleave(y) if phases == 4 else y
    y = y * gain[..., None, None] + bias[:, None, None] + noise
    expected = torch.where(y < 0, y * slopes[:, None, None], y).clamp(-1.2, 1.2)
    torch.testing.assert_close(found, expected, atol=ROUNDING, rtol=0)
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("many", [0, 10**9])
def test_winograd_rounds_little_more_than_a_plain_convolution_does(
    many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(winograd, "MANY", many)
    x, weight = torch.randn(1, 128, 20, 20), torch.randn(64, 128, 3, 3)
    exact = F.conv2d(x.double(), weight.double(), padding=1)
    plain = (F.conv2d(x, weight, padding=1) - exact).square().mean()
    assert (Winograd(weight)(x) - exact).square().mean() < 16 * plain  # 4 times as much


def test_winograd_is_for_whole_vectors_of_channels_in_float32() -> None:
    assert can_convolve(torch.zeros(16, 8, 3, 3))
    assert not can_convolve(torch.zeros(16, 9, 3, 3))
    assert not can_convolve(torch.zeros(9, 8, 3, 3))
    assert not can_convolve(torch.zeros(16, 8, 1, 1))
    assert not can_convolve(torch.zeros(16, 8, 3, 3, dtype=torch.bfloat16))


def test_many_weights_are_kept_once_and_few_ones_at_their_points() -> None:
    assert Winograd(torch.ones(256, 256, 3, 3)).weights.size == 9 * 256 * 256
    assert Winograd(torch.ones(256, 256, 3, 3), 4).weights.size == 9 * 256 * 256
    assert Winograd(torch.ones(32, 16, 3, 3)).weights.size == 36 * 32 * 16


def test_a_lean_layer_keeps_its_weights_for_the_loops_alone() -> None:
    layer = SynthesisLayer(8, 16, 6, 10, upsample=True).eval().requires_grad_(False)
    x, latent = torch.randn(1, 8, 5, 5), torch.randn(1, 6)
    expected = layer(x, latent)
    layer.freeze(torch.float32)
    assert layer.weight.numel() == 0
    torch.testing.assert_close(layer(x, latent), expected, atol=ROUNDING, rtol=0)
    layer.float()  # moves what there is, and loses nothing
    layer.freeze(torch.float32)
    torch.testing.assert_close(layer(x, latent), expected, atol=ROUNDING, rtol=0)


def test_a_lean_layer_refuses_gradients_and_training() -> None:
    with torch.inference_mode(mode=False), torch.enable_grad():
        layer = SynthesisLayer(8, 8, 6, 4).eval().requires_grad_(False)
        layer.freeze(torch.float32)
        latent = torch.randn(1, 6, requires_grad=True)
        with pytest.raises(RuntimeError, match="takes no gradients"):
            layer(torch.randn(1, 8, 4, 4), latent)
        with pytest.raises(RuntimeError, match="load the model once more"):
            layer.train()(torch.randn(1, 8, 4, 4), latent.detach())


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("side", [1, 3])
@pytest.mark.parametrize(("inputs", "outputs"), [(3, 5), (32, 24)])
def test_a_direct_convolution_is_torchs(inputs: int, outputs: int, side: int, stride: int) -> None:
    x, weight = torch.randn(2, inputs, 9, 14), torch.randn(outputs, inputs, side, side)
    weight /= side * math.sqrt(inputs)
    bias = torch.randn(outputs)
    found = Direct(weight, stride, side // 2)(x, bias=bias, slopes=0.3)
    expected = F.leaky_relu(F.conv2d(x, weight, bias, stride, side // 2), 0.3)
    torch.testing.assert_close(found, expected, atol=ROUNDING, rtol=0)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("inputs", [5, 16])
def test_a_chain_becomes_one_convolution_with_its_norm_and_activations(
    inputs: int, stride: int
) -> None:
    chain = nn.Sequential(
        nn.BatchNorm2d(inputs),
        nn.Conv2d(inputs, 8, 3, stride, 1),
        nn.PReLU(8),
        nn.LeakyReLU(0.3),
        nn.Conv2d(8, 4, 1, bias=False),
        nn.Tanh(),
    ).eval()
    for tensor in (chain[0].running_mean, chain[0].bias, chain[2].weight):
        tensor.data.normal_()
    chain[0].running_var.uniform_(0.5, 2)
    pictures = torch.randn(2, inputs, 9, 10)
    expected = chain(pictures)
    compile_convs(chain.requires_grad_(False))
    kinds = [type(module) for module in chain]
    nothing = nn.Identity
    assert kinds == [nothing, CompiledConv, nothing, nothing, CompiledConv, nn.Tanh]
    torch.testing.assert_close(chain(pictures), expected, atol=ROUNDING, rtol=0)
    torch.testing.assert_close(chain(pictures[1:]), chain(pictures)[1:], atol=0, rtol=0)


def test_slopes_of_activations_in_a_row_are_those_of_one() -> None:
    first, second = nn.PReLU(3), nn.PReLU(3)
    first.weight.data = torch.tensor([0.5, -2.0, 0.0])
    second.weight.data = torch.tensor([-3.0, 5.0, 7.0])
    x = torch.tensor([-1.0, -1.0, -1.0])[None]
    one = torch.where(x < 0, x * slopes_of([first, second], 3), x)
    torch.testing.assert_close(one, second(first(x)))
    assert slopes_of([], 2).tolist() == [1, 1]


@pytest.mark.parametrize("stride", [(2, 1), (3, 3)])
def test_what_the_loops_are_not_for_stays(stride: tuple[int, int]) -> None:
    odd = nn.Sequential(
        nn.Conv2d(4, 4, (3, 1), padding=(1, 0)),
        nn.Conv2d(4, 4, 3, stride, 1, dilation=2),
        nn.Conv2d(4, 4, 3, padding=1, groups=2),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(4, 4, 3, padding=1, dtype=torch.bfloat16),
    )
    compile_convs(odd)
    assert all(isinstance(module, nn.Conv2d) for module in odd)


@pytest.mark.parametrize(("channels", "colours"), [(16, 48), (24, 3), (5, 4)])
def test_colours_are_laid_onto_the_image_of_half_the_sides(channels: int, colours: int) -> None:
    plain = ToRGB(channels, colours, 6, clamp=0.8).eval().requires_grad_(False)
    plain.bias.data.normal_()
    x, latent = torch.randn(2, channels, 10, 14), torch.randn(2, 6)
    image = torch.randn(2, colours, 5, 7)
    own = plain(x, latent)
    plain.freeze(torch.float32)
    torch.testing.assert_close(plain.onto(None, x, latent), own, atol=ROUNDING, rtol=0)
    expected = upsample2(image) + own
    torch.testing.assert_close(plain.onto(image, x, latent), expected, atol=ROUNDING, rtol=0)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_gated_picture_is_laid_onto_the_shortcut(stride: int) -> None:
    gate = SqueezeExcite(24, 8).requires_grad_(False)
    x, shortcut = torch.randn(2, 24, 6, 5), torch.randn(2, 24, 6 * stride, 5 * stride)
    expected = gate(x) + shortcut[:, :, ::stride, ::stride]
    gate.is_compiled = True
    torch.testing.assert_close(gate.onto(shortcut, stride, x), expected, atol=ROUNDING, rtol=0)


def test_threads_share_a_convolution(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight = torch.randn(1, 16, 33, 40), torch.randn(16, 16, 3, 3)
    quick, plain = Winograd(weight), Direct(weight, 2, 1)
    alone = quick(x), plain(x)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert torch.equal(quick(x), alone[0])
    assert torch.equal(plain(x), alone[1])


def test_without_numba_torchs_convolutions_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winograd, "find_spec", lambda name: None)
    assert not can_convolve(torch.zeros(16, 8, 3, 3))
