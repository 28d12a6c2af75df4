"""Tells pictures from renderings, place by place, for adversarial training."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class Discriminator(nn.Module):
    """Says of each part of a picture how real it looks.

    Each width is a convolution of 4 pixels that halves the sides; a part is what the last of them
    sees, 46 pixels wide with four.

    Args:
        channels: of the pictures.
        widths: channels after each halving.
    """

    def __init__(self, channels: int, widths: Sequence[int] = (32, 64, 96, 128)) -> None:
        super().__init__()
        inputs = (channels, *widths[:-1])
        self.down = nn.ModuleList(
            nn.Conv2d(i, o, 4, 2, 1) for i, o in zip(inputs, widths, strict=True)
        )
        self.last = nn.Conv2d(widths[-1], 1, 1)

    def forward(self, pictures: Tensor) -> Tensor:
        """[B, 1, h, w] logits, above 0 for real, of pictures [B, C, H, W], -1..1, whose sides are
        at least 2 to the number of widths."""
        x = pictures
        for layer in self.down:
            x = F.leaky_relu(layer(x), 0.2)
        logits: Tensor = self.last(x)
        return logits
