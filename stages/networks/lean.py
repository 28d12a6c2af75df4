"""A trained network made cheaper to run: same sizes, same names, fewer steps."""

from __future__ import annotations

import ctypes
import sys

import torch
from torch import nn

from tpvideo.stages.networks import fused_march, gpu_march
from tpvideo.stages.networks.compiled_conv import compile_convs
from tpvideo.stages.networks.encoder import StyleHead
from tpvideo.stages.networks.fused_conv import fuse_chains
from tpvideo.stages.networks.generator import Generator, Marcher
from tpvideo.stages.networks.layers import EqualLinear, ModulatedConv, SynthesisBlock
from tpvideo.stages.networks.triplanenet import TriPlaneNet
from tpvideo.stages.networks.trunk import SqueezeExcite
from tpvideo.stages.networks.winograd import has_loops


@torch.no_grad()
def make_lean(
    network: TriPlaneNet, dtype: torch.dtype = torch.float32, *, compiled: bool = True
) -> TriPlaneNet:
    """Prepare a network for inference, in place; afterwards it can neither be trained nor saved.

    A batch norm behind a convolution becomes part of its weights (exact but for rounding),
    activations work in place, and convolutions keep their weights and what they compute in
    `dtype`, channels last. Everything else stays in float32: latents, styles, planes, the volume
    rendering, which is a compiled one where it can be, and the picture that super-resolution sums
    up.

    Args:
        network: in evaluation mode, frozen.
        dtype: float32 or bfloat16; of convolutions.
        compiled: use loops that numba compiles where there are any: on a CPU the volume rendering,
            and in float32 convolutions and what lies between them.
    """
    for module in network.modules():
        if isinstance(module, nn.Sequential):
            fold_norms(module)
    in_loops = compiled and dtype == torch.float32
    on_cpu = network.latent_avg.device.type == "cpu"
    for module in network.modules():
        if isinstance(module, ModulatedConv):
            module.freeze(dtype, in_loops)
        elif isinstance(module, nn.Conv2d):
            module.to(dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        elif isinstance(module, nn.PReLU):
            module.to(dtype)
        elif isinstance(module, SynthesisBlock) and module.is_first:
            module.const.data = module.const.to(dtype)
        elif isinstance(module, SqueezeExcite):
            module.is_compiled = in_loops and has_loops(module.fc1.weight)
    for module in network.modules():
        if in_loops and isinstance(module, nn.Sequential):
            compile_convs(module)
    if on_cpu:
        fuse_chains(network, dtype)
    for module in network.modules():
        if isinstance(module, ModulatedConv):
            module.register_module("affine", scaled_linear(module.affine))
        elif isinstance(module, StyleHead):
            module.register_module("linear", scaled_linear(module.linear))
    if compiled:
        network.decoder.marcher = march_for(network.decoder)
    release_freed()
    return network


def release_freed() -> None:
    """Give the system the memory of the plain weights, which glibc would keep."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none
        if trim is not None:
            trim(0)


def march_for(generator: Generator) -> Marcher | None:
    """The compiled march of a generator's device; None where there is none."""
    kind = generator.decoder.get_parameter("net.0.weight").device.type
    makers = {"cpu": fused_march.march_for, "cuda": gpu_march.march_for}
    return makers[kind](generator) if kind in makers else None


def fold_norms(chain: nn.Sequential) -> None:
    """Move every batch norm of a chain that follows a convolution into it, and let the
    activations behind other modules work in place."""
    for place in range(1, len(chain)):
        before, module = chain[place - 1], chain[place]
        if isinstance(module, nn.BatchNorm2d) and isinstance(before, nn.Conv2d):
            absorb(before, module)
            chain[place] = nn.Identity()
        elif isinstance(module, nn.LeakyReLU | nn.SiLU):
            module.inplace = True


def scaled_linear(layer: nn.Module) -> nn.Module:
    """The same layer with its scales in its weights; any but an EqualLinear as it is."""
    if not isinstance(layer, EqualLinear):
        return layer
    outputs, inputs = layer.weight.shape
    scaled = nn.Linear(inputs, outputs, device=layer.weight.device).requires_grad_(False)
    scaled.weight.copy_(layer.weight * layer.gain)
    scaled.bias.copy_(layer.bias * layer.rate)
    return scaled


def absorb(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    """Let a convolution do what it and then the batch norm did."""
    assert norm.running_mean is not None and norm.running_var is not None
    factor = norm.weight * torch.rsqrt(norm.running_var + norm.eps)  # [O]
    bias = -norm.running_mean if conv.bias is None else conv.bias - norm.running_mean
    conv.weight = nn.Parameter(conv.weight * factor[:, None, None, None], requires_grad=False)
    conv.bias = nn.Parameter(norm.bias + bias * factor, requires_grad=False)
