from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny import labels
from torch import Tensor

from tpvideo.stages import geometry
from tpvideo.stages.detail import Recalled, Seen, sharpen
from tpvideo.stages.face import cut_face
from tpvideo.stages.networks.volume import camera_rays
from tpvideo.stages.paint import of_crop, paint, source_of
from tpvideo.stages.pixels import to_images, to_tensor

SIDE, CROP, RAW = 64, 128, 32
WALL_Z = 0.15
INNER = (..., slice(10, -10), slice(10, -10))
"""Away from the rim, where the new camera sees what the source's picture does not hold."""


def look_at_wall(label: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Distances [1, 1, side, side] along the rays to the plane z = WALL_Z, and the world points
    [side * side, 3] that they hit."""
    rays = camera_rays(label, side)
    distance = (WALL_Z - rays.origins[..., 2]) / rays.directions[..., 2]  # [1, R]
    points = rays.origins[0] + rays.directions[0] * distance[0, :, None]
    return distance.reshape(1, 1, side, side), points


def wall(label: Tensor) -> Seen:
    distance, _ = look_at_wall(label, RAW)
    return Seen(label, distance, torch.ones(1, 1, RAW, RAW))


def texture(u: Tensor, v: Tensor) -> Tensor:
    """[3, ...] colours of the source's picture at (u, v) in 0..1: fine stripes on a slope."""
    slope = 0.3 + 0.3 * u
    stripes = 0.15 * torch.sin(2 * math.pi * 10 * u) * torch.sin(2 * math.pi * 8 * v)
    return torch.stack([slope + stripes, slope - stripes, 0.5 + 0 * u])


def scene(yaw: float) -> tuple[Tensor, Tensor, Seen, Seen]:
    """The source's crop, what the new camera should show, and the wall seen by both."""
    source_label, target_label = labels((0.0, 0.0)), labels((yaw, 0.0))
    middles = (torch.arange(CROP) + 0.5) / CROP
    v, u = torch.meshgrid(middles, middles, indexing="ij")
    _, points = look_at_wall(target_label, SIDE)
    camera = source_label[0, :16].reshape(4, 4)
    seen = (points - camera[:3, 3]) @ camera[:3, :3]
    position = geometry.FOCAL * seen[:, :2] / seen[:, 2:] + 0.5
    truth = texture(position[:, 0], position[:, 1]).reshape(1, 3, SIDE, SIDE)
    return texture(u, v)[None], truth, wall(target_label), wall(source_label)


def coarse(truth: Tensor) -> Tensor:
    """What a small volume would draw: the slope without the stripes."""
    mean = (truth[:, :1] + truth[:, 1:2]) / 2
    return torch.cat([mean, mean, truth[:, 2:]], dim=1)


OPAQUE, SOLID = torch.ones(1, 1, SIDE, SIDE), torch.ones(1, 1, CROP, CROP)


@pytest.mark.parametrize("yaw", [0.0, 0.3, -0.3])
def test_the_sources_colours_land_where_the_surface_is_seen(yaw: float) -> None:
    crop, truth, target, source = scene(yaw)
    rendered = coarse(truth)
    assert (rendered - truth)[INNER].abs().max() > 0.1
    result, _ = finished(rendered, OPAQUE, target, crop, SOLID, source.labels, SIDE)
    # Bilinear lookup at 128 pixels flattens stripes of 13 pixels a little.
    assert (result - truth)[INNER].abs().max() < 0.03


def finished(
    colours: Tensor,
    alphas: Tensor,
    target: Seen,
    crops: Tensor,
    mattes: Tensor,
    labels: Tensor,
    size: int,
) -> tuple[Tensor, Tensor]:
    images, masks = to_images(crops * 2 - 1), to_images(mattes * 2 - 1)
    layers = sharpen(colours, alphas, target, images, masks, labels)
    return paint(layers, [of_crop(*each) for each in zip(images, masks, strict=True)], size)


BOARD_Z, BOARD = WALL_Z + 0.3, (-0.08, 0.02)
"""A board that stands before the wall, and from where to where in x."""


def look_at_board(label: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Distances [side, side] to the board's plane, and x [side, side] where rays meet it."""
    rays = camera_rays(label, side)
    distance = (BOARD_Z - rays.origins[..., 2]) / rays.directions[..., 2]
    x = rays.origins[..., 0] + rays.directions[..., 0] * distance
    return distance.reshape(side, side), x.reshape(side, side)


def on_board(x: Tensor, margin: float = 0.0) -> Tensor:
    return (x > BOARD[0] - margin) & (x < BOARD[1] + margin)


def test_what_something_hides_from_the_source_takes_none_of_its_colours() -> None:
    crop, truth, target, source = scene(0.3)
    distance, x = look_at_board(target.labels, RAW)
    depth = torch.where(on_board(x), distance, target.depth)
    _, x_source = look_at_board(source.labels, CROP)
    red = torch.tensor([1.0, 0.0, 0.0])[:, None, None]
    crop = torch.where(on_board(x_source), red, crop[0])[None]
    # Where the new camera sees the wall, but the source sees the board before it.
    _, points = look_at_wall(target.labels, SIDE)
    camera = source.labels[0, :16].reshape(4, 4)[:3, 3]
    share = (BOARD_Z - camera[2]) / (points[:, 2] - camera[2])
    passed = (camera + share[:, None] * (points - camera))[:, 0].reshape(SIDE, SIDE)
    _, x_target = look_at_board(target.labels, SIDE)
    shadow = on_board(passed, -0.025) & ~on_board(x_target, 0.025)
    rendered = coarse(truth)
    board = target._replace(depth=depth)
    result, _ = finished(rendered, OPAQUE, board, crop, SOLID, source.labels, SIDE)
    assert shadow.sum() > 100
    assert (result - rendered)[0, 0][shadow].mean() < 0.1  # the board's red is 0.55 more


def test_what_the_source_sees_from_the_side_borrows_the_other_half() -> None:
    crop, truth, target, source = scene(0.2)
    mattes = SOLID.clone()
    mattes[..., : CROP // 2] = 0.5  # too thin in the source's left half to be fetched
    rendered = coarse(truth)
    result, alphas = finished(rendered, OPAQUE, target, crop, mattes, source.labels, SIDE)
    result = result / alphas
    left, right = (..., slice(10, -10), slice(4, 20)), (..., slice(10, -10), slice(44, 54))
    # The other half's stripes over the volume's own tone.
    assert (result - rendered)[left].mean(dim=(0, 2, 3)).abs().max() < 0.06
    assert result[left][:, 0].std() > 0.7 * truth[left][:, 0].std()
    assert (result - truth)[right].abs().max() < 0.03


def test_where_the_source_shows_nobody_nobody_is() -> None:
    crop, truth, target, source = scene(0.15)
    mattes = SOLID.clone()
    mattes[..., : CROP // 2] = 0
    rendered = coarse(truth)
    result, alphas = finished(rendered, OPAQUE, target, crop, mattes, source.labels, SIDE)
    assert alphas[..., 10:-10, 6 : SIDE // 2 - 10].max() < 0.02
    assert result[..., 10:-10, 6 : SIDE // 2 - 10].max() < 0.02
    assert alphas[..., 10:-10, SIDE // 2 + 6 :].min() > 0.98


def test_what_the_source_does_not_frame_is_the_volumes_but_a_body_goes_on_below() -> None:
    crop, truth, target, source = scene(0.0)
    shift = target.labels.clone()
    nobody = torch.zeros_like(SOLID)
    for axis, sign in ((0, 1), (0, -1), (1, 1), (1, -1)):  # x to the right, y upward
        moved = shift.clone()
        moved[:, 3 + 4 * axis] += sign * 5.0  # nothing of the source's frame is seen
        distance, _ = look_at_wall(moved, RAW)
        seen = Seen(moved, distance, torch.ones(1, 1, RAW, RAW))
        _, alphas = finished(coarse(truth), OPAQUE, seen, crop, nobody, source.labels, SIDE)
        assert alphas.min() > 0.99
    below = shift.clone()
    below[:, 7] -= 0.07  # the frame's lower border is now above the middle of the last eighth
    distance, _ = look_at_wall(below, RAW)
    seen = Seen(below, distance, torch.ones(1, 1, RAW, RAW))
    grey = torch.full_like(truth, 0.5)
    result, _ = finished(
        grey, OPAQUE, seen, torch.ones_like(crop) * 0.7, SOLID, source.labels, SIDE
    )
    assert (result[..., 10:, 10:-10] - 0.7).abs().max() < 0.06


def test_a_wholly_different_colour_is_mostly_not_believed() -> None:
    crop, truth, target, source = scene(0.3)
    black = torch.zeros_like(truth)
    result, _ = finished(black, OPAQUE, target, torch.ones_like(crop), SOLID, source.labels, SIDE)
    assert result.max() < 0.4


def test_where_nothing_is_nothing_comes() -> None:
    crop, truth, target, source = scene(0.3)
    clear = torch.zeros_like(OPAQUE)
    empty = target._replace(alpha=torch.zeros_like(target.alpha))
    result, _ = finished(torch.zeros_like(truth), clear, empty, crop, SOLID, source.labels, SIDE)
    assert (result == 0).all()


def test_colours_stay_premultiplied() -> None:
    crop, truth, target, source = scene(0.3)
    thin = torch.full_like(OPAQUE, 0.95)
    result, _ = finished(coarse(truth) * thin, thin, target, crop, SOLID, source.labels, SIDE)
    assert (result <= thin + 1e-6).all()
    assert (result / thin - truth)[INNER].abs().max() < 0.03


def test_a_picture_does_not_depend_on_the_batch() -> None:
    scenes = [scene(0.3), scene(-0.2)]

    def joined(views: Sequence[Seen]) -> Seen:
        return Seen(*(torch.cat(field) for field in zip(*(v[:3] for v in views), strict=True)))

    def run(parts: list[tuple[Tensor, Tensor, Seen, Seen]]) -> Tensor:
        crops, truths, targets, sources = zip(*parts, strict=True)
        count = len(parts)
        opaque, solid = OPAQUE.expand(count, -1, -1, -1), SOLID.expand(count, -1, -1, -1)
        rendered = coarse(torch.cat(truths))
        target, source = joined(targets), joined(sources)
        return finished(rendered, opaque, target, torch.cat(crops), solid, source.labels, SIDE)[0]

    together = run(scenes)
    alone = torch.cat([run([part]) for part in scenes])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)  # order of summation


def test_the_result_is_as_large_as_asked_and_as_fine_as_the_source() -> None:
    crop, truth, target, source = scene(0.0)
    rendered = F.interpolate(coarse(truth), size=RAW, mode="area")
    opaque = F.interpolate(OPAQUE, size=RAW, mode="area")
    result, alphas = finished(rendered, opaque, target, crop, SOLID, source.labels, SIDE)
    assert result.shape == truth.shape
    assert (alphas == 1).all()
    assert (result - truth)[INNER].abs().max() < 0.03


def test_the_rim_of_a_head_keeps_none_of_what_is_behind_it() -> None:
    crop, truth, target, source = scene(0.0)
    mattes = SOLID.clone()
    mattes[..., CROP // 2 :] = 0.4  # half transparent hair before a red wall
    crop[..., CROP // 2 :] = torch.tensor([1.0, 0.0, 0.0])[None, :, None, None]
    rendered = coarse(truth)
    result, _ = finished(rendered, OPAQUE, target, crop, mattes, source.labels, SIDE)
    assert (result[:, 0] - rendered[:, 0])[INNER].max() < 0.35


def test_a_camera_that_stays_where_it_is_shows_the_source_even_beside_an_empty_volume() -> None:
    crop, truth, target, source = scene(0.0)
    alpha = target.alpha.clone()
    alpha[..., RAW // 2 :] = 0
    depth = torch.where(alpha > 0, target.depth, 0)
    opaque = F.interpolate(alpha, size=SIDE, mode="nearest")
    seen = target._replace(alpha=alpha, depth=depth, labels=source.labels)
    result, _ = finished(coarse(truth) * opaque, opaque, seen, crop, SOLID, source.labels, SIDE)
    assert result.isfinite().all()
    assert (result - truth)[..., 10:-10, 10 : SIDE // 2 - 6].abs().max() < 0.05


def test_from_its_own_camera_a_head_has_the_outline_of_its_matte() -> None:
    crop, truth, target, source = scene(0.0)
    mattes = SOLID.clone()
    mattes[..., CROP // 2 :] = torch.linspace(1, 0, CROP // 2)  # much softer than the volume's
    alpha = target.alpha.clone()
    alpha[..., 3 * RAW // 4 :] = 0
    opaque = F.interpolate(alpha, size=SIDE, mode="nearest")
    seen = target._replace(alpha=alpha)
    rendered = coarse(truth) * opaque
    result, alphas = finished(rendered, opaque, seen, crop, mattes, source.labels, SIDE)
    outline = F.avg_pool2d(mattes, 2)
    assert (alphas - outline)[INNER].abs().max() < 0.02
    assert (result - truth * outline)[INNER].abs().max() < 0.05


def test_an_outline_turns_from_the_mattes_to_the_volumes_without_a_jump() -> None:
    outlines = []
    for step in range(13):
        crop, truth, target, source = scene(step * 0.01)
        opaque = OPAQUE.clone()
        opaque[..., 3 * SIDE // 4 :] = 0
        rendered = coarse(truth) * opaque
        _, alphas = finished(rendered, opaque, target, crop, SOLID, source.labels, SIDE)
        outlines.append(float(alphas[..., 20:-20, 3 * SIDE // 4 + 1 : -8].mean()))
    assert outlines[0] > 0.99
    assert outlines[-1] < 0.1
    assert max(abs(b - a) for a, b in pairwise(outlines)) < 0.2


FINE = 512


def test_detail_comes_from_the_frame_itself_and_is_finer_than_the_crop() -> None:
    source = scene(0.0)[3]
    frame = np.random.default_rng(5).integers(0, 256, (FINE, 2 * FINE, 3), np.uint8)
    fit = geometry.CropFit(np.array([FINE, FINE / 2]), float(FINE), 0.0)
    face = cut_face(frame, np.full((8, 8), 255, np.uint8), fit, 0.0, 0.0, CROP, 1.0)
    rendered = F.avg_pool2d(to_tensor([face.crop]).add(1).div(2), CROP // SIDE)
    layers = sharpen(rendered, OPAQUE, source, [face.crop], [face.alpha], source.labels)
    result, _ = paint(layers, [source_of(frame, face, FINE)], FINE)
    (shown,) = to_images(result * 2 - 1)
    middle = slice(FINE // 4, -FINE // 4)
    same = frame[:, FINE // 2 : -FINE // 2][middle, middle].astype(int)
    assert abs(shown[middle, middle] - same).mean() < 4


@pytest.mark.parametrize("roll", [0.0, 0.4])
def test_a_frame_much_finer_than_the_result_is_reduced_first(roll: float) -> None:
    checks = np.indices((FINE, FINE)).sum(axis=0) % 2 * 255
    frame = np.repeat(checks[..., None], 3, axis=2).astype(np.uint8)
    fit = geometry.CropFit(np.array([FINE / 2, FINE / 2]), 300.0, roll)
    face = cut_face(frame, np.full((8, 8), 255, np.uint8), fit, 0.0, 0.0, CROP, 1.0)
    assert source_of(frame, face, 256).picture is frame
    assert source_of(frame, face, 96).picture.shape == (96, 96, 3)
    assert source_of(frame, face, 96).picture[8:-8, 8:-8].std() < 8
    assert source_of(frame, face, CROP).picture is face.crop


def test_a_place_in_the_crop_is_the_same_place_in_the_frame() -> None:
    frame = np.zeros((90, 160, 3), np.uint8)
    fit = geometry.CropFit(np.array([70.0, 40.0]), 50.0, 0.3)
    face = cut_face(frame, np.full((8, 8), 255, np.uint8), fit, 0.0, 0.0, 32, 1.0)
    place = source_of(frame, face, 64).place
    for x, y in ((-1, -1), (0, 0), (0.5, -0.25)):
        in_crop = np.array([(x + 1) * 16, (y + 1) * 16, 1])
        np.testing.assert_allclose(place @ [x, y, 1], face.image_from_crop @ in_crop)


def recalling(share: float) -> Recalled:
    """A frame from the front, in which the wall has the texture's colours in another light."""
    crop, _, _, source = scene(0.0)
    picture = to_images(crop * 2 - 1 - 0.1)
    return Recalled(
        picture, to_images(SOLID * 2 - 1), source.labels, torch.full((1, 1, 1, 1), share)
    )


def test_what_no_frame_shows_now_has_the_colours_that_an_earlier_one_saw() -> None:
    _, truth, target, _ = scene(0.2)
    rendered = torch.full_like(truth, 0.5)
    blank = np.zeros((CROP, CROP, 3), np.uint8), np.zeros((CROP, CROP), np.uint8)  # nobody is there
    behind = labels((0.0, 0.0))
    args = (rendered, OPAQUE, target, [blank[0]], [blank[1]], behind)
    without = sharpen(*args).picture
    assert torch.equal(sharpen(*args, recalled=recalling(0.0)).picture, without)
    found = sharpen(*args, recalled=recalling(1.0)).picture
    slope = coarse(truth) - 0.05
    assert (found - slope)[INNER].abs().mean() < 0.3 * (without - slope)[INNER].abs().mean()


def test_what_the_frame_shows_does_not_change_by_what_is_remembered() -> None:
    crop, truth, target, source = scene(0.2)
    args = (coarse(truth), OPAQUE, target, to_images(crop * 2 - 1), to_images(SOLID * 2 - 1))
    alone = sharpen(*args, source.labels)
    both = sharpen(*args, source.labels, recalled=recalling(1.0))
    assert torch.equal(both.own, alone.own)
    apart = (both.picture - alone.picture).abs() * (alone.own[:, 2:3] > 0.99)
    assert float(apart[INNER].max()) < 0.02
