"""The tri-plane encoder: refine the generator's planes with what the first render missed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tpvideo.stages.networks.trunk import Activation, Trunk, activation_layer

Enlargement = Literal["nearest", "pixelshuffle"]
"""How the decoder doubles a side: repeat pixels, or trade four channels for one (v1's way)."""

UP_WIDTHS: dict[Enlargement, tuple[int, ...]] = {
    "nearest": (512, 256, 128, 64),
    "pixelshuffle": (512, 384, 256, 96),
}


class DoubleConv(nn.Module):
    """Batch norm, then two biased 3x3 convolutions; two activations end it, as published."""

    def __init__(self, channels_in: int, channels: int, activation: Activation) -> None:
        super().__init__()
        self.double_conv = nn.Sequential(
            nn.BatchNorm2d(channels_in),
            nn.Conv2d(channels_in, channels, 3, 1, 1),
            activation_layer(activation, channels),
            nn.Conv2d(channels, channels, 3, 1, 1),
            activation_layer(activation, channels),
            activation_layer(activation, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, channels_in, H, W] -> [B, channels, H, W]."""
        y: Tensor = self.double_conv(x)
        return y


class UpStage(nn.Module):
    """Enlarge the running tensor, put the skip in front of it, convolve twice."""

    def __init__(
        self,
        skip_channels: int,
        running_channels: int,
        channels: int,
        enlargement: nn.Module,
        activation: Activation,
    ) -> None:
        super().__init__()
        self.enlarge = enlargement
        self.conv = DoubleConv(skip_channels + running_channels, channels, activation)

    def forward(self, skip: Tensor, running: Tensor) -> Tensor:
        """skip: [B, skip_channels, H, W] at the side that `running` has once enlarged."""
        y: Tensor = self.conv(torch.cat((skip, self.enlarge(running)), dim=1))
        return y


class Nearest(nn.Module):
    """Twice the side by repeating every pixel."""

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, C, H, W] -> [B, C, 2H, 2W]."""
        return F.interpolate(x, scale_factor=2.0, mode="nearest")


class PlaneEncoder(Trunk):
    """U-Net of parity section 12; the defaults are the published sizes.

    Args:
        in_channels: channels of the stacked pictures.
        plane_channels: channels of all planes together.
        widths: channels of the stem and of the four trunk stages.
        units: residual units in each trunk stage.
        up: how the decoder doubles a side; see `Enlargement`.
        up_widths: channels of the four decoder stages; None takes the published ones for `up`.
        head_width: channels inside the head.
        side: picture side in pixels, a multiple of 16.
        plane_side: side of the planes, `side` or half of it.
        skip_stem: hand the stem's features to the head as well (not in the paper): the finest
            octave of the pictures then reaches planes of the same side.
        reduction: how much narrower the squeeze of each unit is.
        activation: the nonlinearity everywhere, see `trunk.Activation`.
    """

    def __init__(
        self,
        *,
        in_channels: int = 9,
        plane_channels: int = 96,
        widths: Sequence[int] = (64, 64, 128, 256, 512),
        units: Sequence[int] = (3, 4, 14, 3),
        up: Enlargement = "nearest",
        up_widths: Sequence[int] | None = None,
        head_width: int = 96,
        side: int = 256,
        plane_side: int = 256,
        reduction: int = 16,
        activation: Activation = "prelu",
        skip_stem: bool = False,
    ) -> None:
        super().__init__(
            in_channels=in_channels,
            widths=widths,
            units=units,
            reduction=reduction,
            activation=activation,
        )
        if side % 16 or plane_side not in (side, side // 2):
            raise ValueError(
                f"side must be a multiple of 16 and plane_side equal to it or half of it, "
                f"got {side} and {plane_side}"
            )
        up1, up2, up3, up4 = UP_WIDTHS[up] if up_widths is None else up_widths
        shrink = 4 if up == "pixelshuffle" else 1  # a pixel shuffle pays with channels
        double: nn.Module = nn.PixelShuffle(2) if up == "pixelshuffle" else Nearest()
        self.image_shape = (in_channels, side, side)
        self.planes_shape = (plane_channels, plane_side, plane_side)
        self.up1 = UpStage(widths[4], widths[4], up1, nn.Identity(), activation)
        self.up2 = UpStage(widths[3], up1 // shrink, up2, double, activation)
        self.up3 = UpStage(widths[2], up2 // shrink, up3, double, activation)
        self.up4 = UpStage(widths[1], up3 // shrink, up4, double, activation)
        same_side = plane_side == side
        self.up5 = double if same_side else nn.Identity()
        up5 = up4 // shrink if same_side else up4
        if skip_stem and not same_side:
            raise ValueError("skip_stem needs planes of the pictures' side")
        self.skip_stem = skip_stem
        stem = widths[0] if skip_stem else 0
        self.final_head_two = nn.Sequential(
            nn.Conv2d(plane_channels + up5 + stem, head_width, 3, 1, 1),
            activation_layer(activation, head_width),
            nn.Conv2d(head_width, head_width, 3, 1, 1),
            activation_layer(activation, head_width),
            nn.Conv2d(head_width, plane_channels, 1),
        )

    def forward(self, images: Tensor, planes: Tensor) -> Tensor:
        """Refine planes.

        Args:
            images: [B, in_channels, side, side] the first render and what it misses.
            planes: [B, plane_channels, plane_side, plane_side] from the generator.

        Returns:
            Refined planes, the shape of `planes`.
        """
        if images.shape[1:] != self.image_shape or planes.shape[1:] != self.planes_shape:
            raise ValueError(
                f"images must be [B, {self.image_shape}] and planes [B, {self.planes_shape}], "
                f"got {tuple(images.shape)} and {tuple(planes.shape)}"
            )
        outputs = self.trunk(images)
        skip1, skip2, skip3 = (outputs[start] for start in self.stage_starts[1:4])
        running = self.up1(outputs[self.stage_starts[3] + 1], outputs[-1])  # [B, up1, S/16, S/16]
        running = self.up2(skip3, running)  # [B, up2, S/8, S/8]
        running = self.up3(skip2, running)  # [B, up3, S/4, S/4]
        running = self.up4(skip1, running)  # [B, up4, S/2, S/2]
        parts = [planes.to(running.dtype), self.up5(running)]
        if self.skip_stem:
            parts.append(outputs[0])
        head: Tensor = self.final_head_two(torch.cat(parts, dim=1))
        return planes + head

    def start_at_identity(self) -> None:
        """Zero the last convolution, so that untrained the planes come back unchanged."""
        nn.init.zeros_(self.final_head_two[4].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.final_head_two[4].bias)  # type: ignore[arg-type]
