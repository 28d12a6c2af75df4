"""The style encoder: from a face crop to one latent code for each layer of the generator."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tpvideo.stages.networks.layers import EqualLinear
from tpvideo.stages.networks.trunk import Activation, Trunk

HEAD_SLOPE = 0.01


class StyleHead(nn.Module):
    """Halve a pyramid level down to a single pixel; that pixel is one latent code."""

    def __init__(self, channels: int, style_dim: int, side: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for step in range(side.bit_length() - 1):
            layers.append(nn.Conv2d(style_dim if step else channels, style_dim, 3, 2, 1))
            layers.append(nn.LeakyReLU(HEAD_SLOPE))
        self.convs = nn.Sequential(*layers)
        self.linear = EqualLinear(style_dim, style_dim)

    def forward(self, level: Tensor) -> Tensor:
        """level: [B, channels, side, side] -> [B, style_dim]."""
        code: Tensor = self.linear(self.convs(level).flatten(1).to(self.linear.weight.dtype))
        return code


class StyleEncoder(Trunk):
    """Feature-pyramid encoder of parity section 11; the defaults are the published sizes.

    Args:
        in_channels: channels of the picture.
        widths: channels of the stem and of the four trunk stages; the last equals `pyramid`.
        units: residual units in each trunk stage.
        pyramid: channels of every pyramid level.
        style_dim: numbers in one latent code.
        style_counts: how many codes the coarse, middle and fine level give.
        side: picture side in pixels, a power of two of at least 32.
        reduction: how much narrower the squeeze of each unit is.
        activation: the trunk's nonlinearity, see `trunk.Activation`.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        widths: Sequence[int] = (64, 64, 128, 256, 512),
        units: Sequence[int] = (3, 4, 14, 3),
        pyramid: int = 512,
        style_dim: int = 512,
        style_counts: Sequence[int] = (3, 4, 7),
        side: int = 256,
        reduction: int = 16,
        activation: Activation = "prelu",
    ) -> None:
        super().__init__(
            in_channels=in_channels,
            widths=widths,
            units=units,
            reduction=reduction,
            activation=activation,
        )
        if widths[4] != pyramid:
            raise ValueError(f"last width must equal pyramid={pyramid}, got {widths[4]}")
        if side < 32 or side & (side - 1):
            raise ValueError(f"side must be a power of two of at least 32, got {side}")
        self.side = side
        self.style_counts = tuple(style_counts)
        self.styles = nn.ModuleList(
            StyleHead(pyramid, style_dim, level_side)
            for level_side, count in zip(
                (side // 16, side // 8, side // 4), style_counts, strict=True
            )
            for _ in range(count)
        )
        self.latlayer1 = nn.Conv2d(widths[3], pyramid, 1)
        self.latlayer2 = nn.Conv2d(widths[2], pyramid, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Encode faces.

        Args:
            image: [B, in_channels, side, side], -1 to 1.

        Returns:
            [B, sum(style_counts), style_dim] codes, relative to the average latent.
        """
        if image.shape[2:] != (self.side, self.side):
            raise ValueError(f"image must be {self.side} pixels square, got {tuple(image.shape)}")
        outputs = self.trunk(image)
        fine, middle, coarse = (outputs[start] for start in self.stage_starts[2:])
        middle = enlarge(coarse) + self.latlayer1(middle)  # [B, pyramid, side/8, side/8]
        fine = enlarge(middle) + self.latlayer2(fine)  # [B, pyramid, side/4, side/4]
        levels = [
            level
            for level, count in zip((coarse, middle, fine), self.style_counts, strict=True)
            for _ in range(count)
        ]
        codes = [head(level) for head, level in zip(self.styles, levels, strict=True)]
        return torch.stack(codes, dim=1)


def enlarge(x: Tensor) -> Tensor:
    """Twice the side, bilinear between corner centres (align_corners)."""
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True)
