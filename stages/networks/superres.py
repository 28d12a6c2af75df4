"""From the rendered feature image to the full picture (parity spec, section 10)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from tpvideo.stages.networks.layers import SynthesisBlock

CLAMP = 256.0
"""Limit of every convolution's output, as the published model was trained."""


class SuperResolution(nn.Module):
    """Two synthesis blocks, each of which doubles the picture.

    Args:
        features: F, channels of the feature image.
        widths: channels of the two blocks.
        style_dim: D.
        side: side of the feature image it is made for.
        image_channels: 3 for RGB, 4 for RGB and alpha; the first F are their coarse version.
    """

    def __init__(
        self,
        features: int,
        widths: Sequence[int],
        style_dim: int,
        side: int,
        image_channels: int = 3,
    ) -> None:
        super().__init__()
        first, second = widths
        self.block0 = SynthesisBlock(
            features, first, style_dim, 2 * side, image_channels, noise=False, clamp=CLAMP
        )
        self.block1 = SynthesisBlock(
            first, second, style_dim, 4 * side, image_channels, noise=False, clamp=CLAMP
        )
        self.side = side

    def forward(self, image: Tensor, features: Tensor, latent: Tensor) -> Tensor:
        """Picture of four times the sides.

        Args:
            image: [B, image_channels, H, W] coarse picture, -1..1.
            features: [B, F, H, W], -1..1.
            latent: [B, D], used by all six layers.
        """
        ws = latent[:, None].expand(-1, 3, -1)
        x, image = self.block0(features, image, ws)
        _, image = self.block1(x, image, ws)
        return image
