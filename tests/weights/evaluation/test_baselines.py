from __future__ import annotations

import numpy as np
import pytest
import torch
from balls import CENTRE, view
from tiny import labels, tiny_network

from tpvideo.stages import geometry
from tpvideo.stages.networks.triplanenet import TriPlaneNet
from tpvideo.stages.networks.volume import camera_rays
from tpvideo.weights.evaluation.baselines import mean_head, planar_warp, reprojected
from tpvideo.weights.evaluation.scores import psnr

SIDE = 64


@pytest.fixture(scope="module")
def ball_network() -> TriPlaneNet:
    """A network whose mean head is the front half of the ball, before a wall at -0.1."""
    network = tiny_network(canonical=True, side=64, plane_side=64)
    cells = ((torch.arange(64) + 0.5) / 64 - 0.5) * network.decoder.box
    y, x = torch.meshgrid(cells, cells, indexing="ij")
    inside = 0.2**2 - (x - CENTRE[0]) ** 2 - (y - CENTRE[1]) ** 2
    network.surface.copy_(torch.where(inside > 0, CENTRE[2] + inside.clamp(min=0).sqrt(), -0.1))
    return network


def seen(yaw: float) -> tuple[torch.Tensor, torch.Tensor]:
    """[1, 4, SIDE, SIDE] picture of the ball, premultiplied, and [1, 1, SIDE, SIDE] its depth."""
    _, picture, depth = view(yaw, 0.0, SIDE)
    rgba = torch.from_numpy(picture).permute(2, 0, 1)[None].float()
    return rgba, torch.from_numpy(depth).float()[None, None]


def test_the_plane_through_the_head_stays_where_it_is_in_the_same_view() -> None:
    rgba, _ = seen(0.2)
    label = labels((0.2, 0.0))
    torch.testing.assert_close(
        planar_warp(rgba, label, label, SIDE), rgba[:, :3], atol=1e-4, rtol=0
    )


def test_the_plane_moves_as_a_homography_about_the_heads_centre() -> None:
    """A dot that the source sees at the head's centre stays in the middle; one beside it, on the
    plane facing the source, comes nearer to it by the turn's cosine."""
    step = 0.15
    marks = [geometry.HEAD_CENTRE, geometry.HEAD_CENTRE + np.array([step, 0, 0])]
    source, target = labels((0.0, 0.0), (0.5, 0.0)).split(1)
    rows, columns = np.mgrid[:256, :256] + 0.5

    def places(label: torch.Tensor) -> list[float]:
        camera = label[0, :16].reshape(4, 4).double().numpy()
        local = (np.array(marks) - camera[:3, 3]) @ camera[:3, :3]
        return list(256 * (geometry.FOCAL * local[:, 0] / local[:, 2] + 0.5))

    rgba = torch.zeros(1, 4, 256, 256)
    for channel, column in enumerate(places(source)):
        dot = np.exp(-((columns - column) ** 2 + (rows - 128) ** 2) / 8)
        rgba[0, channel] = torch.from_numpy(dot).float()
    moved = planar_warp(rgba, source, target, 256)[0].numpy()
    for channel, column in enumerate(places(target)):
        found = (moved[channel] * columns).sum() / moved[channel].sum()
        assert found == pytest.approx(column, abs=0.3)  # pixels


def test_the_mean_head_is_met_where_its_surface_is(ball_network: TriPlaneNet) -> None:
    label = labels((0.3, 0.0))
    _, depth = seen(0.3)
    mean = mean_head(ball_network, label, SIDE)
    rays = camera_rays(label, SIDE)
    along = (rays.directions @ label[0, [2, 6, 10]]).reshape(1, 1, SIDE, SIDE)
    points = rays.origins + rays.directions * mean.depth.flatten()[None, :, None]
    on_front = (points[..., 2].reshape(1, 1, SIDE, SIDE) > CENTRE[2] + 0.05) & (depth > 0)
    assert on_front.sum() > 300
    # A step of the height map is 0.013 wide.
    off = (mean.depth * along - depth)[on_front].abs()
    assert float(off.max()) < 0.02 and float(off.mean()) < 0.003


def test_reprojection_with_the_true_surface_beats_the_plane(ball_network: TriPlaneNet) -> None:
    rgba, _ = seen(0.0)
    truth, depth = seen(0.3)
    source, target = labels((0.0, 0.0), (0.3, 0.0)).split(1)
    straight = rgba[:, :3] / rgba[:, 3:].clamp(min=1e-2)
    crop = (straight[0].permute(1, 2, 0) * 255).round().numpy().astype(np.uint8)
    matte = (rgba[0, 3] * 255).numpy().astype(np.uint8)
    fill = torch.full((1, 3, SIDE, SIDE), 0.5)
    mean = mean_head(ball_network, target, SIDE // 2)
    made = reprojected(crop, matte, source, mean, fill, SIDE)
    mask = (depth > 0).float()
    warped = planar_warp(rgba, source, target, SIDE)
    assert made.shape == (1, 3, SIDE, SIDE)
    assert psnr(made, truth[:, :3], mask) > psnr(warped, truth[:, :3], mask) + 2  # dB
