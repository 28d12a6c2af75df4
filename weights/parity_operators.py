"""Golden values of the small operators, each through the very function the networks use."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tpvideo.stages.networks.encoder import enlarge
from tpvideo.stages.networks.generator import resize
from tpvideo.stages.networks.layers import (
    ModulatedConv,
    SynthesisLayer,
    resampling_filter,
    upsample2,
)
from tpvideo.stages.networks.triplane import sample_planes
from tpvideo.stages.networks.volume import composite, importance_depths, interval_weights
from tpvideo.weights.goldens import Recorder
from tpvideo.weights.rule import draw

NEAR, FAR, SAMPLES = 2.25, 3.3, 48


def check_operators(salt: str, put: Recorder) -> None:
    """`ops.npz`: filter, modulated convolutions, resizing, lookup, marching."""

    def drawn(key: str, *shape: int) -> Tensor:
        return torch.from_numpy(draw(salt, key, shape)).float()

    put("filter", resampling_filter())
    put("upsample2d.out", upsample2(drawn("op.up.x", 1, 2, 5, 6)))
    put("bias_act.out", _bias_and_activation(drawn))
    for name, upsample in (("up1", False), ("up2", True)):
        convolved = _modulated(drawn, f"op.mc{name[-1]}", upsample)
        put(f"modconv_{name}.fused", convolved)
        put(f"modconv_{name}.unfused", convolved)
    put("modconv_1x1_nodemod", _to_rgb(drawn))
    picture = drawn("op.rs.x", 1, 2, 24, 24)
    put("resize_24_to_16", resize(picture, 16))
    put("resize_24_to_36", resize(picture, 36))
    put("upsample_corners", enlarge(drawn("op.uc.x", 1, 2, 5, 5)))
    put("grid_sample", _lookup(drawn))
    _march(drawn, put)


Drawn = Callable[..., Tensor]


def _bias_and_activation(drawn: Drawn) -> Tensor:
    """A synthesis layer whose convolution passes its input through."""
    layer = SynthesisLayer(3, 3, 1, 4, noise=False, clamp=256.0)
    layer.weight.data.zero_()
    layer.weight.data[range(3), range(3), 1, 1] = 1.0
    layer.bias.data = drawn("op.ba.b", 3)
    layer.affine.weight.data.zero_()  # style 1, its bias
    y: Tensor = layer(200 * drawn("op.ba.x", 1, 3, 4, 4), torch.zeros(1, 1))
    return y


def _modulated(drawn: Drawn, key: str, upsample: bool) -> Tensor:
    conv = ModulatedConv(5, 7, 1, upsample=upsample)
    conv.weight.data = drawn(f"{key}.w", 7, 5, 3, 3)
    style = 1 + 0.5 * drawn(f"{key}.s", 2, 5)
    y = conv.convolve(drawn(f"{key}.x", 2, 5, 8, 8), style)
    side = y.shape[-1]
    noise = 0.1 * drawn(f"{key}.n", side, side)
    return y * conv.demodulation(style)[:, :, None, None] + noise


def _to_rgb(drawn: Drawn) -> Tensor:
    conv = ModulatedConv(5, 3, 1, kernel=1)
    conv.weight.data = drawn("op.rgb.w", 3, 5, 1, 1)
    return conv.convolve(drawn("op.rgb.x", 2, 5, 4, 4), drawn("op.rgb.s", 2, 5))


def _lookup(drawn: Drawn) -> Tensor:
    """One picture as all three planes, looked up at the same place: their mean is the sample."""
    planes = drawn("op.gs.x", 1, 2, 4, 6).repeat(1, 3, 1, 1)
    places = 0.6 * drawn("op.gs.g", 1, 1, 20, 2)[:, 0]  # [1, 20, 2]
    points = torch.cat([places, torch.zeros(1, 20, 1)], dim=-1)
    features = sample_planes(planes, points, box=2.0, axes=((0, 1),) * 3)
    return features.transpose(1, 2)[:, :, None]


def _march(drawn: Drawn, put: Recorder) -> None:
    step = (FAR - NEAR) / (SAMPLES - 1)
    depths = (torch.linspace(NEAR, FAR, SAMPLES) + 0.5 * step).expand(1, 6, SAMPLES)
    sigmas = 6 * drawn("op.rm.s", 1, 6, SAMPLES, 1)[..., 0]
    colours = torch.sigmoid(drawn("op.rm.c", 1, 6, SAMPLES, 4))
    seen = composite(colours, sigmas, depths)
    weights = interval_weights(sigmas, depths)
    put("march.rgb", 2 * seen.features - 1)
    put("march.depth", seen.depths)
    put("march.weights", weights[..., None])
    put("importance.depths", importance_depths(depths, weights, SAMPLES)[..., None])
