"""The networks that find a head in a picture, and its landmarks and turn in a square round it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

STRIDE = 8
"""Picture pixels for each cell of a FaceMap."""

POINTS = 68
"""Landmarks in the iBUG order, image-left first."""


class FaceMap(NamedTuple):
    """What the detector says of each cell; h = H / 8, w = W / 8."""

    score: Tensor
    """[B, h, w] logit that a head is centred here."""
    offset: Tensor
    """[B, 2, h, w] from the cell's centre to the head's centre, in cells, x then y."""
    log_side: Tensor
    """[B, h, w] natural logarithm of the side of the head's square, in cells."""
    turn: Tensor
    """[B, 2, h, w] cosine and sine of the head's roll, not normalised; > 0 is clockwise."""


class Landmarks(NamedTuple):
    """What is seen in a square crop."""

    points: Tensor
    """[B, 68, 2] in sides of the crop, x then y, (0, 0) at its upper left corner."""
    log_error: Tensor
    """[B, 68] natural logarithm of the expected error of a coordinate, in sides."""
    rotation: Tensor
    """[B, 3, 3] crop_from_world: world axes of the head in the crop's camera (x right, y down,
    z forward)."""
    score: Tensor
    """[B] logit that the crop holds one face, about where and as large as it should be."""


class FaceDetector(nn.Module):
    """Heads of 10 to 140 pixels in a picture of any size, as one map at stride 8.

    Args:
        widths: channels at strides 2, 4, 8, 16 and 32.
    """

    def __init__(self, widths: tuple[int, int, int, int, int] = (16, 24, 32, 56, 80)) -> None:
        super().__init__()
        stem, fine, middle, coarse, top = widths
        self.stem = nn.Sequential(_conv(3, stem, 2), _conv(stem, fine, 2))
        self.middle = nn.Sequential(_conv(fine, middle, 2), _Residual(middle))
        self.coarse = nn.Sequential(_conv(middle, coarse, 2), _Residual(coarse))
        self.top = nn.Sequential(_conv(coarse, top, 2), _Residual(top))
        self.coarse_from_top = nn.Conv2d(top, coarse, 1)
        self.middle_from_coarse = nn.Conv2d(coarse, middle, 1)
        self.merge = nn.Sequential(_Residual(middle), _conv(middle, middle))
        self.head = nn.Conv2d(middle, 6, 1)
        nn.init.constant_(self.head.bias[:1], -4.0)  # type: ignore[index]

    def forward(self, pictures: Tensor) -> FaceMap:
        """Args:
        pictures: [B, 3, H, W] in -1..1, sides multiples of 32.
        """
        middle = self.middle(self.stem(pictures))
        coarse = self.coarse(middle)
        top = self.top(coarse)
        coarse = coarse + functional.interpolate(self.coarse_from_top(top), scale_factor=2.0)
        middle = middle + functional.interpolate(self.middle_from_coarse(coarse), scale_factor=2.0)
        out = self.head(self.merge(middle))
        return FaceMap(out[:, 0], out[:, 1:3], out[:, 3], out[:, 4:6])


class LandmarkNet(nn.Module):
    """Landmarks, rotation and a verdict from a crop in about EG3D's framing.

    Args:
        side: pixels of the crop, a multiple of 16.
        widths: channels at strides 2, 4, 8 and 16.
        hidden: numbers between the picture and what is said of it.
    """

    def __init__(
        self,
        side: int = 96,
        widths: tuple[int, int, int, int] = (16, 32, 64, 96),
        hidden: int = 192,
    ) -> None:
        super().__init__()
        self.side = side
        first, second, third, fourth = widths
        squeezed = fourth // 2
        self.features = nn.Sequential(
            _conv(3, first, 2),
            _conv(first, second, 2),
            _Residual(second),
            _conv(second, third, 2),
            _Residual(third),
            _conv(third, fourth, 2),
            _Residual(fourth),
            _Residual(fourth),
            nn.Conv2d(fourth, squeezed, 1),
            nn.SiLU(),
        )
        self.hidden = nn.Sequential(nn.Linear(squeezed * (side // 16) ** 2, hidden), nn.SiLU())
        self.out = nn.Linear(hidden, 3 * POINTS + 7)
        nn.init.normal_(self.out.weight, std=0.01)
        with torch.no_grad():
            self.out.bias.zero_()
            self.out.bias[2 * POINTS : 3 * POINTS] = -3.0

    def forward(self, crops: Tensor) -> Landmarks:
        """Args:
        crops: [B, 3, side, side] in -1..1.
        """
        out = self.out(self.hidden(self.features(crops).flatten(1))).float()
        points, log_error, axes, score = out.split([2 * POINTS, POINTS, 6, 1], dim=1)
        return Landmarks(
            points.reshape(-1, POINTS, 2) + 0.5, log_error, rotation_6d(axes), score[:, 0]
        )


def rotation_6d(axes: Tensor) -> Tensor:
    """[B, 3, 3] rotations from [B, 6]: the first two rows, made orthonormal, and their product
    (Zhou et al. 2019, On the Continuity of Rotation Representations, eq. 11).

    Zero stands for a frontal head: x right, y up in the world, seen by a camera with y down.
    """
    frontal = axes.new_tensor([1.0, 0.0, 0.0, 0.0, -1.0, 0.0])
    first, second = (axes + frontal).reshape(-1, 2, 3).unbind(dim=1)
    right = functional.normalize(first, dim=1)
    down = functional.normalize(second - (right * second).sum(1, keepdim=True) * right, dim=1)
    return torch.stack([right, down, torch.linalg.cross(right, down)], dim=1)


def _conv(inside: int, outside: int, stride: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inside, outside, 3, stride, 1, bias=False), nn.BatchNorm2d(outside), nn.SiLU()
    )


class _Residual(nn.Module):
    """x plus two convolutions of x."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(_conv(channels, channels), _conv(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        branch: Tensor = self.branch(x)
        return x + branch
