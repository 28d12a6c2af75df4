from __future__ import annotations

import math

import pytest
import torch
from tiny import tiny_network
from torch import Tensor, nn

from tpvideo.stages.networks.generator import resize
from tpvideo.stages.networks.identity import IdentityNet
from tpvideo.stages.networks.triplanenet import mirror
from tpvideo.weights.training.batch import Batch
from tpvideo.weights.training.config import PaperWeights
from tpvideo.weights.training.critics import Critics
from tpvideo.weights.training.losses import likelihood_loss, symmetric_loss
from tpvideo.weights.training.paper_terms import PaperTerms, difference

NETWORK = tiny_network()


class Apart(nn.Module):
    """A perceptual distance that can be worked by hand."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return (a - b).abs().mean(dim=(1, 2, 3))


def example(deviations: Tensor | None = None) -> tuple[Batch, Tensor, Tensor]:
    """A batch of two, and latents and planes for it."""
    random = torch.Generator().manual_seed(4)
    label = torch.eye(4).reshape(-1)
    label[11] = 2.7
    label[[5, 10]] = -1  # looks along -z from z = 2.7
    labels = torch.cat([label, torch.tensor([4.26, 0, 0.5, 0, 4.26, 0.5, 0, 0, 1])]).repeat(2, 1)
    pictures = torch.rand(2, 3, 32, 32, generator=random) * 2 - 1
    ws = NETWORK.encode(pictures)
    planes = NETWORK.decoder.planes(ws).float()
    batch = Batch(pictures, labels, pictures, pictures, labels, deviations=deviations)
    return batch, ws, planes


def renders(batch: Batch, ws: Tensor, planes: Tensor) -> tuple[Tensor, Tensor]:
    same = NETWORK.render(planes, ws, batch.labels).image[:, :3]
    other = NETWORK.render(planes, ws, mirror(batch.labels)).image[:, :3]
    return resize(same, 32), resize(other, 32)


def test_both_branches_have_the_published_terms_and_weights() -> None:
    batch, ws, planes = example()
    torch.manual_seed(0)
    identity = IdentityNet(widths=(8, 8, 8, 8, 8), units=(1, 1, 1, 1), side=32, size=8, reduction=4)
    paper = PaperTerms(PaperWeights(side=32), Critics(Apart(), identity))
    terms = paper.branch("first", NETWORK.decoder, planes, ws, batch)
    y, y_m = renders(batch, ws, planes)
    x, x_m = batch.truth, batch.truth.flip(-1)
    assert {name: term.weight for name, term in terms.items()} == pytest.approx(
        {
            "first pixel": 1.0,
            "first perceptual": 1.0,
            "first identity": 0.1,
            "first mirror pixel": 0.1,
            "first mirror perceptual": 0.1,
            "first mirror identity": 0.01,
            "first uncertainty": 1.0,
        }
    )
    assert terms["first pixel"].value.item() == pytest.approx(((x - y) ** 2).mean().item())
    assert terms["first perceptual"].value.item() == pytest.approx((x - y).abs().mean().item())
    assert terms["first mirror perceptual"].value.item() == pytest.approx(
        (x_m - y_m).abs().mean().item()
    )
    assert paper.uncertainty is not None
    deviation = paper.uncertainty(x_m)
    squared = ((x_m - y_m) ** 2).mean(1, keepdim=True)
    assert terms["first mirror pixel"].value.item() == pytest.approx(
        (squared / deviation).mean().item(), rel=1e-4
    )
    absolute = (x_m - y_m).abs().mean(1, keepdim=True)
    expected = math.log(2) / 2 + (deviation.log() + math.sqrt(2) * absolute / deviation).mean()
    assert terms["first uncertainty"].value.item() == pytest.approx(expected.item(), rel=1e-4)


def test_the_second_branch_takes_smooth_absolute_differences() -> None:
    batch, ws, planes = example()
    paper = PaperTerms(PaperWeights(side=32, mirror=0.0), Critics())
    terms = paper.branch("second", NETWORK.decoder, planes, ws, batch)
    y, _ = renders(batch, ws, planes)
    apart = (batch.truth - y).abs()
    expected = torch.where(apart < 1, 0.5 * apart**2, apart - 0.5).mean()
    assert list(terms) == ["second pixel"]  # no mirror, no critics: nothing else
    assert terms["second pixel"].value.item() == pytest.approx(expected.item())


def test_a_datasets_own_map_replaces_the_network() -> None:
    deviations = torch.full((2, 1, 32, 32), 0.25)
    batch, ws, planes = example(deviations)
    paper = PaperTerms(PaperWeights(side=32), Critics())
    terms = paper.branch("first", NETWORK.decoder, planes, ws, batch)
    _, y_m = renders(batch, ws, planes)
    assert "first uncertainty" not in terms
    expected = ((batch.truth.flip(-1) - y_m) ** 2).mean() / 0.25
    assert terms["first mirror pixel"].value.item() == pytest.approx(expected.item(), rel=1e-4)


def test_the_map_learns_by_its_likelihood_alone_and_the_renders_by_all_else() -> None:
    batch, ws, planes = example()
    paper = PaperTerms(PaperWeights(side=32), Critics())
    planes = planes.detach().requires_grad_()
    terms = paper.branch("first", NETWORK.decoder, planes, ws.detach(), batch)
    assert paper.uncertainty is not None
    weight = paper.uncertainty.last.weight
    for name, term in terms.items():
        by_map, by_planes = torch.autograd.grad(
            term.value, (weight, planes), retain_graph=True, allow_unused=True
        )
        learns_map = name.endswith("uncertainty")
        assert (by_map is not None) == learns_map
        assert (by_planes is None) == learns_map


def test_likelihood_and_symmetry_by_hand() -> None:
    apart, deviation = torch.tensor([0.2, 0.6]), torch.tensor([0.5, 0.3])
    shape = (1, 1, 1, 2)
    expected = -0.5 * sum(
        math.log(1 / (math.sqrt(2) * s) * math.exp(-math.sqrt(2) * d / s))
        for d, s in ((0.2, 0.5), (0.6, 0.3))
    )
    assert likelihood_loss(apart.reshape(shape), deviation.reshape(shape)).item() == pytest.approx(
        expected
    )
    assert symmetric_loss(apart.reshape(shape), deviation.reshape(shape)).item() == pytest.approx(
        (0.4 + 2.0) / 2
    )
    y, x = torch.zeros(1, 3, 1, 1), torch.tensor([2.0, 0.5, 0.0]).reshape(1, 3, 1, 1)
    assert difference(y, x, squared=True).item() == pytest.approx(4.25 / 3)
    assert difference(y, x, squared=False).item() == pytest.approx((1.5 + 0.125) / 3)
