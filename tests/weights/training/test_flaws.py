from __future__ import annotations

import torch
from torch import Tensor

from tpvideo.weights.training.flaws import change_light, spoil


def gray_ball() -> Tensor:
    """[2, 4, 32, 32] premultiplied: a gray disc, and the same once more."""
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    alpha = ((x - 15.5) ** 2 + (y - 15.5) ** 2 < 100).float()
    return torch.stack([0.6 * alpha, 0.5 * alpha, 0.4 * alpha, alpha]).repeat(2, 1, 1, 1)


def test_both_views_of_a_head_get_the_same_new_light() -> None:
    rgba = gray_ball()
    one, other = change_light(rgba, rgba.clone(), torch.Generator().manual_seed(0))
    assert torch.equal(one, other)
    assert torch.equal(one[:, 3], rgba[:, 3])
    assert (one[:, :3] <= one[:, 3:]).all()
    middle = one[:, :3, 16, 16]
    assert (middle[0] - middle[1]).abs().max() > 0.01  # each head its own
    assert (middle - rgba[:, :3, 16, 16]).abs().max() > 0.01


def test_spoiled_pictures_stay_recognisable_and_are_repeatable() -> None:
    rgba = gray_ball()
    spoiled = spoil(rgba, torch.Generator().manual_seed(3))
    assert torch.equal(spoiled, spoil(rgba, torch.Generator().manual_seed(3)))
    assert spoiled.shape == (2, 3, 32, 32)
    assert spoiled.min() >= 0 and spoiled.max() <= 1
    assert (spoiled[:, :, 0] == 0).all()  # the backdrop stays black
    inside = (spoiled - rgba[:, :3])[:, :, 12:20, 12:20].abs().mean()
    assert 0 < inside < 0.15
