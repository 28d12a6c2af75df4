"""Mapping network and synthesis network of StyleGAN2, as EG3D's tri-plane generator uses them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tpvideo.stages.networks.layers import SQRT2, EqualLinear, SynthesisBlock


def normalise_second_moment(x: Tensor) -> Tensor:
    """[B, D] scaled to unit mean square."""
    return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-8)


class MappingNetwork(nn.Module):
    """z and a camera label to W (parity spec, section 5). Inversion does not use it."""

    w_avg: Tensor

    def __init__(self, z_dim: int = 512, label_dim: int = 25, w_dim: int = 512) -> None:
        super().__init__()
        self.embed = EqualLinear(label_dim, w_dim)
        self.fc0 = EqualLinear(z_dim + w_dim, w_dim, rate=0.01)
        self.fc1 = EqualLinear(w_dim, w_dim, rate=0.01)
        self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(
        self, z: Tensor, label: Tensor, layers: int, *, psi: float = 1.0, cutoff: int | None = None
    ) -> Tensor:
        """[B, layers, D] latents.

        Args:
            z: [B, z_dim] standard normal.
            label: [B, 25].
            psi: truncation toward the average, for the first `cutoff` layers (None: for all).
        """
        x: Tensor = torch.cat(
            [normalise_second_moment(z), normalise_second_moment(self.embed(label))], dim=1
        )
        for layer in (self.fc0, self.fc1):
            x = F.leaky_relu(layer(x), 0.2) * SQRT2
        ws: Tensor = x[:, None].repeat(1, layers, 1)
        if psi != 1.0:
            ws[:, :cutoff] = torch.lerp(self.w_avg, ws[:, :cutoff], psi)
        return ws


class Synthesis(nn.Module):
    """StyleGAN2 synthesis network, skip architecture, from 4x4 up (parity spec, section 6).

    Args:
        style_dim: D, length of a latent.
        side: side of the output, a power of two.
        image_channels: channels of the output: 3 times those of a plane.
        widths: channels of the features at each side from 4 up to `side`.
        noise: whether layers add their fixed noise.
    """

    def __init__(
        self,
        style_dim: int,
        side: int,
        image_channels: int,
        widths: Mapping[int, int],
        *,
        noise: bool = True,
    ) -> None:
        super().__init__()
        self.sides = [2**k for k in range(2, side.bit_length())]
        previous = 0
        for block_side in self.sides:
            width = widths[block_side]
            block = SynthesisBlock(
                previous, width, style_dim, block_side, image_channels, noise=noise
            )
            self.add_module(f"b{block_side}", block)
            previous = width

    @property
    def blocks(self) -> list[SynthesisBlock]:
        """The blocks from coarse to fine."""
        found = [self.get_submodule(f"b{side}") for side in self.sides]
        return [block for block in found if isinstance(block, SynthesisBlock)]

    @property
    def latents(self) -> int:
        """How many latents a picture takes: a block's torgb shares one with the next block."""
        return 2 * len(self.sides)

    def forward(self, ws: Tensor) -> Tensor:
        """[B, latents, D] -> [B, image_channels, side, side]."""
        x: Tensor | None = None
        image: Tensor | None = None
        start = 0
        for block in self.blocks:
            x, image = block(x, image, ws[:, start : start + block.latents])
            start += block.latents - 1
        assert image is not None
        return image


class Backbone(nn.Module):
    """Mapping (optional) and synthesis under the names of published checkpoints."""

    def __init__(self, synthesis: Synthesis, mapping: MappingNetwork | None) -> None:
        super().__init__()
        self.synthesis = synthesis
        if mapping is not None:
            self.mapping = mapping
