"""Convolutions of a frozen network in float32 as numba compiles them for a CPU.

What a batch norm, `torch.nn.Conv2d` and activations in a row compute, in one step.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tpvideo.stages.networks.direct import Direct
from tpvideo.stages.networks.fused_conv import activations_behind
from tpvideo.stages.networks.winograd import Floats, Winograd, can_convolve, has_loops, numbers

Activation = nn.LeakyReLU | nn.PReLU
"""Those that are linear on either side of 0."""


class CompiledConv(nn.Module):
    """A convolution and what is around it.

    Args:
        conv: one for which `can_compile`.
        before: a batch norm in evaluation mode; zeros around the picture stay zeros.
        behind: activations.
    """

    def __init__(
        self, conv: nn.Conv2d, before: nn.BatchNorm2d | None, behind: Sequence[Activation]
    ) -> None:
        super().__init__()
        stride, border = conv.stride[0], int(conv.padding[0])
        is_same = stride == border == 1
        self.convolve: Winograd | Direct = (
            Winograd(conv.weight)
            if is_same and can_convolve(conv.weight)
            else Direct(conv.weight, stride, border)
        )
        self.weight = nn.Parameter(conv.weight.new_empty(0), requires_grad=False)  # its type stays
        self.bias = None if conv.bias is None else numbers(conv.bias)
        self.slopes = numbers(slopes_of(behind, conv.out_channels))
        self.scale: Floats | None = None
        self.shift: Floats | None = None
        if before is not None:
            assert before.running_mean is not None and before.running_var is not None
            scale = (before.weight * torch.rsqrt(before.running_var + before.eps)).detach()
            self.scale = numbers(scale)
            self.shift = numbers(before.bias - before.running_mean * scale)

    def forward(self, x: Tensor) -> Tensor:
        """[B, I, H, W] -> [B, O, H', W']."""
        return self.convolve(
            x, scale=self.scale, shift=self.shift, bias=self.bias, slopes=self.slopes
        )


def compile_convs(chain: nn.Sequential) -> None:
    """Let every convolution of a chain do the batch norm before it and the activations behind it
    as well."""
    for place, conv in enumerate(chain):
        if not isinstance(conv, nn.Conv2d) or not can_compile(conv):
            continue
        before = chain[place - 1] if place else None
        norm = before if isinstance(before, nn.BatchNorm2d) else None
        if norm is not None:
            chain[place - 1] = nn.Identity()
        behind = activations_behind(chain, place, (nn.LeakyReLU, nn.PReLU))
        chain[place] = CompiledConv(conv, norm, behind)


def can_compile(conv: nn.Conv2d) -> bool:
    """Whether these loops compute this convolution: plain, square, float32, on a CPU with numba."""
    height, width = conv.kernel_size
    is_even = height == width and conv.stride[0] == conv.stride[1]
    is_plain = conv.groups == 1 and tuple(conv.dilation) == (1, 1)
    has_border = not isinstance(conv.padding, str) and conv.padding[0] == conv.padding[1]
    is_simple = is_even and is_plain and has_border and conv.padding_mode == "zeros"
    return is_simple and has_loops(conv.weight)


def slopes_of(activations: Sequence[Activation], channels: int) -> Tensor:
    """[channels] by what values below 0 are multiplied."""
    slopes = torch.ones(channels)
    for activation in activations:
        own = activation.weight if isinstance(activation, nn.PReLU) else activation.negative_slope
        # a slope below 0 makes values positive, and further activations leave them alone
        slopes = torch.where(slopes >= 0, slopes * own, slopes)
    return slopes.detach()
