"""How far one picture is from another; each takes (a, b) and returns one number a picture."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def psnr(a: Tensor, b: Tensor, mask: Tensor) -> Tensor:
    """[B] peak signal-to-noise ratio in dB over the masked pixels.

    Args:
        a, b: [B, C, H, W], 0..1.
        mask: [B, 1, H, W], 0..1 weights, not all zero in any picture.
    """
    squared = ((a - b) ** 2).mean(dim=1, keepdim=True)
    error = (squared * mask).sum(dim=(1, 2, 3)) / mask.sum(dim=(1, 2, 3))
    return -10 * torch.log10(error.clamp(min=1e-12))


def ssim(a: Tensor, b: Tensor, mask: Tensor) -> Tensor:
    """[B] structural similarity (Wang et al. 2004) over the masked pixels: Gaussian window of
    11 pixels and sigma 1.5, constants 0.01^2 and 0.03^2, mean over channels.

    Args: as for psnr.
    """
    value, _ = _likeness(a, b)
    weights = mask.expand_as(value)
    return (value * weights).sum(dim=(1, 2, 3)) / weights.sum(dim=(1, 2, 3))


def _likeness(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """[B, C, H, W] structural similarity, and its part without luminance; edges mirrored."""
    offsets = torch.arange(11, dtype=a.dtype, device=a.device) - 5
    line = torch.exp(-(offsets**2) / (2 * 1.5**2))
    line = line / line.sum()
    channels = a.shape[1]

    def blur(x: Tensor) -> Tensor:
        x = F.pad(x, (5, 5, 5, 5), mode="reflect")
        x = F.conv2d(x, line.expand(channels, 1, 1, 11), groups=channels)
        return F.conv2d(x, line[:, None].expand(channels, 1, 11, 1), groups=channels)

    mean_a, mean_b = blur(a), blur(b)
    var_a = blur(a * a) - mean_a**2
    var_b = blur(b * b) - mean_b**2
    both = blur(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    structure = (2 * both + c2) / (var_a + var_b + c2)
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return luminance * structure, structure


SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the five scales (Wang, Simoncelli and Bovik 2003), finest first."""


def ms_ssim(a: Tensor, b: Tensor) -> Tensor:
    """[B] multi-scale structural similarity over whole pictures: contrast and structure at five
    scales, each half as wide as the one before, luminance at the coarsest; mean over channels.

    Args:
        a, b: [B, C, H, W], 0..1, at least 176 pixels wide and high.
    """
    likeness = torch.ones(a.shape[:2], dtype=a.dtype, device=a.device)
    for number, exponent in enumerate(SCALES):
        luminance, structure = (part.mean(dim=(2, 3)).clamp(min=0) for part in _likeness(a, b))
        is_last = number == len(SCALES) - 1
        likeness = likeness * (luminance if is_last else structure) ** exponent
        if not is_last:
            a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
    return likeness.mean(dim=1)
