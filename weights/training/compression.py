"""What block codecs take from pictures: JPEG, and the intra frames of video at low rates."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 8

# ITU-T T.81 (JPEG), annex K, tables K.1 and K.2: steps of the luminance and the chrominance.
_LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61), (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56), (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77), (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101), (72, 92, 95, 98, 112, 100, 103, 99),
)  # fmt: skip
_CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99), (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99), (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)  # fmt: skip


def compressed(pictures: Tensor, coarseness: Tensor) -> Tensor:
    """[B, 3, H, W] pictures as they come out of a codec: luma and half-size chroma in blocks of
    8 x 8 cosine coefficients, each rounded to a multiple of its step.

    Args:
        pictures: [B, 3, H, W], 0..1, sides multiples of 16.
        coarseness: [B] factor on JPEG's tables, >= 0: 0.2 is quality 90, 1 is 50, 5 is 10.
    """
    red, green, blue = pictures.unbind(dim=1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    chroma = torch.stack([(blue - luma) / 1.772, (red - luma) / 1.402], dim=1)
    half = F.avg_pool2d(chroma, 2)
    luma = rounded(luma[:, None], coarseness, _LUMINANCE)[:, 0]
    half = rounded(half, coarseness, _CHROMINANCE)
    bluish, reddish = F.interpolate(half, scale_factor=2.0, mode="bilinear").unbind(dim=1)
    red, blue = luma + 1.402 * reddish, luma + 1.772 * bluish
    green = (luma - 0.299 * red - 0.114 * blue) / 0.587
    return torch.stack([red, green, blue], dim=1).clamp(0, 1)


def rounded(channels: Tensor, coarseness: Tensor, table: tuple[tuple[int, ...], ...]) -> Tensor:
    """[B, C, H, W] with the cosine coefficients of its blocks rounded to multiples of the
    table's steps, in 255ths, times [B] coarseness."""
    basis = cosines().to(channels)
    steps = channels.new_tensor(table) / 255 * coarseness[:, None, None, None, None, None]
    steps = steps.clamp(min=1e-6)
    coefficients = torch.round(basis @ blocks(channels) @ basis.T / steps) * steps
    return unblocked(basis.T @ coefficients @ basis, channels.shape)


def cosines() -> Tensor:
    """[8, 8] orthonormal cosine basis, a row for each frequency (type II)."""
    frequency = torch.arange(BLOCK, dtype=torch.float32)[:, None]
    place = torch.arange(BLOCK, dtype=torch.float32)[None] + 0.5
    basis = torch.cos(math.pi / BLOCK * frequency * place) * math.sqrt(2 / BLOCK)
    basis[0] /= math.sqrt(2)
    return basis


def blocks(channels: Tensor) -> Tensor:
    """[B, C, H/8, W/8, 8, 8] of [B, C, H, W]."""
    batch, count, height, width = channels.shape
    return channels.reshape(batch, count, height // BLOCK, BLOCK, width // BLOCK, BLOCK).transpose(
        3, 4
    )


def unblocked(blocked: Tensor, shape: torch.Size) -> Tensor:
    """The reverse of `blocks`."""
    return blocked.transpose(3, 4).reshape(shape)
