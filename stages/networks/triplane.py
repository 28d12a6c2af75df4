"""Features of a point in space, read from three planes, and the small network that decodes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tpvideo.stages.networks.layers import EqualLinear

EG3D_AXES = ((0, 1), (0, 2), (2, 0))
"""World axes along the columns and rows of each plane: (x, y), (x, z), (z, x). The third is the
transpose of the second, a known peculiarity of released EG3D models (parity spec, section 8)."""

ORTHOGONAL_AXES = ((0, 1), (0, 2), (2, 1))
"""(x, y), (x, z), (z, y): three different planes."""

Axes = Sequence[Sequence[int]]


def sample_planes(planes: Tensor, points: Tensor, *, box: float, axes: Axes) -> Tensor:
    """Mean of the three planes' features at points, bilinear, zeros outside.

    Args:
        planes: [B, 3 C, H, W].
        points: [B, N, 3] world coordinates; the cube of side `box` about the origin is covered.

    Returns:
        [B, N, C].
    """
    if planes.device.type == "cpu" and not (torch.is_grad_enabled() and planes.requires_grad):
        return _sample_by_rows(planes, points, box=box, axes=axes)
    batch, channels, height, width = planes.shape
    at = points.unbind(dim=-1)
    pairs = [torch.stack([at[u], at[v]], dim=-1) for u, v in axes]
    grid = torch.stack(pairs, dim=1)  # [B, 3, N, 2]
    sampled = F.grid_sample(
        planes.reshape(batch * 3, channels // 3, height, width),
        (grid * (2 / box)).reshape(batch * 3, 1, -1, 2).to(planes.dtype),
        align_corners=False,
    )  # [B * 3, C, 1, N]
    return sampled.reshape(batch, 3, channels // 3, -1).mean(dim=1).transpose(1, 2)


def _sample_by_rows(planes: Tensor, points: Tensor, *, box: float, axes: Axes) -> Tensor:
    """The same as one weighted sum of 12 rows of a table for each point, which is several times
    faster than grid_sample on a CPU (docs/performance.md). Rows are the planes' cells with a
    border of zeros."""
    batch, channels, height, width = planes.shape
    count, features = points.shape[1], channels // 3
    table = torch.zeros(
        batch, 3, height + 2, width + 2, features, dtype=planes.dtype, device=planes.device
    )
    table[:, :, 1:-1, 1:-1] = planes.reshape(batch, 3, features, height, width).permute(
        0, 1, 3, 4, 2
    )
    row_length, plane_length = width + 2, (height + 2) * (width + 2)
    rows, weights = [], []
    first = plane_length * 3 * torch.arange(batch, device=planes.device)[:, None]
    for plane, (column_axis, row_axis) in enumerate(axes):
        # Pixel position plus the border's one; beyond the border everything is zero.
        u = (points[..., column_axis] * (width / box) + (width / 2 + 0.5)).clamp(0, width + 1)
        v = (points[..., row_axis] * (height / box) + (height / 2 + 0.5)).clamp(0, height + 1)
        left, top = u.floor().clamp_(max=width), v.floor().clamp_(max=height)
        u, v = u - left, v - top
        corner = (first + plane * plane_length) + (top * row_length + left).to(torch.int64)
        u0, v0 = 1 - u, 1 - v
        rows += [corner, corner + 1, corner + row_length, corner + row_length + 1]
        weights += [u0 * v0, u * v0, u0 * v, u * v]
    summed = F.embedding_bag(
        torch.stack(rows, dim=-1).reshape(batch * count, 12),
        table.reshape(-1, features),
        per_sample_weights=(torch.stack(weights, dim=-1) / 3)
        .reshape(batch * count, 12)
        .to(table.dtype),
        mode="sum",
    )
    return summed.reshape(batch, count, features)


class Decoded(NamedTuple):
    """What the decoder says about points in space."""

    colours: Tensor
    """[B, N, F] in about 0..1."""
    sigmas: Tensor
    """[B, N, 1] raw density, before softplus."""


class OSGDecoder(nn.Module):
    """Two-layer network from plane features to density and colour features (spec, section 8).

    Args:
        features: C, channels of a plane.
        hidden: units of the hidden layer.
        colours: F, colour features; the first three are RGB.
    """

    def __init__(self, features: int = 32, hidden: int = 64, colours: int = 32) -> None:
        super().__init__()
        self.net = nn.Sequential(
            EqualLinear(features, hidden), nn.Softplus(), EqualLinear(hidden, 1 + colours)
        )

    def forward(self, features: Tensor) -> Decoded:
        """[B, N, C] -> colours and densities."""
        out = self.net(features)
        return Decoded(torch.sigmoid(out[..., 1:]) * 1.002 - 0.001, out[..., :1])
