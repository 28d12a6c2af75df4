from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from tiny import labels, tiny_network
from torch import Tensor

from tpvideo.stages.networks.inverters import Subject, draw, followed
from tpvideo.stages.networks.inverters_by_steps import METHODS, inverter
from tpvideo.stages.networks.latent_search import (
    LatentSearch,
    beginning,
    ramp,
    turned,
)
from tpvideo.stages.networks.likeness import Likeness
from tpvideo.stages.networks.triplanenet import Inversion, TriPlaneNet, mirror

CAMERAS = labels((0.3, 0.0), (-0.4, 0.1))
PUBLISHED = {"canonical": False, "mapping": True, "image_channels": 3}


def crops(count: int = 1, side: int = 32) -> Tensor:
    """Smooth pictures, no two of them or of their halves alike."""
    line = torch.linspace(-1, 1, side)
    slope, rise = line.expand(side, side), line[:, None].expand(side, side)
    picture = torch.stack([slope, rise * slope, -rise])
    return torch.stack([picture.roll(number, dims=0) for number in range(count)])


def subject(network: TriPlaneNet | None = None) -> Subject:
    return Subject(crops(), CAMERAS[:1], network or tiny_network())


def unlikeness(network: TriPlaneNet, found: Inversion) -> float:
    """What optimisations minimise, of the first picture and its camera."""
    with torch.no_grad():
        seen = draw(network, found, followed(found, CAMERAS[:1], CAMERAS[:1])).image
        return float(Likeness()(seen, crops()))


def test_the_encoder_is_the_network_itself() -> None:
    network = tiny_network()
    found = inverter("encoder")(crops(2), CAMERAS, network)
    with torch.no_grad():
        own = network.invert(crops(2), CAMERAS)
    for name in ("ws", "first", "planes"):
        # alone or together: order of summation
        torch.testing.assert_close(getattr(found, name), getattr(own, name), atol=2e-5, rtol=0)


def test_prediction_of_latents_is_the_first_branch_alone() -> None:
    network = tiny_network()
    found = inverter("psp")(crops(), CAMERAS[:1], network)
    whole = inverter("encoder")(crops(), CAMERAS[:1], network)
    assert torch.equal(found.ws, whole.ws)
    assert torch.equal(found.planes, whole.first)
    assert not torch.allclose(found.planes, whole.planes)


def test_the_encoders_take_crops_of_any_size() -> None:
    network = tiny_network()
    large = crops().repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)  # halved: the same
    found = inverter("encoder")(large, CAMERAS[:1], network)
    same = inverter("encoder")(crops(), CAMERAS[:1], network)
    torch.testing.assert_close(found.planes, same.planes)


@pytest.mark.parametrize("method", ["w+", "w"])
@pytest.mark.parametrize("sizes", [{}, PUBLISHED], ids=["ours", "published"])
def test_optimised_latents_draw_what_is_more_like_the_crop(
    method: str, sizes: dict[str, Any]
) -> None:
    network = tiny_network(**sizes)
    found = inverter(method, steps=10)(crops(), CAMERAS[:1], network)
    random = torch.Generator().manual_seed(0)
    ws = beginning(network, subject(network), random).ws
    planes = network.decoder.planes(ws)
    start = Inversion(ws, planes, planes)
    assert unlikeness(network, found) < unlikeness(network, start) - 0.01
    assert not found.ws.requires_grad and found.tuned is None


def test_latents_in_w_are_one_for_all_layers_of_a_published_network() -> None:
    network = tiny_network(**PUBLISHED)
    found = inverter("w", steps=3)(crops(), CAMERAS[:1], network)
    assert torch.equal(found.ws, found.ws[:, :1].expand_as(found.ws))
    layered = inverter("w+", steps=3)(crops(), CAMERAS[:1], network)
    assert not torch.allclose(layered.ws[:, 0], layered.ws[:, 1])


def test_a_search_changes_nothing_of_the_network_and_repeats_itself() -> None:
    network = tiny_network()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    first = inverter("w+:offsets", steps=3)(crops(), CAMERAS[:1], network)
    second = inverter("w+:offsets", steps=3)(crops(), CAMERAS[:1], network)
    assert torch.equal(first.planes, second.planes)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert not any(value.requires_grad for value in network.parameters())


def test_pictures_are_inverted_each_by_itself() -> None:
    network = tiny_network()
    both = inverter("w+", steps=3)(crops(2), CAMERAS, network)
    alone = inverter("w+", steps=3)(crops(2)[1:], CAMERAS[1:], network)
    assert torch.equal(both.planes[1:], alone.planes)


