"""A small portrait matting network: which part of a picture is a person, from the picture alone.

Plain encoder and decoder after U-Net (Ronneberger et al. 2015): five halvings of the resolution,
residual separable blocks with wide depthwise kernels (after ConvNeXt, Liu et al. 2022), a global
summary at the coarsest step so that every place knows the whole picture, and the skip
connections of U-Net on the way back. The last step sees the picture again, for hair.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

STRIDE = 32
"""The sides of the picture must be multiples of this."""

WIDTHS = (16, 32, 56, 80, 128)
"""Channels at 1/2, 1/4, 1/8, 1/16 and 1/32 of the resolution; the shipped network's."""

DEPTHS = (0, 1, 2, 3, 3)
"""Residual blocks at the same steps; the shipped network's."""


class MattingNetwork(nn.Module):
    """Alpha of the people in a picture; MODNet's contract (`input` in -1..1, `output` in 0..1)."""

    def __init__(self, widths: Sequence[int] = WIDTHS, depths: Sequence[int] = DEPTHS) -> None:
        """Build with random weights.

        Args:
            widths: channels at 1/2, 1/4, ... of the resolution; five of them.
            depths: residual blocks at the same steps.
        """
        super().__init__()
        if len(widths) != 5 or len(depths) != 5:
            raise ValueError(f"five widths and depths are needed, got {widths} and {depths}")
        self.encoder = nn.ModuleList(
            nn.Sequential(_convolution(above, width, stride=2), *(_Block(width) for _ in range(n)))
            for above, width, n in zip((3, *widths[:-1]), widths, depths, strict=True)
        )
        self.summary = _Summary(widths[-1])
        self.decoder = nn.ModuleList(
            _Join(below, width) for width, below in zip(widths[-2::-1], widths[:0:-1], strict=True)
        )
        self.detail = _convolution(widths[0] + 3, 8)
        self.alpha = nn.Conv2d(8, 1, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """Alpha of every pixel.

        Args:
            image: [B, 3, H, W] RGB, -1..1; H and W multiples of 32.

        Returns:
            [B, 1, H, W] share of the pixel that is a person, 0..1.
        """
        return torch.sigmoid(self.logits(image))

    def logits(self, image: Tensor) -> Tensor:
        """[B, 1, H, W] alpha before its sigmoid, for losses that want it so."""
        steps = []
        step = image
        for encode in self.encoder:
            step = encode(step)
            steps.append(step)
        step = self.summary(steps.pop())
        for join in self.decoder:
            step = join(step, steps.pop())
        fine = torch.cat([_doubled(step), image], dim=1)  # [B, C+3, H, W]
        logits: Tensor = self.alpha(self.detail(fine))
        return logits


class _Block(nn.Module):
    """Residual: a wide depthwise kernel looks around, two pointwise ones decide."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.around = nn.Conv2d(width, width, 5, padding=2, groups=width, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.expand = nn.Conv2d(width, 2 * width, 1)
        self.reduce = nn.Conv2d(2 * width, width, 1)

    def forward(self, step: Tensor) -> Tensor:
        inner = functional.relu(self.expand(self.norm(self.around(step))))
        return step + self.reduce(inner)  # type: ignore[no-any-return]


class _Summary(nn.Module):
    """Adds to every place what the picture is about as a whole."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(width, width // 2, 1)
        self.spread = nn.Conv2d(width // 2, width, 1)

    def forward(self, step: Tensor) -> Tensor:
        whole = step.mean(dim=(2, 3), keepdim=True)  # [B, C, 1, 1]
        return step + self.spread(functional.relu(self.squeeze(whole)))  # type: ignore[no-any-return]


class _Join(nn.Module):
    """One step up: the coarse features, doubled, beside the encoder's of the same size."""

    def __init__(self, below: int, width: int) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(below, width, 1)
        self.mix = _convolution(2 * width, width)

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        # Narrowing before doubling does the same for a quarter of the work.
        beside = torch.cat([_doubled(self.narrow(coarse)), skip], dim=1)
        mixed: Tensor = self.mix(beside)
        return mixed


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _doubled(step: Tensor) -> Tensor:
    return functional.interpolate(step, scale_factor=2, mode="bilinear", align_corners=False)
