from __future__ import annotations

import math

import pytest
import torch

from tpvideo.weights.training.losses import SLAB, clear_loss, depth_loss, image_loss, opaque_loss


def test_equal_pictures_cost_nothing() -> None:
    picture = torch.rand(2, 3, 16, 16)
    assert image_loss(picture, picture.clone()).item() == 0


def test_a_constant_difference_costs_itself_and_no_gradient() -> None:
    target = torch.rand(2, 3, 16, 16)
    assert image_loss(target + 0.25, target).item() == pytest.approx(0.25, abs=1e-6)


def test_a_step_costs_its_gradients_at_every_scale() -> None:
    target = torch.zeros(1, 1, 4, 8)
    picture = target.clone()
    picture[..., 4:] = 1.0
    # Mean difference 1/2; of 7 horizontal differences one is 1; halved in size, of 3 one is 1.
    expected = 1 / 2 + 0.5 * (1 / 7) + 0.5 * (1 / 3)
    assert image_loss(picture, target, scales=2).item() == pytest.approx(expected)


def test_opaque_wants_light_stopped_in_the_slab_and_clear_wants_it_through() -> None:
    half = torch.tensor([math.log(2) / SLAB])  # lets half of the light through
    assert opaque_loss(half).item() == pytest.approx(math.log(2), abs=1e-3)  # guard of 1e-4
    assert clear_loss(half).item() == pytest.approx(math.log(2))
    assert opaque_loss(torch.tensor([1e4])).item() == pytest.approx(0, abs=1e-3)
    assert clear_loss(torch.zeros(3)).item() == 0
    nothing = opaque_loss(torch.zeros(3, requires_grad=True))
    assert nothing.item() == pytest.approx(-math.log(1e-4), abs=1e-4)


def test_depth_counts_where_the_target_is_solid() -> None:
    depth, target = torch.tensor([2.5, 9.0, 2.7, 0.0]), torch.tensor([2.6, 0.0, 2.4, 0.0])
    solid = target > 0
    shape = (1, 1, 2, 2)
    loss = depth_loss(depth.reshape(shape), target.reshape(shape), solid.reshape(shape))
    assert loss.item() == pytest.approx((0.1 + 0.3) / 2)
    none = depth_loss(depth.reshape(shape), target.reshape(shape), torch.zeros(shape).bool())
    assert none.item() == 0
