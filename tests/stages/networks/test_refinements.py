"""Steps that add to the planes or tune a copy of the generator, and the views they compare with."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from tiny import labels, tiny_network
from torch import Tensor

from tpvideo.stages.networks.generator_tuning import with_own_generator
from tpvideo.stages.networks.inverters import draw
from tpvideo.stages.networks.inverters_by_steps import inverter
from tpvideo.stages.networks.likeness import Likeness
from tpvideo.stages.networks.pseudo_views import led_round, pseudo_views
from tpvideo.stages.networks.triplanenet import Inversion, TriPlaneNet, mirror
from tpvideo.stages.networks.volume import Composite, camera_rays

CAMERA = labels((0.3, 0.0))
PUBLISHED: dict[str, Any] = {"canonical": False, "mapping": True, "image_channels": 3}
SIDE = 32


def crop() -> Tensor:
    """A smooth picture with nothing alike left and right."""
    line = torch.linspace(-1, 1, SIDE)
    slope, rise = line.expand(SIDE, SIDE), line[:, None].expand(SIDE, SIDE)
    return torch.stack([slope, rise * slope, -rise])[None]


def unlikeness(network: TriPlaneNet, found: Inversion) -> float:
    with torch.no_grad():
        return float(Likeness()(draw(network, found, CAMERA).image, crop()))


@pytest.mark.parametrize("method", ["psp:generator", "encoder:generator"])
@pytest.mark.parametrize("sizes", [{}, PUBLISHED], ids=["ours", "published"])
def test_a_tuned_copy_draws_what_is_more_like_the_crop(method: str, sizes: dict[str, Any]) -> None:
    network = tiny_network(**sizes)
    before = inverter(method.removesuffix(":generator"))(crop(), CAMERA, network)
    kept = {key: value.clone() for key, value in network.state_dict().items()}
    found = inverter(method, steps=5)(crop(), CAMERA, network)
    assert unlikeness(network, found) < unlikeness(network, before)
    assert torch.equal(found.ws, before.ws)  # the pivot
    torch.testing.assert_close(
        found.planes - found.first, before.planes - before.first, atol=1e-5, rtol=0
    )
    assert all(torch.equal(value, kept[key]) for key, value in network.state_dict().items())
    assert found.tuned is not None and found.tuned is not network
    assert not any(value.requires_grad for value in found.tuned.parameters())


def test_a_twin_shares_the_encoders_and_nothing_of_the_generator() -> None:
    network = tiny_network()
    twin = with_own_generator(network)
    assert twin.psp_encoder is network.psp_encoder
    assert twin.triplanenet_encoder is network.triplanenet_encoder
    shared = {value.data_ptr() for value in network.decoder.parameters()}
    assert not shared & {value.data_ptr() for value in twin.decoder.parameters()}


def test_what_follows_a_tuned_generator_uses_it() -> None:
    network = tiny_network()
    tuned = inverter("psp:generator", steps=3)(crop(), CAMERA, network)
    found = inverter("psp:generator:offsets", steps=3)(crop(), CAMERA, network)
    assert found.tuned is not None and tuned.tuned is not None
    with torch.no_grad():
        residuals = tuned.tuned.residuals(crop(), CAMERA, tuned.ws, tuned.planes)
        planes = network.triplanenet_encoder(residuals, tuned.planes)
    torch.testing.assert_close(found.planes, planes)


def test_a_tuned_network_is_for_one_picture() -> None:
    crops, cameras = crop().expand(2, -1, -1, -1), CAMERA.expand(2, -1)
    with pytest.raises(ValueError, match="invert pictures one by one"):
        inverter("psp:generator", steps=1)(crops, cameras, tiny_network())


def test_optimised_planes_are_more_like_the_crop_than_the_first_branch() -> None:
    network = tiny_network()
    before = inverter("psp")(crop(), CAMERA, network)
    found = inverter("planes-lbfgs", steps=20)(crop(), CAMERA, network)
    assert unlikeness(network, found) < 0.7 * unlikeness(network, before)
    assert torch.equal(found.ws, before.ws) and torch.equal(found.first, before.first)
    assert found.tuned is None and not found.planes.requires_grad


def test_optimised_planes_are_held_to_the_first_branch(monkeypatch: pytest.MonkeyPatch) -> None:
    network = tiny_network()
    before = inverter("psp")(crop(), CAMERA, network)
    side = led_round(CAMERA, 0.6)
    wanted = draw(network, before, side).image[:, :3]
    differences = []
    for factor in (0.0, 5.0):
        monkeypatch.setattr("tpvideo.stages.networks.plane_search.HOLD", factor)
        found = inverter("planes-lbfgs", steps=20)(crop(), CAMERA, network)
        differences.append(
            float((draw(network, found, side).image[:, :3] - wanted).square().mean())
        )
    assert differences[1] < 0.5 * differences[0]


def test_spi_compares_with_the_mirrored_crop_and_with_pseudo_views() -> None:
    network = tiny_network()
    seen: list[str] = []
    watch = lambda what, done, steps, loss: seen.append(what)  # noqa: E731
    found = inverter("spi", steps=6, watch=watch)(crop(), CAMERA, network)
    assert seen == ["latents"] * 6 + ["generator"] * 6
    alone = inverter("mirrored:generator", steps=6)(crop(), CAMERA, network)
    assert torch.equal(found.ws, alone.ws)
    assert not torch.allclose(found.planes, alone.planes)


def test_a_camera_led_round_the_head_keeps_its_distance_and_its_aim() -> None:
    head = torch.tensor([0.0, 0.0, 0.2])
    led = led_round(labels((0.0, 0.0)), 0.5)[0, :16].reshape(4, 4)
    start = labels((0.0, 0.0))[0, :16].reshape(4, 4)
    assert float((led[:3, 3] - head).norm()) == pytest.approx(float((start[:3, 3] - head).norm()))
    assert math.atan2(led[0, 3] - head[0], led[2, 3] - head[2]) == pytest.approx(0.5)
    # The head stays at the same place in the picture.
    seen, was = (camera[:3, :3].T @ (head - camera[:3, 3]) for camera in (led, start))
    torch.testing.assert_close(seen, was, atol=1e-5, rtol=0)


class Wall:
    """Stands in for a generator whose volume is a wall through the world's origin, facing +z."""

    raw_side = 16

    def look(self, planes: Tensor, label: Tensor) -> Composite:
        rays = camera_rays(label, self.raw_side)
        depths = -rays.origins[..., 2:] / rays.directions[..., 2:]
        return Composite(depths.new_zeros(1, 256, 3), depths, torch.ones_like(depths))


