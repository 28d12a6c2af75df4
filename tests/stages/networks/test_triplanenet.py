from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from parity import own_keys, published_keys
from tiny import labels, tiny_network

from tpvideo.stages import geometry
from tpvideo.stages.networks.generator import resize
from tpvideo.stages.networks.triplanenet import TriPlaneNet, mirror

CAMERAS = labels((0.2, 0.1), (-0.5, 0.0), (0.0, -0.2), (0.9, 0.3))
ROUNDING: dict[str, Any] = {"atol": 2e-5, "rtol": 0}  # order of summation


@pytest.mark.parametrize("up", ["nearest", "pixelshuffle"])
def test_keys_and_shapes_are_the_published_ones(up: str) -> None:
    with torch.device("meta"):
        network = TriPlaneNet(offsets={"up": up})
    expected = published_keys(f"keys_triplanenet_v2_{up}.json", "")
    ours = own_keys(network)
    assert ("latent_avg", [512], "float32") in ours  # beside the state dict in checkpoints
    ours.remove(("latent_avg", [512], "float32"))
    assert len(expected) == 1182
    assert sorted(ours) == sorted(expected)


def test_a_face_alone_is_the_face_in_a_batch_of_four() -> None:
    network = tiny_network()
    images = torch.rand(4, 3, 32, 32) * 2 - 1
    together = network.invert(images, CAMERAS)
    views = network.render(together.planes, together.ws, CAMERAS.flip(0))
    for index in range(4):
        one = slice(index, index + 1)
        alone = network.invert(images[one], CAMERAS[one])
        for name in ("ws", "first", "planes"):
            value = getattr(together, name)[one]
            torch.testing.assert_close(getattr(alone, name), value, **ROUNDING)
        view = network.render(alone.planes, alone.ws, CAMERAS.flip(0)[one])
        torch.testing.assert_close(view.image, views.image[one], **ROUNDING)


def test_latents_are_relative_to_the_average() -> None:
    network = tiny_network()
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    before = network.encode(images)
    network.latent_avg.fill_(2.5)
    torch.testing.assert_close(network.encode(images), before + 2.5)


def test_pictures_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match=r"images must have shape \[any, 3, 32, 32\]"):
        tiny_network().encode(torch.zeros(1, 3, 48, 48))


def test_the_second_branch_sees_the_render_what_it_misses_and_the_mirror() -> None:
    network = tiny_network(first_side=8)
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    cameras = CAMERAS[:2]
    ws = network.encode(images)
    first = network.decoder.planes(ws)
    seen = network.residuals(images, cameras, ws, first)

    def picture(view_labels: torch.Tensor) -> torch.Tensor:
        view = network.decoder.render(first, ws, view_labels, side=8)
        return resize(view.image[:, :3], 32)

    own, other = picture(cameras), picture(mirror(cameras))
    torch.testing.assert_close(seen[:, :3], own, **ROUNDING)
    torch.testing.assert_close(seen[:, 3:6], images - own, **ROUNDING)
    torch.testing.assert_close(seen[:, 6:], images.flip(-1) - other, **ROUNDING)


def test_without_the_mirror_the_second_branch_sees_six_channels() -> None:
    network = tiny_network(mirrored=False)
    images = torch.rand(1, 3, 32, 32) * 2 - 1
    ws = network.encode(images)
    first = network.decoder.planes(ws)
    assert network.residuals(images, CAMERAS[:1], ws, first).shape == (1, 6, 32, 32)
    assert network.invert(images, CAMERAS[:1]).planes.shape == (1, 48, 16, 16)


def test_planes_are_the_first_branch_plus_offsets() -> None:
    network = tiny_network()
    images = torch.rand(1, 3, 32, 32) * 2 - 1
    found = network.invert(images, CAMERAS[:1])
    assert (found.planes - found.first).abs().max() > 1e-3
    network.triplanenet_encoder.start_at_identity()
    again = network.invert(images, CAMERAS[:1])
    assert torch.equal(again.planes, again.first)


def test_canonical_pictures_lie_over_the_cells_that_they_show() -> None:
    """With a picture of coordinates, each cell gets the place where its point is seen."""
    network = tiny_network(canonical=True, mirrored=False)
    network.surface.copy_(0.2 - 0.1 * torch.rand(32, 32))
    middles = (torch.arange(32) + 0.5) / 32
    v, u = torch.meshgrid(middles, middles, indexing="ij")
    images = torch.stack([u, v, torch.ones_like(u)])[None]
    ws = network.encode(images)
    seen = network.residuals(images, CAMERAS[:1], ws, network.decoder.planes(ws))
    found = seen[0, :3] + seen[0, 3:6]  # the render cancels

    camera_from_world = np.linalg.inv(geometry.label_camera(0.2, 0.1))
    for row, column in ((16, 16), (10, 20), (24, 12), (15, 6)):
        height = network.surface[row, column].item()
        point = [(column + 0.5) / 32 * 0.8 - 0.4, (row + 0.5) / 32 * 0.8 - 0.4, height, 1.0]
        x, y, z, _ = camera_from_world @ point
        expected = [geometry.FOCAL * x / z + 0.5, geometry.FOCAL * y / z + 0.5]
        assert found[:2, row, column].tolist() == pytest.approx(expected, abs=1e-4)


def test_the_canonical_mirror_is_the_mirrored_picture_seen_by_the_mirrored_camera() -> None:
    network = tiny_network(canonical=True)
    images, cameras = torch.rand(2, 3, 32, 32) * 2 - 1, CAMERAS[:2]
    ws = network.encode(images)
    first = network.decoder.planes(ws)
    other = network.residuals(images, cameras, ws, first)[:, 6:]
    network.mirrored = False
    expected = network.residuals(images.flip(-1), mirror(cameras), ws, first)[:, 3:]
    torch.testing.assert_close(other, expected, **ROUNDING)


@pytest.mark.parametrize("sizes", [{"canonical": True}, {"image_channels": 3}, {"axes": "eg3d"}])
def test_every_variant_inverts_and_renders(sizes: dict[str, Any]) -> None:
    network = tiny_network(**sizes)
    found = network.invert(torch.rand(1, 3, 32, 32) * 2 - 1, CAMERAS[:1])
    view = network.render(found.planes, found.ws, CAMERAS[1:2])
    assert view.image.shape == (1, sizes.get("image_channels", 4), 64, 64)
    assert network.image_side == 64
    assert view.image.isfinite().all()


def test_the_mirrored_label_is_that_of_the_geometry() -> None:
    expected = geometry.mirror_label(CAMERAS.numpy())
    np.testing.assert_array_equal(mirror(CAMERAS).numpy(), expected)
