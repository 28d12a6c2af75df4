"""The density of a volume on a regular grid, for marching cubes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tpvideo.stages.networks.generator import Generator

Points = Callable[[Tensor, int, float], Tensor]
"""Flat sample numbers [N], samples along an axis, side of the cube -> [N, 3] world."""


def grid_points(indices: Tensor, side: int, box: float = 1.0) -> Tensor:
    """World positions of samples of a side^3 grid over the cube of side `box` about the origin, as
    EG3D's shape extraction has them.

    The slower coordinates are divided without rounding, in float32, as the original does: they
    carry fractions below one cell, a slight shear (parity spec, section 15).

    Args:
        indices: [N] flat sample numbers, coordinate 2 fastest.

    Returns:
        [N, 3] float32.
    """
    flat = indices.to(torch.float32)
    fast = (indices % side).to(torch.float32)
    cells = torch.stack([(flat / side / side) % side, (flat / side) % side, fast], dim=-1)
    return cells * (box / (side - 1)) - box / 2


def even_points(indices: Tensor, side: int, box: float = 1.0) -> Tensor:
    """The same grid without the shear; arguments and result as for grid_points."""
    cells = torch.stack([indices // side**2, indices // side % side, indices % side], dim=-1)
    return cells.to(torch.float32) * (box / (side - 1)) - box / 2


@torch.no_grad()
def density_grid(
    generator: Generator,
    planes: Tensor,
    side: int,
    chunk: int = 1 << 18,
    points: Points = grid_points,
) -> Tensor:
    """Raw densities (before softplus) of one volume.

    Args:
        planes: [1, 3 C, H, W].
        side: samples along each axis.
        chunk: samples at once; bounds the memory, not the result.
        points: where the samples are.

    Returns:
        [side, side, side] indexed by world x, y, z.
    """
    sigmas = torch.empty(side**3, device=planes.device)
    for start in range(0, side**3, chunk):
        part = torch.arange(start, min(start + chunk, side**3), device=planes.device)
        at = points(part, side, generator.box)[None]
        sigmas[part] = generator.query(planes, at).sigmas[0, :, 0]
    return sigmas.reshape(side, side, side)
