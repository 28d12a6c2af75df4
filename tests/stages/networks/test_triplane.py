from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tpvideo.stages.networks.triplane import (
    EG3D_AXES,
    ORTHOGONAL_AXES,
    Axes,
    OSGDecoder,
    sample_planes,
)


def one_by_one(planes: Tensor, points: Tensor, box: float, axes: Axes) -> Tensor:
    """Bilinear lookup of every point in every plane, in plain numbers."""
    batch, channels, height, width = planes.shape
    split = planes.reshape(batch, 3, channels // 3, height, width)
    found = torch.zeros(batch, points.shape[1], channels // 3)
    for b in range(batch):
        for n, point in enumerate(points[b]):
            for p, (column_axis, row_axis) in enumerate(axes):
                x = (point[column_axis].item() * 2 / box + 1) * width / 2 - 0.5
                y = (point[row_axis].item() * 2 / box + 1) * height / 2 - 0.5
                for column in (math.floor(x), math.floor(x) + 1):
                    for row in (math.floor(y), math.floor(y) + 1):
                        if 0 <= column < width and 0 <= row < height:
                            share = (1 - abs(x - column)) * (1 - abs(y - row))
                            found[b, n] += share * split[b, p, :, row, column] / 3
    return found


def scattered(box: float) -> Tensor:
    """[2, 46, 3] points inside, at the rim, just outside and far outside the box."""
    inside = (torch.rand(2, 20, 3) - 0.5) * box
    around = (torch.rand(2, 20, 3) - 0.5) * 1.6 * box
    rim = torch.tensor([0.0, 0.5, -0.5, 0.55, -0.6, 40.0]) * box
    return torch.cat([inside, around, rim[None, :, None].expand(2, -1, 3)], dim=1)


@pytest.mark.parametrize("axes", [EG3D_AXES, ORTHOGONAL_AXES])
@pytest.mark.parametrize("box", [1.0, 0.8])
def test_both_lookups_are_the_obvious_one(axes: Axes, box: float) -> None:
    planes, points = torch.randn(2, 12, 5, 7), scattered(box)
    slow = one_by_one(planes, points, box, axes)
    by_rows = sample_planes(planes, points, box=box, axes=axes)
    by_grid = sample_planes(planes.requires_grad_(), points, box=box, axes=axes)
    assert by_grid.requires_grad and not by_rows.requires_grad
    torch.testing.assert_close(by_rows, slow, atol=1e-5, rtol=0)  # positions in float32
    torch.testing.assert_close(by_grid.detach(), slow, atol=1e-5, rtol=0)


def test_a_cell_centre_gives_the_mean_of_three_cells() -> None:
    planes = torch.zeros(1, 3, 2, 2)
    planes[0, 0, 1, 0] = 3.0  # (x, y): row y > 0, column x < 0
    planes[0, 1, 1, 0] = 6.0  # (x, z)
    planes[0, 2, 1, 1] = 12.0  # (z, y)
    point = torch.tensor([[[-0.25, 0.25, 0.25]]])
    found = sample_planes(planes, point, box=1.0, axes=ORTHOGONAL_AXES)
    assert found.item() == pytest.approx(7.0)


def test_far_outside_the_box_is_nothing() -> None:
    points = torch.tensor([[[0.7, 0.7, 0.7], [-9.0, 9.0, 1e6]]])
    found = sample_planes(torch.ones(1, 6, 4, 4), points, box=1.0, axes=EG3D_AXES)
    assert (found == 0).all()


def test_the_decoder_is_two_scaled_layers_with_softplus_between() -> None:
    decoder = OSGDecoder(4, 9, 2)
    features = torch.randn(2, 5, 4)
    w0, b0, w2, b2 = (
        decoder.get_parameter(f"net.{k}.{what}") for k in (0, 2) for what in ("weight", "bias")
    )
    hidden = torch.log1p(torch.exp(features @ w0.T / 2 + b0))  # sqrt(4)
    out = hidden @ w2.T / 3 + b2  # sqrt(9)
    decoded = decoder(features)
    torch.testing.assert_close(decoded.sigmas, out[..., :1])
    torch.testing.assert_close(decoded.colours, 1.002 / (1 + torch.exp(-out[..., 1:])) - 0.001)


def test_colours_reach_zero_and_one() -> None:
    decoder = OSGDecoder(1, 1, 2)
    decoder.get_parameter("net.2.weight").data.zero_()
    decoder.get_parameter("net.2.bias").data = torch.tensor([0.0, -50.0, 50.0])
    colours = decoder(torch.zeros(1, 1, 1)).colours.flatten()
    torch.testing.assert_close(colours, torch.tensor([-0.001, 1.001]))
