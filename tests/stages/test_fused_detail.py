from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tiny import labels
from torch import Tensor

from tpvideo.pipeline.frame import Image
from tpvideo.stages import detail
from tpvideo.stages.detail import Layers, Recalled, Seen, sharpen
from tpvideo.stages.neck import turned_labels
from tpvideo.stages.networks.volume import camera_rays
from tpvideo.stages.paint import Source, of_crop, paint
from tpvideo.stages.pixels import to_images

fused_detail = pytest.importorskip("tpvideo.stages.fused_detail", reason="needs numba")

R, V, CROP, SIZE = 16, 64, 64, 96
RADIUS = 0.3
ROUNDING = 2e-5
"""Sums are added in another order, and exponentials and roots are those of another library."""


class Head(NamedTuple):
    """A ball seen by a new camera, and what the source saw of it."""

    colours: Tensor
    """[1, 3, V, V] premultiplied, as `sharpen` takes them."""
    alphas: Tensor
    target: Seen
    crop: Image
    matte: Image
    label: Tensor
    """[1, 25] of the source."""


def a_head(yaw: float = 0.3, *, seed: int = 0, fine: int = 2, on_neck: bool = False) -> Head:
    generator = torch.Generator().manual_seed(seed)
    source = labels((0.05 * seed, 0.0))
    target = labels((yaw, 0.03))
    if on_neck:
        target = torch.from_numpy(turned_labels(source[0].numpy(), (yaw, 0.0)))[None]
    depth, alpha = ball(target, R)
    _, matte = ball(source, CROP)
    seen = Seen(target, depth, alpha, fine)
    alphas = F.interpolate(alpha, (V, V), mode="bilinear")
    colours = smooth_noise(generator, V) * alphas
    (crop,) = to_images(smooth_noise(generator, CROP) * 2 - 1)
    (mask,) = to_images(matte * 2 - 1)
    return Head(colours, alphas, seen, crop, mask, source)


