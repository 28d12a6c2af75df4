from __future__ import annotations

import torch
from tiny import tiny_network

from tpvideo.stages.networks.density_grid import density_grid, grid_points


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
    generator = tiny_network().decoder
    planes = torch.randn(1, 48, 16, 16)
    whole = density_grid(generator, planes, 6)
    assert whole.shape == (6, 6, 6)
    parts = density_grid(generator, planes, 6, chunk=7)
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=0)  # order of summation
    point = grid_points(torch.tensor([1 * 36 + 2 * 6 + 3]), 6, generator.box)[None]
    alone = generator.query(planes, point).sigmas[0, 0, 0]
    torch.testing.assert_close(whole[1, 2, 3], alone, atol=1e-5, rtol=0)
