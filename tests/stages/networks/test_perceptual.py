from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tpvideo.stages.networks.perceptual import (
    FeatureDistance,
    PerceptualDistance,
    Trunk,
    tapped,
    unit,
)


def seeded(trunk: Trunk) -> PerceptualDistance:
    torch.manual_seed(5)
    network = PerceptualDistance(trunk)
    for layer in network.lins:
        nn.init.uniform_(layer.weight)  # type: ignore[arg-type]
    return network.requires_grad_(False).eval()


def by_hand(network: PerceptualDistance, a: Tensor, b: Tensor) -> Tensor:
    """The formula of the paper for one pair [3, H, W], pixel by pixel."""
    total = torch.zeros(())
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    seen = []
    for picture in (a, b):  # the constants that LPIPS is published with, for -1..1
        x = ((picture - shift[:, None, None]) / scale[:, None, None])[None]
        layers = []
        for number, layer in enumerate(network.features):
            x = layer(x)
            if number in network.taps:
                layers.append(x[0])
        seen.append(layers)
    for first, second, layer in zip(*seen, network.lins, strict=True):
        weight = layer.weight.reshape(-1)  # type: ignore[union-attr, operator]
        for row in range(first.shape[1]):
            for column in range(first.shape[2]):
                u, v = first[:, row, column], second[:, row, column]
                apart = u / (u.norm() + 1e-10) - v / (v.norm() + 1e-10)
                total += (weight * apart**2).sum() / first[0].numel()
    return total


@pytest.mark.parametrize("trunk", ["alex", "vgg"])
def test_the_distance_is_the_published_formula(trunk: Trunk) -> None:
    network = seeded(trunk)
    a, b = (
        torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(s)) * 2 - 1 for s in (1, 2)
    )
    found = network(a, b)
    expected = torch.stack([by_hand(network, *pair) for pair in zip(a, b, strict=True)])
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=1e-6)  # constants of 3 digits
    assert (network(a, a) == 0).all() and (found > 0).all()


@pytest.mark.parametrize(("trunk", "count"), [("alex", 2_469_696), ("vgg", 14_714_688)])
def test_the_trunks_have_the_published_sizes(trunk: Trunk, count: int) -> None:
    """AlexNet and VGG16 without their classifiers."""
    with torch.device("meta"):
        network = PerceptualDistance(trunk)
    assert sum(p.numel() for p in network.features.parameters()) == count
    assert len(network.taps) == len(network.lins) == 5


def test_a_distance_can_be_descended() -> None:
    network = seeded("alex")
    target = torch.rand(1, 3, 40, 40) * 2 - 1
    picture = torch.zeros(1, 3, 40, 40, requires_grad=True)
    before = network(picture, target)
    (slope,) = torch.autograd.grad(before.sum(), picture)
    after = network(picture - 0.05 * slope / slope.norm(), target)
    assert after.item() < before.item()


def test_features_without_weights_count_every_unit_vector_alike() -> None:
    layers = nn.Sequential(nn.Identity(), nn.AvgPool2d(2))
    network = FeatureDistance(layers, (0, 1))
    a = torch.zeros(1, 2, 2, 2)
    a[:, 0] = 3.0  # unit vector (1, 0) everywhere
    b = torch.zeros(1, 2, 2, 2)
    b[:, 1] = 0.5  # unit vector (0, 1) everywhere
    assert network(a, b).item() == pytest.approx(2 + 2)
    assert network(a, 2 * a).item() == pytest.approx(0)


def test_nothing_behind_the_last_tap_is_computed() -> None:
    layers = nn.Sequential(nn.Identity(), nn.Linear(9, 9))
    assert len(tapped(layers, torch.zeros(1, 1, 2, 2), (0,))) == 1
    assert unit(torch.zeros(1, 2, 1, 1)).abs().max() == 0