def ball(label: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Distance [1, 1, side, side] to a ball about the world's origin along rays that meet it, and
    its opacity, soft at the rim."""
    rays = camera_rays(label, side)
    along = -(rays.origins * rays.directions).sum(dim=-1)
    apart = (rays.origins + rays.directions * along[..., None]).norm(dim=-1)
    depth = along - (RADIUS**2 - apart**2).clamp(min=0).sqrt()
    alpha = ((RADIUS - apart) / 0.03).clamp(0, 1)
    return depth.reshape(1, 1, side, side), alpha.reshape(1, 1, side, side)


def smooth_noise(generator: torch.Generator, side: int) -> Tensor:
    """[1, 3, side, side] 0.2 to 0.8."""
    noise = torch.rand(1, 3, 9, 9, generator=generator)
    return F.interpolate(noise, (side, side), mode="bicubic").mul(0.4).add(0.3).clamp(0.2, 0.8)


def both(
    heads: Sequence[Head], recalled: Recalled | None = None
) -> tuple[Layers, list[fused_detail.Planes], list[Source]]:
    """The plain layers of heads, the compiled ones, and what they are painted from."""
    colours, alphas, targets, crops, mattes, cameras = zip(*heads, strict=True)
    fields = zip(*(target[:3] for target in targets), strict=True)
    target = Seen(*(torch.cat(field) for field in fields), targets[0].fine)
    surface = torch.cat(colours), torch.cat(alphas), target, crops, mattes, torch.cat(cameras)
    sources = [of_crop(*each) for each in zip(crops, mattes, strict=True)]
    return sharpen(*surface, recalled=recalled), fused_detail.sharpened(*surface, recalled), sources


def assert_alike(found: fused_detail.Planes, expected: fused_detail.Planes) -> None:
    """All but a few cells are the same but for rounding.

    Rounding decides in which cell of the source's depths a point falls that lies between two, and
    on which side of its threshold a trust is; each decision reaches the cells around it.
    """
    unused = {"other": 2, "person": 3}
    for name in fused_detail.Planes._fields:
        count = unused.get(name, 4)
        one, other = (getattr(planes, name) for planes in (found, expected))
        assert one.shape == other.shape
        apart = np.abs(one - other).reshape(len(one), -1, 4)[..., :count]
        assert np.isfinite(apart).all(), name
        assert (apart < ROUNDING).mean() > 0.97, name
        assert apart.mean() < 2e-4, name


@pytest.mark.parametrize("fine", [1, 2])
@pytest.mark.parametrize("yaw", [0.4, 0.05])
def test_a_head_gets_the_layers_of_the_plain_version(yaw: float, fine: int) -> None:
    layers, (found,), _ = both([a_head(yaw, fine=fine)])
    (expected,) = fused_detail.planes_of(layers)
    assert expected.own[:, 2::4].max() == 1  # it is trusted somewhere
    assert expected.tone[:, 3::4].max() > 0.3  # and borrowed from the other half
    assert (expected.own[:, 3::4].max() > 0) == (yaw < 0.1)
    assert_alike(found, expected)


def test_a_head_that_turns_on_its_neck_gets_the_layers_of_the_plain_version() -> None:
    layers, (found,), _ = both([a_head(0.3, on_neck=True)])
    (expected,) = fused_detail.planes_of(layers)
    sames = expected.own[:, 3::4].max(axis=1)
    assert sames[0] > 0.5  # the same above, turned in the middle
    assert sames[len(sames) // 2] == 0
    assert_alike(found, expected)


def recalling(*shares: float) -> Recalled:
    """An earlier frame from the other side, for as many heads."""
    earlier = a_head(0.0, seed=5)
    count = len(shares)
    label = labels((0.6, 0.0)).expand(count, -1)
    share = torch.tensor(shares)[:, None, None, None]
    return Recalled([earlier.crop] * count, [earlier.matte] * count, label, share)


def test_what_is_remembered_is_laid_on_as_the_plain_version_lays_it() -> None:
    head = a_head(0.6)
    head = head._replace(label=labels((-0.5, 0.0)))  # which sees little of what is wanted
    without, _, _ = both([head])
    layers, (found,), _ = both([head], recalling(0.8))
    assert (layers.picture - without.picture).abs().max() > 0.05
    assert_alike(found, fused_detail.planes_of(layers)[0])


def test_a_head_is_the_same_to_the_byte_alone_and_beside_others() -> None:
    heads = [a_head(0.3), a_head(-0.2, seed=1)]
    _, together, sources = both(heads, recalling(0.7, 0.0))
    for index, share in enumerate((0.7, 0.0)):
        _, (alone,), _ = both([heads[index]], recalling(share) if share else None)
        for one, other in zip(together[index], alone, strict=True):
            assert np.array_equal(one, other)
    behind = [torch.zeros(3, 1, 1)] * 2
    for index, (rgb, _) in enumerate(fused_detail.painted(together, sources, behind, SIZE)):
        ((again, _),) = fused_detail.painted([together[index]], [sources[index]], behind[:1], SIZE)
        assert np.array_equal(rgb, again)


@pytest.mark.parametrize("yaw", [0.3, 0.06, 0.0])
@pytest.mark.parametrize("softness", [0.0, 0.5])
def test_a_picture_is_painted_as_by_the_plain_version(yaw: float, softness: float) -> None:
    head = a_head(yaw)
    thin = np.linspace(1 - softness, 1, CROP)  # soft hair on one side
    head = head._replace(matte=(head.matte * thin).astype(np.uint8))
    layers, _, sources = both([head])
    planes = fused_detail.planes_of(layers)
    colours, alphas = paint(layers, sources, SIZE)
    generator = torch.Generator().manual_seed(1)
    for shape in ((3, 1, 1), (3, SIZE, SIZE)):
        behind = torch.rand(shape, generator=generator)
        (expected,) = to_images((colours + (1 - alphas) * behind) * 2 - 1)
        ((result, _),) = fused_detail.painted(planes, sources, [behind], SIZE)
        # A level by rounding; pixels whose trust or share stands at its threshold a little more.
        difference = abs(result.astype(int) - expected.astype(int))
        assert difference.max() <= 3
        assert difference.mean() < 0.05
    ((straight, opacity),) = fused_detail.painted(planes, sources, None, SIZE)
    assert opacity is not None
    (expected,) = to_images(alphas * 2 - 1)
    assert abs(opacity.astype(int) - expected).max() <= 1
    (expected,) = to_images(colours * 2 - 1)
    assert abs(straight * (opacity[..., None] / 255) - expected).max() <= 3


def test_finished_pictures_are_those_of_the_plain_version() -> None:
    for yaw in (0.4, -0.2, 0.03):
        layers, planes, sources = both([a_head(yaw)])
        colours, _ = paint(layers, sources, SIZE)
        (expected,) = to_images(colours * 2 - 1)
        ((result, _),) = fused_detail.painted(planes, sources, [torch.zeros(3, 1, 1)], SIZE)
        error = ((result.astype(float) - expected) ** 2).mean() / 255**2
        assert -10 * math.log10(max(error, 1e-9)) > 60


def test_a_surface_behind_the_sources_camera_and_at_it_does_no_harm() -> None:
    head = a_head(0.3)
    camera = head.label[0, [3, 7, 11]]
    for factor in (0.0, 1.0, 2.0, 1e6):  # at the camera's centre too, where its picture is nowhere
        depth = torch.full_like(head.target.depth, factor * float(camera.norm()))
        target = head.target._replace(labels=head.label, depth=depth)
        _, planes, sources = both([head._replace(target=target)])
        ((result, _),) = fused_detail.painted(planes, sources, [torch.zeros(3, 1, 1)], SIZE)
        assert result.shape == (SIZE, SIZE, 3)


def flat(picture: Tensor) -> NDArray[np.float32]:
    """[H, W * C] of [1, C, H, W]."""
    result: NDArray[np.float32] = picture[0].permute(1, 2, 0).contiguous().flatten(1).numpy()
    return result


@pytest.mark.parametrize(("channels", "radius"), [(1, 1), (3, 2), (4, 6), (4, 30)])
def test_a_blur_of_any_radius_is_the_plain_one(channels: int, radius: int) -> None:
    picture = torch.rand(1, channels, 24, 20)
    found = fused_detail.blur(flat(picture), channels, radius)
    np.testing.assert_allclose(found, flat(detail._blur(picture, radius)), atol=1e-6)


@pytest.mark.parametrize("side", [13, 24, 48, 60])
def test_pictures_are_halved_and_enlarged_as_by_torch(side: int) -> None:
    picture = torch.rand(1, 4, 24, 24)
    halved = fused_detail.halved(flat(picture), 4)
    np.testing.assert_allclose(halved, flat(F.avg_pool2d(picture, 2)), atol=1e-6)
    for channels in (1, 4):
        some = picture[:, :channels]
        found = fused_detail.enlarged(flat(some), channels, side)
        # Places up to 24 are known to 2e-6, and neighbours are up to 1 apart.
        np.testing.assert_allclose(found, flat(detail.enlarged(some, side)), atol=5e-6)


@pytest.mark.parametrize("side", [16, 32, 48, 64, 100])
def test_bytes_are_reduced_as_by_pillow(side: int) -> None:
    picture = np.random.default_rng(3).integers(0, 256, (64, 64, 3), np.uint8)
    found = fused_detail.reduced(picture.reshape(64, -1), 3, side) * 255
    expected = detail._reduced(picture, side).reshape(side, -1)
    # Pillow rounds once for rows and once for columns where a side is no whole part.
    within = 0.01 if side in (16, 32, 64) else 1.01
    assert abs(found - expected).max() < within


@pytest.mark.parametrize("fine", [1, 2, 4, 6])
def test_colours_are_straightened_and_made_coarse_as_by_torch(fine: int) -> None:
    picture = torch.rand(1, 4, V, V)
    side = fine * R  # from a quarter of the picture's side to more than all of it
    straight = picture[:, :3] / picture[:, 3:].clamp(min=1e-2)
    opaque = (detail._resized(picture[:, 3:], side) - 0.3).div(0.6).clamp(0, 1)
    expected = torch.cat([detail._resized(straight, side), opaque], dim=1)
    numbers = flat(picture).copy()
    found = fused_detail.straight(numbers, side)
    np.testing.assert_allclose(found, flat(expected), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        numbers, flat(torch.cat([straight, picture[:, 3:]], dim=1)), rtol=1e-5
    )
