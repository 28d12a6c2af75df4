from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tpvideo.weights.training import flaws
from tpvideo.weights.training.flaws import change_light, moved, spoil, wrong_matte


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


def test_motion_spreads_a_line_along_one_direction_and_keeps_its_light() -> None:
    line = torch.zeros(40, 4, 32, 32)
    line[:, :, :, 16] = 1
    blurred = moved(line, torch.Generator().manual_seed(0))
    torch.testing.assert_close(blurred.sum(dim=-1), line.sum(dim=-1))
    widths = (blurred[:, 0, 16] > 0.01).sum(dim=-1)
    still = (blurred == line).flatten(1).all(dim=1)
    assert 0.5 < still.float().mean() < 1  # a fifth moves
    assert widths.max() >= 5 and (widths[still] == 1).all()


def test_a_wrong_matte_is_wider_or_narrower_by_a_few_pixels() -> None:
    alpha = gray_ball()[:1, 3:].repeat(40, 1, 1, 1)
    wrong = wrong_matte(alpha, torch.Generator().manual_seed(1))
    areas = wrong.sum(dim=(1, 2, 3)) / alpha[0].sum()
    assert areas.min() < 0.95 and areas.max() > 1.05 and areas.min() > 0.6
    grown = F.max_pool2d(alpha, 5, 1, 2)
    assert (wrong[grown == 0] == 0).all()


def test_the_room_shows_where_the_matte_is_too_wide_and_nowhere_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(flaws, "misplaced", lambda pictures, random: pictures)
    spoiled = spoil(gray_ball().repeat(20, 1, 1, 1), torch.Generator().manual_seed(4))
    outside = gray_ball()[0, 3] == 0
    near = F.max_pool2d(gray_ball()[:1, 3:], 15, 1, 7)[0, 0] > 0
    assert spoiled[:, :, outside & near].max() > 0.1
    assert (spoiled[:, :, ~near] == 0).all()
