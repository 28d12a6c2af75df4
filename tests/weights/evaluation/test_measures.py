from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tpvideo.weights.evaluation.measures import sharpness


def test_sharpness_is_the_energy_of_gradients_by_hand() -> None:
    truth = torch.tensor([[0.0, 1, 1], [0, 1, 1], [0, 1, 1]])[None, None]
    half, whole = truth / 2, torch.ones(1, 1, 3, 3)
    assert sharpness(truth, truth, whole) == 1
    assert sharpness(half, truth, whole) == 0.25
    picture = truth + torch.tensor([[0.0, 0, 0], [0, 0, 0], [0, 0, 2]])  # 2 steps of 2 more
    assert sharpness(picture, truth, whole) == pytest.approx((3 + 2 * 2**2) / 3)
    first_rows = torch.tensor([[1.0, 1, 1], [1, 1, 1], [0, 0, 0]])[None, None]
    assert sharpness(picture, truth, first_rows) == 1  # what lies outside counts for nothing


def test_soft_pictures_are_less_sharp() -> None:
    truth = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    soft = F.avg_pool2d(truth, 3, stride=1, padding=1)
    assert sharpness(soft, truth, torch.ones(1, 1, 32, 32)) < 0.3
