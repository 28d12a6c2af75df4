from __future__ import annotations

from typing import Any

import torch

from tpvideo.stages.networks.density_grid import density_grid, grid_points
from tpvideo.stages.networks.generator import Generator
from tpvideo.stages.networks.triplane import EG3D_AXES

SMALL: dict[str, Any] = {
    "style_dim": 8,
    "plane_side": 8,
    "plane_channels": 4,
    "backbone_widths": (8, 8),
    "hidden": 8,
    "colours": 8,
    "raw_side": 8,
    "superres_widths": (8, 8),
    "image_channels": 3,
    "near": 2.25,
    "far": 3.3,
    "samples": (4, 4),
    "box": 1.0,
    "axes": EG3D_AXES,
    "density_gain": 1.0,
    "mapping": False,
    "noise": False,
}


def test_the_grid_spans_the_box_with_its_shear() -> None:
    points = grid_points(torch.tensor([0, 3, 5, 63]), 4)
    third, step = 1 / 3, 1 / 3 / 4
    expected = [
        [0, 0, 0],
        [step * 3 / 4, 3 * step, 3 * third],
        [5 / 16 * third, 5 * step, third],
        [63 / 16 * third, (63 / 4 - 12) * third, 1],
    ]
    torch.testing.assert_close(points, torch.tensor(expected) - 0.5)


def test_chunks_do_not_change_the_densities() -> None:
    torch.manual_seed(0)
    generator = Generator(**SMALL).requires_grad_(False)
    planes = torch.randn(1, 12, 8, 8)
    whole = density_grid(generator, planes, 6)
    assert whole.shape == (6, 6, 6)
    parts = density_grid(generator, planes, 6, chunk=7)
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=0)  # order of summation
    point = grid_points(torch.tensor([1 * 36 + 2 * 6 + 3]), 6)[None]
    alone = generator.query(planes, point).sigmas[0, 0, 0]
    torch.testing.assert_close(whole[1, 2, 3], alone, atol=1e-5, rtol=0)
