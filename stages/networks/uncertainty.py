"""How far a picture may be believed where it is a mirror image: paper, appendix A and fig. 9."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

LEAST = 0.01
"""Smallest deviation that is ever said; the symmetric loss divides by it."""


class UncertaintyNet(nn.Module):
    """From a mirrored picture to the deviation σ that its pixels are expected to have from the
    true other side of the head. An encoder and decoder at 64 x 64, as in the paper; the layers
    are our own.

    Args:
        widths: channels at 32, 16, 8 and 4 pixels.
    """

    side = 64

    def __init__(self, widths: Sequence[int] = (32, 64, 96, 128)) -> None:
        super().__init__()
        inputs = (3, *widths[:-1])
        self.down = nn.ModuleList(
            nn.Conv2d(i, o, 4, 2, 1) for i, o in zip(inputs, widths, strict=True)
        )
        outputs = (*widths[-2::-1], widths[0])
        self.up = nn.ModuleList(
            nn.Conv2d(i, o, 3, 1, 1) for i, o in zip(widths[::-1], outputs, strict=True)
        )
        self.last = nn.Conv2d(widths[0], 1, 3, 1, 1)

    def forward(self, pictures: Tensor) -> Tensor:
        """[B, 1, H, W] deviations, at least LEAST, of mirrored pictures [B, 3, H, W], -1..1."""
        size = pictures.shape[-2:]
        x = F.interpolate(pictures, size=(self.side, self.side), mode="bilinear", antialias=True)
        for layer in self.down:
            x = F.leaky_relu(layer(x), 0.2)
        for layer in self.up:
            x = F.leaky_relu(layer(F.interpolate(x, scale_factor=2.0)), 0.2)
        deviation = F.softplus(self.last(x).float()) + LEAST
        return F.interpolate(deviation, size=size, mode="bilinear")
