"""Rays, where to sample them, and what the samples add up to (parity spec, sections 7 and 9).

Everything is done for each ray by itself, so a picture never depends on its neighbours in the
batch. The original limits depth by the nearest and farthest sample of the whole batch; here they
are those of the ray itself, which differs for rays that hit nothing at all and no others.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Rays(NamedTuple):
    """Where pixels look from and to."""

    origins: Tensor
    """[B, R, 3] world."""
    directions: Tensor
    """[B, R, 3] unit vectors; depth is measured along them."""


def camera_rays(labels: Tensor, side: int) -> Rays:
    """Rays through the pixel centres of a side x side picture, row by row.

    Args:
        labels: [B, 25] camera-to-world 4x4 and normalised intrinsics 3x3, row-major; or
            [B, K, 25], cameras evenly spaced down the picture, of which each row sees by those
            next to it: a picture of something that is turned more at the top than at the bottom.
    """
    pixels = (torch.arange(side, device=labels.device, dtype=labels.dtype) + 0.5) / side
    v, u = torch.meshgrid(pixels, pixels, indexing="ij")
    positions = torch.stack([u, v], dim=-1)  # [side, side, 2]
    if labels.ndim == 2:
        return rays_through(labels, positions.reshape(1, -1, 2))
    rows = F.interpolate(labels.transpose(1, 2), side, mode="linear").transpose(1, 2)
    by_row = rays_through(rows.reshape(-1, 25), positions.repeat(len(labels), 1, 1))
    return Rays(*(found.reshape(len(labels), -1, 3) for found in by_row))


def rays_through(labels: Tensor, positions: Tensor) -> Rays:
    """Rays through given picture positions.

    Args:
        labels: [B, 25].
        positions: [B or 1, R, 2] (u, v), 0..1 from the left and upper edge.
    """
    world_from_camera = labels[:, :16].reshape(-1, 4, 4)
    k = labels[:, 16:].reshape(-1, 3, 3)
    fx, skew, cx = k[:, 0, 0, None], k[:, 0, 1, None], k[:, 0, 2, None]
    fy, cy = k[:, 1, 1, None], k[:, 1, 2, None]
    u, v = positions[..., 0], positions[..., 1]
    x = (u - cx + cy * skew / fy - skew * v / fy) / fx
    y = (v - cy) / fy
    seen = torch.stack([x, y, torch.ones_like(x)], dim=-1)  # [B, R, 3]
    directions = F.normalize(seen @ world_from_camera[:, :3, :3].transpose(1, 2), dim=-1)
    origins = world_from_camera[:, None, :3, 3].expand_as(directions)
    return Rays(origins, directions)


def coarse_depths(
    rays: Rays, near: float, far: float, samples: int, jitter: Tensor | None = None
) -> Tensor:
    """[B, R, S] evenly spaced depths, each moved on by a share of a step.

    Args:
        jitter: [B, R, S] shares in 0..1 for training; None takes one half everywhere, so that
            inference is repeatable (spec, 9.5).
    """
    batch, count = rays.origins.shape[:2]
    step = (far - near) / (samples - 1)
    even = torch.linspace(near, far, samples, device=rays.origins.device)
    moved = even + step * (0.5 if jitter is None else jitter)
    return moved.expand(batch, count, samples)


def interval_weights(sigmas: Tensor, depths: Tensor, gain: float = 1.0) -> Tensor:
    """Share of the pixel that each interval between neighbouring samples contributes.

    Density is softplus(mean of the two raw densities - 1), the light let through
    exp(-density length), and w_i = alpha_i prod_{j<i} (1 - alpha_j + 1e-10) (spec, 9.2).

    Args:
        sigmas: [B, R, M] raw densities, near to far.
        depths: [B, R, M].
        gain: factor on the density.

    Returns:
        [B, R, M - 1].
    """
    lengths = depths.diff(dim=-1)
    density = F.softplus((sigmas[..., :-1] + sigmas[..., 1:]) / 2 - 1) * gain
    opacity = -torch.expm1(-density * lengths)
    passed = torch.cumprod(1 - opacity + 1e-10, dim=-1)
    before = torch.cat([torch.ones_like(passed[..., :1]), passed[..., :-1]], dim=-1)
    return opacity * before


def importance_depths(depths: Tensor, weights: Tensor, samples: int) -> Tensor:
    """Further depths where the coarse weights are large (spec, 9.3).

    The half-interval shift between bins and probabilities is the original's and kept.

    Args:
        depths: [B, R, N] coarse depths.
        weights: [B, R, N - 1] weights of the intervals between them.
        samples: how many to add; at quantiles 0, 1/(samples - 1), ..., 1.

    Returns:
        [B, R, samples], increasing.
    """
    padded = F.pad(weights, (1, 1), value=float("-inf"))
    largest = torch.maximum(padded[..., :-1], padded[..., 1:])  # [B, R, N]
    smoothed = (largest[..., :-1] + largest[..., 1:]) / 2 + 0.01  # [B, R, N - 1]
    edges = (depths[..., :-1] + depths[..., 1:]) / 2  # [B, R, N - 1]
    mass = smoothed[..., 1:-1] + 1e-5  # [B, R, N - 3]
    share = mass / mass.sum(dim=-1, keepdim=True)
    cdf = F.pad(share.cumsum(dim=-1), (1, 0))  # [B, R, N - 2]
    quantiles = torch.linspace(0, 1, samples, device=depths.device).expand(*cdf.shape[:-1], samples)
    found = torch.searchsorted(cdf, quantiles.contiguous(), right=True)
    below = (found - 1).clamp(min=0)
    above = found.clamp(max=cdf.shape[-1] - 1)
    cdf_below, cdf_above = cdf.gather(-1, below), cdf.gather(-1, above)
    edge_below, edge_above = edges.gather(-1, below), edges.gather(-1, above)
    width = cdf_above - cdf_below
    width = torch.where(width < 1e-5, torch.ones_like(width), width)
    return edge_below + (quantiles - cdf_below) / width * (edge_above - edge_below)


class Composite(NamedTuple):
    """What rays see."""

    features: Tensor
    """[B, R, F] sum of weighted colours; an empty ray has zeros."""
    depths: Tensor
    """[B, R, 1] mean depth along the ray; the farthest sample where nothing is hit."""
    alphas: Tensor
    """[B, R, 1] sum of the weights, 0..1."""


def composite(colours: Tensor, sigmas: Tensor, depths: Tensor, gain: float = 1.0) -> Composite:
    """Add up samples in any order along each ray (spec, 9.2 and 9.4).

    An interval shows the mean colour of its two ends, so each sample carries half the weights
    of the intervals on its two sides: only numbers are sorted, never colours.

    Args:
        colours: [B, R, M, F].
        sigmas: [B, R, M] raw densities.
        depths: [B, R, M].
    """
    ordered, order = depths.sort(dim=-1)
    weights = interval_weights(sigmas.gather(-1, order), ordered, gain)  # [B, R, M - 1]
    halves = F.pad(weights, (1, 0)) / 2 + F.pad(weights, (0, 1)) / 2  # [B, R, M]
    shares = torch.zeros_like(halves).scatter(-1, order, halves)
    features = (shares[..., None, :] @ colours)[..., 0, :]
    alphas = weights.sum(dim=-1, keepdim=True)
    middles = (ordered[..., :-1] + ordered[..., 1:]) / 2
    # The divisor is made safe before the division: where() alone would stop 0/0 but not the
    # NaN of its gradient.
    is_hit = alphas > 1e-30
    mean = (weights * middles).sum(dim=-1, keepdim=True) / torch.where(is_hit, alphas, 1.0)
    farthest = ordered[..., -1:]
    mean = torch.where(is_hit, mean, farthest)
    return Composite(features, mean.clamp(min=ordered[..., :1]).minimum(farthest), alphas)
