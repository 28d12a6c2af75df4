from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from tiny import labels
from torch import Tensor

from tpvideo.stages.networks.volume import (
    Rays,
    camera_rays,
    coarse_depths,
    composite,
    importance_depths,
    interval_weights,
    rays_through,
)

EMPTY = -1000.0
"""A raw density whose softplus is zero in float32."""


def seen_by_one_ray(colours: Tensor, sigmas: Tensor, depths: Tensor) -> tuple[Tensor, float, float]:
    """Parity spec 9.2, interval by interval, for samples of any order: features, depth, alpha."""
    order = sorted(range(len(depths)), key=lambda i: float(depths[i]))
    features, depth, alpha, through = torch.zeros(colours.shape[-1]), 0.0, 0.0, 1.0
    for near, far in pairwise(order):
        length = float(depths[far] - depths[near])
        density = math.log1p(math.exp(float(sigmas[near] + sigmas[far]) / 2 - 1))
        opacity = 1 - math.exp(-density * length)
        weight, through = through * opacity, through * (1 - opacity)
        features = features + weight * (colours[near] + colours[far]) / 2
        depth += weight * float(depths[near] + depths[far]) / 2
        alpha += weight
    return features, depth / alpha, alpha


def importance_of_one_ray(depths: Tensor, weights: Tensor, samples: int) -> list[float]:
    """Parity spec 9.3 in plain numbers."""
    z, w = depths.tolist(), weights.tolist()
    n = len(z)
    m = [max(w[max(k - 1, 0) : k + 1]) for k in range(n)]
    a = [(m[k] + m[k + 1]) / 2 + 0.01 for k in range(n - 1)]
    edges = [(z[k] + z[k + 1]) / 2 for k in range(n - 1)]
    mass = [value + 1e-5 for value in a[1 : n - 2]]
    cdf = [0.0]
    for value in mass:
        cdf.append(cdf[-1] + value / sum(mass))
    found = []
    for step in range(samples):
        u = step / (samples - 1)
        j = sum(value <= u for value in cdf)
        below, above = max(j - 1, 0), min(j, n - 3)
        width = cdf[above] - cdf[below]
        width = 1.0 if width < 1e-5 else width
        found.append(edges[below] + (u - cdf[below]) / width * (edges[above] - edges[below]))
    return found


def test_the_middle_ray_runs_along_the_axis_of_the_camera() -> None:
    label = labels((0.3, 0.1))
    rays = camera_rays(label, 1)
    camera = label[:, :16].reshape(1, 4, 4)
    torch.testing.assert_close(rays.origins, camera[:, None, :3, 3])
    torch.testing.assert_close(rays.directions, camera[:, None, :3, 2])


def test_rays_go_through_pixel_centres_row_by_row() -> None:
    label = torch.zeros(1, 25)
    label[:, [0, 5, 10, 15, 24]] = 1.0  # the identity camera
    label[:, [16, 20]], label[:, [18, 21]] = 0.25, 0.5
    directions = camera_rays(label, 2).directions
    # Pixel centres at 1/4 and 3/4: (u - 1/2) / f = -1 and 1.
    corners = torch.tensor([[-1.0, -1, 1], [1, -1, 1], [-1, 1, 1], [1, 1, 1]])
    torch.testing.assert_close(directions[0], corners / math.sqrt(3))


def test_rays_through_positions_are_those_of_the_picture() -> None:
    label = labels((0.3, 0.1), (-0.5, 0.0))
    whole = camera_rays(label, 8)
    positions = torch.tensor([[[5.5 / 8, 2.5 / 8]]])  # column 5 of row 2
    ray = rays_through(label, positions)
    torch.testing.assert_close(ray.directions[:, 0], whole.directions[:, 2 * 8 + 5])


def test_cameras_down_a_picture_give_each_row_its_own_rays() -> None:
    one, other = labels((0.3, 0.1), (-0.2, 0.0))
    rays = camera_rays(torch.stack([one, one, other, other])[None], 8)
    whole, lower = camera_rays(one[None], 8), camera_rays(other[None], 8)
    upper_rows, lower_rows = slice(0, 3 * 8), slice(5 * 8, None)  # of two rows to a camera
    for found, above, below in zip(rays, whole, lower, strict=True):
        assert found.shape == (1, 64, 3)
        torch.testing.assert_close(found[:, upper_rows], above[:, upper_rows])
        torch.testing.assert_close(found[:, lower_rows], below[:, lower_rows])
    between = rays.origins[0, 4 * 8]
    assert 0 < (between - one[[3, 7, 11]]).norm() < (other - one)[[3, 7, 11]].norm()


def test_depths_stand_half_a_step_on_and_jitter_moves_them() -> None:
    rays = Rays(torch.zeros(1, 2, 3), torch.zeros(1, 2, 3))
    torch.testing.assert_close(
        coarse_depths(rays, 2.0, 3.0, 3), torch.tensor([2.25, 2.75, 3.25]).expand(1, 2, 3)
    )
    jitter = torch.tensor([[[0.0, 0.5, 1.0], [1.0, 1.0, 0.0]]])
    moved = coarse_depths(rays, 2.0, 3.0, 3, jitter)
    torch.testing.assert_close(moved, torch.tensor([[[2.0, 2.75, 3.5], [2.5, 3.0, 3.0]]]))


