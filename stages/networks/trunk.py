"""The convolutional trunk that both encoders share: a stem and four stages of residual units.

Spec: parity, section 11. Stage k halves the side k times, so a picture of side S leaves the
trunk at S/16.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tpvideo.stages.networks.compiled_pixels import gated

Activation = Literal["prelu", "lrelu"]
"""`prelu` learns a slope for each channel (as published); `lrelu` is fixed and trains faster."""

LEAKY_SLOPE = 0.2


def activation_layer(kind: Activation, channels: int) -> nn.Module:
    """The trunk's nonlinearity over `channels` channels; `kind` is `prelu` or `lrelu`."""
    if kind == "prelu":
        return nn.PReLU(channels)
    if kind == "lrelu":
        return nn.LeakyReLU(LEAKY_SLOPE)
    raise ValueError(f"activation must be 'prelu' or 'lrelu', got {kind!r}")


class SqueezeExcite(nn.Module):
    """Scale every channel by a gate in (0, 1) that its mean over the picture decides."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        squeezed = max(1, channels // reduction)
        self.fc1 = nn.Conv2d(channels, squeezed, 1, bias=False)
        self.fc2 = nn.Conv2d(squeezed, channels, 1, bias=False)
        self.is_compiled = False

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, C, H, W]; the result has the same shape."""
        # As matrix products: on a CPU a convolution of one pixel takes ten times as long.
        squeezed = torch.relu(F.linear(x.mean(dim=(2, 3)), self.fc1.weight.flatten(1)))
        gates = torch.sigmoid(F.linear(squeezed, self.fc2.weight.flatten(1)))  # [B, C]
        return x * gates[:, :, None, None]

    def onto(self, shortcut: Tensor, stride: int, x: Tensor) -> Tensor:
        """[B, C, H, W] the scaled x plus every stride-th pixel of [B, C, stride H, stride W]."""
        weights = self.fc1.weight, self.fc2.weight
        if self.is_compiled and not torch.is_grad_enabled():
            first, second = (weight.flatten(1).T for weight in weights)
            return gated(x, first, second, shortcut, stride)
        scaled: Tensor = self(x)
        return scaled + shortcut[:, :, ::stride, ::stride]


class ResidualUnit(nn.Module):
    """Pre-normalised 3x3 pair with squeeze-excitation, added to a subsampled shortcut."""

    def __init__(
        self, channels_in: int, channels: int, stride: int, reduction: int, activation: Activation
    ) -> None:
        super().__init__()
        self.stride = stride
        self.shortcut_layer: nn.Module | None = None
        if channels_in != channels:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False),
                nn.BatchNorm2d(channels),
            )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(channels_in),
            nn.Conv2d(channels_in, channels, 3, 1, 1, bias=False),
            activation_layer(activation, channels),
            nn.Conv2d(channels, channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(channels),
            SqueezeExcite(channels, reduction),
        )

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, channels_in, H, W] -> [B, channels, H/stride, W/stride]."""
        *layers, gate = self.res_layer
        residual = x
        for layer in layers:
            residual = layer(residual)
        assert isinstance(gate, SqueezeExcite)
        if self.shortcut_layer is None:
            return gate.onto(x, self.stride, residual)
        return gate.onto(self.shortcut_layer(x), 1, residual)


class Trunk(nn.Module):
    """Stem and residual units; the encoders add their own heads to it.

    Args:
        in_channels: channels of the picture.
        widths: channels of the stem and of the four stages.
        units: residual units in each stage, at least one; the first halves the side.
        reduction: how much narrower the squeeze of each unit is.
        activation: see `Activation`.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        widths: Sequence[int],
        units: Sequence[int],
        reduction: int,
        activation: Activation,
    ) -> None:
        super().__init__()
        if len(widths) != 5 or len(units) != 4 or min(units) < 1:
            raise ValueError(
                f"need five widths and four counts of at least 1, got {widths}, {units}"
            )
        self.stage_starts = [sum(units[:stage]) for stage in range(5)]
        self.input_layer = nn.Sequential(
            nn.Conv2d(in_channels, widths[0], 3, 1, 1, bias=False),
            nn.BatchNorm2d(widths[0]),
            activation_layer(activation, widths[0]),
        )
        self.body = nn.ModuleList(
            ResidualUnit(
                widths[stage] if unit == 0 else widths[stage + 1],
                widths[stage + 1],
                2 if unit == 0 else 1,
                reduction,
                activation,
            )
            for stage in range(4)
            for unit in range(units[stage])
        )

    def trunk(self, image: Tensor) -> list[Tensor]:
        """Outputs of the stem and of every unit in order, for a picture [B, C, S, S] with S a
        multiple of 16."""
        dtype = next(self.input_layer.parameters()).dtype
        x: Tensor = self.input_layer(image.to(dtype))
        outputs = [x]
        for unit in self.body:
            x = unit(x)
            outputs.append(x)
        return outputs
