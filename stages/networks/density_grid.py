"""The density of a volume on a regular grid, as EG3D's shape extraction samples it."""

from __future__ import annotations

import torch
from torch import Tensor

from tpvideo.stages.networks.generator import Generator


def grid_points(indices: Tensor, side: int, box: float = 1.0) -> Tensor:
    """World positions of samples of a side^3 grid over the cube of side `box` about the origin.

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


@torch.no_grad()
def density_grid(generator: Generator, planes: Tensor, side: int, chunk: int = 1 << 18) -> Tensor:
    """Raw densities (before softplus) of one volume, for marching cubes.

    Args:
        planes: [1, 3 C, H, W].
        side: samples along each axis.
        chunk: samples at once; bounds the memory, not the result.

    Returns:
        [side, side, side] indexed by world x, y, z.
    """
    indices = torch.arange(side**3, device=planes.device)
    parts = [indices[start : start + chunk] for start in range(0, side**3, chunk)]
    sigmas = [
        generator.query(planes, grid_points(part, side, generator.box)[None]).sigmas[0, :, 0]
        for part in parts
    ]
    return torch.cat(sigmas).reshape(side, side, side)