def test_a_search_works_after_the_network_was_used_in_inference_mode() -> None:
    network = tiny_network()
    with torch.inference_mode():
        images = crops()
        network.invert(images, CAMERAS[:1])
        found = inverter("w+", steps=2)(images, CAMERAS[:1], network)
    assert torch.isfinite(found.ws).all()


def test_a_search_goes_on_from_a_prediction() -> None:
    network = tiny_network()
    predicted = inverter("psp")(crops(), CAMERAS[:1], network)
    found = inverter("psp:w+", steps=10)(crops(), CAMERAS[:1], network)
    assert unlikeness(network, found) < unlikeness(network, predicted)


def test_the_camera_moves_along_with_the_latents() -> None:
    network = tiny_network()
    found = inverter("pose", steps=10)(crops(), CAMERAS[:1], network)
    assert found.labels is not None
    moved = (found.labels - CAMERAS[:1]).abs().max()
    assert 1e-4 < moved < 0.3
    # It stays on its sphere about the origin.
    assert float(found.labels[0, [3, 7, 11]].norm()) == pytest.approx(2.7, abs=1e-4)
    # Another camera keeps its place beside the one that was given.
    torch.testing.assert_close(followed(found, CAMERAS[:1], CAMERAS[:1]), found.labels)


def test_a_turn_of_a_camera_is_the_known_one() -> None:
    frontal, turned_by = labels((0.0, 0.0)), torch.tensor([[0.0, math.pi / 2, 0.0]])
    found = turned(frontal, turned_by)
    position, expected = found[0, [3, 7, 11]], frontal[0, [11, 7, 3]]  # z becomes x
    torch.testing.assert_close(position, expected * torch.tensor([1.0, 1.0, -1.0]))
    torch.testing.assert_close(turned(frontal, torch.zeros(1, 3)), frontal)


def test_the_mirrored_crop_is_a_second_view() -> None:
    network = tiny_network()
    before = inverter("psp")(crops(), CAMERAS[:1], network)  # begins without noise
    losses: list[float] = []
    for factor in (0.0, 3.0):
        watch = lambda what, done, steps, loss: losses.append(loss)  # noqa: E731
        LatentSearch(likeness=Likeness(), steps=1, mirror=factor, watch=watch)(
            subject(network), before
        )
    seen = draw(network, before, mirror(CAMERAS[:1])).image
    further = 3 * float(Likeness()(seen, crops().flip(-1)))
    assert losses[1] == pytest.approx(losses[0] + further, rel=1e-5)


def test_the_rate_rises_over_a_twentieth_and_falls_over_the_last_quarter() -> None:
    assert ramp(0.0) == 0.0
    assert ramp(0.025) == pytest.approx(0.5)
    assert ramp(0.05) == ramp(0.75) == pytest.approx(1.0)
    assert ramp(0.875) == pytest.approx(0.5)


def test_a_search_starts_at_the_mean_of_w() -> None:
    network = tiny_network(**PUBLISHED)
    start = beginning(network, subject(network), torch.Generator().manual_seed(0))
    z = torch.randn(2000, 512, generator=torch.Generator().manual_seed(1))
    w = network.decoder.backbone.mapping(z, CAMERAS[:1].expand(2000, -1), 1)[:, 0]
    spread = (w - w.mean(dim=0)).square().sum(dim=1).mean().sqrt()
    # 2000 latents against 10000: a few percent of the spread apart
    assert float((start.ws[0, 0] - w.mean(dim=0)).norm()) < 0.1 * float(spread)
    assert float(start.noise[0, 0, 0]) == pytest.approx(0.05 * float(spread), rel=0.05)


def test_steps_are_watched() -> None:
    seen: list[tuple[str, int, int]] = []
    watch = lambda what, done, steps, loss: seen.append((what, done, steps))  # noqa: E731
    inverter("w+", steps=3, watch=watch)(crops(), CAMERAS[:1], tiny_network())
    assert seen == [("latents", 1, 3), ("latents", 2, 3), ("latents", 3, 3)]


@pytest.mark.parametrize(
    ("method", "complaint"),
    [
        ("best", "no inverter 'best'"),
        ("offsets", "'offsets' cannot stand there"),
        ("psp:offsets:w+", r"'w\+' cannot stand there"),
        ("", "no inverter ''"),
        ("e4e", "e4e is not here: it needs"),
    ],
)
def test_a_method_that_is_not_there_is_named_with_those_that_are(
    method: str, complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        inverter(method)


def test_every_name_stands_for_a_chain() -> None:
    for method in METHODS:
        assert inverter(method).steps


def test_crops_and_cameras_must_fit() -> None:
    with pytest.raises(ValueError, match=r"labels must have shape \[2, 25\]"):
        inverter("psp")(crops(2), CAMERAS[:1], tiny_network())
