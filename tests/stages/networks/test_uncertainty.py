from __future__ import annotations

import torch

from tpvideo.stages.networks.uncertainty import LEAST, UncertaintyNet
from tpvideo.weights.training.losses import likelihood_loss


def test_deviations_have_the_pictures_size_and_are_positive() -> None:
    torch.manual_seed(0)
    network = UncertaintyNet((16, 16, 16, 16))
    deviation = network(torch.rand(2, 3, 96, 96) * 2 - 1)
    assert deviation.shape == (2, 1, 96, 96)
    assert deviation.min() >= LEAST


def test_it_learns_where_mirrored_pictures_are_wrong() -> None:
    """By the likelihood alone: the left half of what it sees is off by 0.5, the right by 0.05."""
    torch.manual_seed(0)
    network = UncertaintyNet((16, 16, 16, 16))
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    difference = torch.full((1, 1, 64, 64), 0.05)
    difference[..., :32] = 0.5
    columns = torch.linspace(-1, 1, 64).expand(1, 3, 64, 64)
    for _ in range(150):
        loss = likelihood_loss(difference, network(columns))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    left, right = network(columns).detach().chunk(2, dim=-1)
    assert left.mean() > 4 * right.mean()