def test_density_ln_2_over_unit_steps_halves_the_light_each_time() -> None:
    sigmas = torch.ones(1, 1, 4)  # softplus(1 - 1) = ln 2
    depths = torch.arange(4.0).reshape(1, 1, 4)
    weights = interval_weights(sigmas, depths)
    torch.testing.assert_close(weights, torch.tensor([[[1 / 2, 1 / 4, 1 / 8]]]))
    doubled = interval_weights(sigmas, depths, gain=2.0)
    torch.testing.assert_close(doubled, torch.tensor([[[3 / 4, 3 / 16, 3 / 64]]]))
    half_as_long = interval_weights(sigmas, depths / 2, gain=2.0)
    torch.testing.assert_close(half_as_long, weights)


def test_a_wall_takes_all_the_light_and_never_more() -> None:
    sigmas = torch.tensor([[[EMPTY, EMPTY, 4000.0, 4000.0, 4000.0]]])
    weights = interval_weights(sigmas, torch.arange(5.0).reshape(1, 1, 5))
    torch.testing.assert_close(weights, torch.tensor([[[0.0, 1.0, 0.0, 0.0]]]))


def test_without_preference_importance_depths_are_even() -> None:
    depths = torch.arange(5.0).reshape(1, 1, 5)
    found = importance_depths(depths, torch.zeros(1, 1, 4), 5)
    # Two cells of equal mass between the edges 1/2, 3/2 and 5/2; the last edge is never reached.
    torch.testing.assert_close(found, torch.tensor([[[0.5, 1.0, 1.5, 2.0, 2.5]]]))


def test_importance_depths_gather_where_the_weight_is() -> None:
    depths = torch.arange(12.0).reshape(1, 1, 12)
    weights = torch.zeros(1, 1, 11)
    weights[..., 5] = 1.0  # between depths 5 and 6
    found = importance_depths(depths, weights, 16)
    assert ((found > 3) & (found < 7)).float().mean() > 0.8
    assert (found.diff(dim=-1) >= 0).all()


def test_importance_depths_are_the_written_rule() -> None:
    depths = (2.25 + torch.rand(2, 6, 12).cumsum(dim=-1) / 12).contiguous()
    weights = torch.rand(2, 6, 11) ** 6
    found = importance_depths(depths, weights, 9)
    for b in range(2):
        for r in range(6):
            slow = importance_of_one_ray(depths[b, r], weights[b, r], 9)
            torch.testing.assert_close(found[b, r], torch.tensor(slow), atol=1e-5, rtol=0)


def test_samples_in_any_order_add_up_as_if_sorted() -> None:
    colours = torch.rand(2, 5, 9, 4)
    sigmas = 4 * torch.randn(2, 5, 9)
    depths = 2.25 + torch.rand(2, 5, 9)
    seen = composite(colours, sigmas, depths)
    for b in range(2):
        for r in range(5):
            features, depth, alpha = seen_by_one_ray(colours[b, r], sigmas[b, r], depths[b, r])
            torch.testing.assert_close(seen.features[b, r], features, atol=1e-5, rtol=0)
            assert seen.depths[b, r].item() == pytest.approx(depth, abs=1e-5)
            assert seen.alphas[b, r].item() == pytest.approx(alpha, abs=1e-6)


def test_an_empty_ray_is_black_clear_and_as_deep_as_it_goes() -> None:
    depths = torch.tensor([[[3.0, 2.5, 3.3]]])
    seen = composite(torch.ones(1, 1, 3, 2), torch.full((1, 1, 3), EMPTY), depths)
    assert (seen.features == 0).all() and (seen.alphas == 0).all()
    assert seen.depths.item() == pytest.approx(3.3)


def test_an_empty_ray_spoils_no_gradient() -> None:
    sigmas = torch.tensor([[[EMPTY] * 3, [1.0] * 3]], requires_grad=True)
    seen = composite(torch.ones(1, 2, 3, 2), sigmas, torch.arange(3.0).expand(1, 2, 3))
    loss = seen.depths.sum() + seen.features.sum()
    loss.backward()  # type: ignore[no-untyped-call]
    assert sigmas.grad is not None and sigmas.grad.isfinite().all()
    assert sigmas.grad[0, 1].abs().min() > 0


def test_a_ray_does_not_depend_on_its_neighbours() -> None:
    colours, sigmas, depths = torch.rand(1, 7, 9, 4), torch.randn(1, 7, 9), torch.rand(1, 7, 9)
    together = composite(colours, sigmas, depths)
    for ray in range(7):
        one = slice(ray, ray + 1)
        alone = composite(colours[:, one], sigmas[:, one], depths[:, one])
        for name, value in alone._asdict().items():
            torch.testing.assert_close(value, getattr(together, name)[:, one], atol=1e-6, rtol=0)
