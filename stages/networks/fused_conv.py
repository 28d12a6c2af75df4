"""Convolutions of a frozen network as oneDNN runs them best on a CPU.

What `torch.nn.Conv2d` computes, and the activation behind it, in one step; the weights are laid
out for the processor once instead of for every frame. The operators are torch's own, those that
its compiler uses; where they are missing, the plain modules stay.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class FusedConv(nn.Module):
    """A convolution and its activation.

    Args:
        conv: ungrouped, frozen, on the CPU.
        kind: what torch's operator calls the activation: none, leaky_relu, swish.
        numbers: that the activation has: a leaky ReLU its slope below 0.
    """

    def __init__(self, conv: nn.Conv2d, kind: str = "none", numbers: Sequence[float] = ()) -> None:
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias
        self.stride, self.padding = _pair(conv.stride), _pair(conv.padding)
        self.kind, self.numbers = kind, list(numbers)
        self._packed: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """[B, I, H, W] in the weights' type -> [B, O, H', W']; the first picture decides how the
        weights are laid out."""
        if self._packed is None:
            self._packed = torch.ops.mkldnn._reorder_convolution_weight(
                self.weight, self.padding, self.stride, [1, 1], 1, list(x.shape)
            )
            self.weight = nn.Parameter(
                self.weight.new_empty(0), requires_grad=False
            )  # its type stays
        y: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self._packed, self.bias, self.padding, self.stride, [1, 1], 1,
            self.kind, self.numbers, "",
        )  # fmt: skip
        return y


def fuse(chain: nn.Sequential) -> None:
    """Let every convolution of a chain do the leaky ReLUs, or the SiLU, behind it as well."""
    for place, conv in enumerate(chain):
        if not isinstance(conv, nn.Conv2d):
            continue
        if leaky := activations_behind(chain, place, nn.LeakyReLU):
            slope = math.prod(each.negative_slope for each in leaky)
            chain[place] = FusedConv(conv, "leaky_relu", [slope])
        elif activations_behind(chain, place, nn.SiLU, most=1):
            chain[place] = FusedConv(conv, "swish")
        else:
            chain[place] = FusedConv(conv)


def fuse_chains(network: nn.Module, dtype: torch.dtype = torch.float32) -> None:
    """`fuse` every chain of a frozen network on the CPU whose convolutions have this type, in
    place; where torch lacks the operators, nothing changes."""
    if can_fuse(dtype):
        for chain in [m for m in network.modules() if isinstance(m, nn.Sequential)]:
            fuse(chain)


def activations_behind(
    chain: nn.Sequential,
    place: int,
    kinds: type[nn.Module] | tuple[type[nn.Module], ...],
    most: int | None = None,
) -> list[Any]:
    """Take the activations of these kinds that follow the module at a place out of a chain, no more
    than `most` of them."""
    found: list[Any] = []
    for after in range(place + 1, len(chain)):
        if isinstance(chain[after], kinds) and len(found) != most:
            found.append(chain[after])
            chain[after] = nn.Identity()
        elif not isinstance(chain[after], nn.Identity):
            break
    return found


def can_fuse(dtype: torch.dtype) -> bool:
    """Whether torch has these operators here, for this type."""
    conv = nn.Conv2d(16, 16, 3, padding=1).requires_grad_(False).to(dtype)
    picture = torch.ones(1, 16, 4, 4, dtype=dtype)
    try:
        with torch.inference_mode():
            found: Tensor = FusedConv(conv, "leaky_relu", [0.1])(picture)
    except (AttributeError, RuntimeError, TypeError):
        return False
    return found.shape == picture.shape


def _pair(value: str | int | Sequence[int]) -> list[int]:
    assert not isinstance(value, str)
    return [value, value] if isinstance(value, int) else list(value)
