"""The terms that training minimises; each takes what it compares and returns one number."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

SLAB = 0.02
"""Thickness (scene units) over which a surface should be opaque."""


def image_loss(picture: Tensor, target: Tensor, scales: int = 3) -> Tensor:
    """Mean absolute difference of the pictures and, over several scales, of their gradients.

    The gradient terms stand in for a perceptual loss that would need a download; they reward
    edges where the target has them.

    Args:
        picture, target: [B, C, H, W].
    """
    loss = (picture - target).abs().mean()
    for scale in range(scales):
        if scale:
            picture, target = F.avg_pool2d(picture, 2), F.avg_pool2d(target, 2)
        for axis in (2, 3):
            loss = loss + 0.5 * (picture.diff(dim=axis) - target.diff(dim=axis)).abs().mean()
    return loss


def opaque_loss(density: Tensor) -> Tensor:
    """Negative log-likelihood that light is stopped within a slab of this density per scene
    unit."""
    return -torch.log(-torch.expm1(-density * SLAB) + 1e-4).mean()


def clear_loss(density: Tensor) -> Tensor:
    """Negative log-likelihood that light passes a slab: its optical thickness."""
    return (density * SLAB).mean()


def depth_loss(depth: Tensor, target: Tensor, solid: Tensor) -> Tensor:
    """Mean absolute difference of depth where the target is solid.

    Args:
        depth, target: [B, 1, H, W] scene units.
        solid: [B, 1, H, W] bool.
    """
    return ((depth - target).abs() * solid).sum() / solid.sum().clamp(min=1)


def symmetric_loss(difference: Tensor, deviation: Tensor) -> Tensor:
    """Mean of the differences, each over the deviation that is expected there (paper, eq. 15).

    Args:
        difference: [B, 1, H, W] >= 0.
        deviation: [B, 1, H, W] > 0.
    """
    return (difference / deviation).mean()


def likelihood_loss(difference: Tensor, deviation: Tensor) -> Tensor:
    """Negative log-likelihood of absolute differences under a Laplace distribution (paper,
    eq. 14): log √2 + mean(log σ + √2 l₁ / σ). Arguments as for `symmetric_loss`."""
    return math.log(2) / 2 + (torch.log(deviation) + 2**0.5 * difference / deviation).mean()