def test_pseudo_views_of_a_wall_show_its_own_colours_in_their_places() -> None:
    # The wall's colour is its x coordinate as the crop's camera sees it.
    camera = labels((0.0, 0.0))
    line = (torch.arange(SIDE) + 0.5) / SIDE * 2 - 1
    picture = line.expand(1, 3, SIDE, SIDE).contiguous()
    views = pseudo_views(Wall(), torch.zeros(1, 1), picture, camera)  # type: ignore[arg-type]
    assert len(views) == 5
    for view in views[:4]:
        known = view.weight[0, 0] > 0.9
        assert known.float().mean() > 0.3
        rays = camera_rays(view.label, SIDE)
        points = rays.origins - rays.directions * rays.origins[..., 2:] / rays.directions[..., 2:]
        height = float(camera[0, 11])  # of the camera above the wall
        expected = (2 * camera[0, 16] * points[0, :, 0] / height).reshape(SIDE, SIDE)
        # bilinear look-up of a slope, half a pixel clamped at the rim
        torch.testing.assert_close(view.picture[0, 0][known], expected[known], atol=0.05, rtol=0)
    mirrored = views[4]
    assert torch.equal(mirrored.label, mirror(camera))


def test_what_only_the_mirror_image_sees_is_half_believed() -> None:
    # Far to the side the crop sees nothing of what its mirror image does.
    camera = labels((0.5, 0.0))
    picture = torch.zeros(1, 3, SIDE, SIDE)
    views = pseudo_views(Wall(), torch.zeros(1, 1), picture, camera)  # type: ignore[arg-type]
    weights = torch.cat([view.weight.flatten() for view in views])
    assert float(weights.max()) <= 1.0 + 1e-6
    assert ((weights > 0.4) & (weights < 0.51)).any()


def test_likeness_is_nought_for_the_same_and_ignores_opacity() -> None:
    picture = crop()
    both = torch.cat([picture, torch.ones(1, 1, SIDE, SIDE)], dim=1)
    assert float(Likeness()(both, picture)) == 0.0
    assert float(Likeness()(picture + 0.5, picture)) == pytest.approx(0.25)
    far = torch.nn.Module()
    far.forward = lambda a, b: torch.full((len(a),), 2.0)  # type: ignore[assignment]
    assert float(Likeness(far, 0.1)(picture + 0.5, picture)) == pytest.approx(0.45)
