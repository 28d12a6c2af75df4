"""Convolutions with the SiLU behind them in one oneDNN step; see fused_conv.py, which does it for
the leaky ReLU."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tpvideo.stages.networks.fused_conv import can_fuse


class SiluConv(nn.Module):
    """A convolution and a SiLU.

    Args:
        conv: ungrouped, frozen, on the CPU, with the same stride and padding both ways.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        assert conv.groups == 1 and not isinstance(conv.padding, str)
        self.weight, self.bias = conv.weight, conv.bias
        self.stride, self.padding = list(conv.stride), list(conv.padding)
        self._packed: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """[B, I, H, W] -> [B, O, H', W']; the first picture decides how weights are laid out."""
        if self._packed is None:
            self._packed = torch.ops.mkldnn._reorder_convolution_weight(
                self.weight, self.padding, self.stride, [1, 1], 1, list(x.shape)
            )
        y: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self._packed, self.bias, self.padding, self.stride, [1, 1], 1, "swish", [], ""
        )
        return y


def fuse_silu(network: nn.Module) -> None:
    """Let every convolution of a frozen network on the CPU that a SiLU follows do it as well, in
    place; where torch lacks the operators, nothing changes."""
    if not can_fuse(torch.float32):
        return
    for chain in [m for m in network.modules() if isinstance(m, nn.Sequential)]:
        for place, module in enumerate(chain):
            if not isinstance(module, nn.SiLU):
                continue
            behind = place - 1
            while isinstance(chain[behind], nn.Identity):  # a norm that was folded
                behind -= 1
            before = chain[behind]
            if isinstance(before, nn.Conv2d):
                chain[behind], chain[place] = SiluConv(before), nn.Identity()
