"""One input picture of a head, what other cameras see of it, and what each method makes of that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tpvideo.pipeline.frame import Face, Image
from tpvideo.stages import geometry, pixels
from tpvideo.stages.detail import Seen, sharpen
from tpvideo.stages.invert import Inversion
from tpvideo.stages.networks.triplanenet import TriPlaneNet
from tpvideo.stages.networks.volume import camera_rays
from tpvideo.stages.paint import of_crop, paint
from tpvideo.stages.render import premultiplied
from tpvideo.weights.evaluation.baselines import mean_head, planar_warp, reprojected
from tpvideo.weights.evaluation.report import Row
from tpvideo.weights.evaluation.scores import psnr, ssim

MODEL, DETAIL, INPUT = "model", "model with detail", "input repeated"
MEAN, WARP, MEAN_DEPTH = "mean head", "planar warp", "reprojection through the mean head"

EYES_APART = float(np.linalg.norm(geometry.MEAN_LANDMARKS[0] - geometry.MEAN_LANDMARKS[1]))
"""Distance between the eyes of the mean head, scene units."""

FACE_REACH = 1.2 * EYES_APART
"""How far from the middle of the mean landmarks the visible face reaches."""


@dataclass(frozen=True, slots=True)
class Target:
    """What one camera really sees."""

    name: str
    label: Tensor
    """[1, 25]."""
    truth: Tensor
    """[1, 3, T, T] on black, 0..1."""
    mask: Tensor
    """[1, 1, T, T] 1 where the head is."""
    others: Tensor | None = None
    """[1, 3, T, T] the mean of other heads in this view, on black, 0..1."""
    depth: Tensor | None = None
    """[1, 1, D, D] along the optical axis, scene units; 0 where nothing is."""


@dataclass(frozen=True, slots=True)
class Case:
    """One input."""

    face: Face
    """Its crop, matte and camera."""
    repeated: Tensor
    """[1, 3, T, T] the input in the targets' frame, on black, 0..1."""
    fill: Tensor
    """[1, 3, 1, 1] colour of what the input does not show, where a target has no `others`."""
    targets: Sequence[Target]


@dataclass(frozen=True, slots=True)
class Made:
    """A method's picture of a target."""

    method: str
    target: Target
    picture: Tensor
    """[1, 3, T, T] on black, 0..1."""
    seen: Seen | None = None
    """The surface that it stands on, where it has one of its own."""


@torch.inference_mode()
def attempts(network: TriPlaneNet, case: Case) -> Iterator[Made]:
    """Every method on every target of a case, on the CPU."""
    face = case.face
    [head] = Inversion(network).invert([face])
    source = torch.from_numpy(face.camera)[None]
    crop, matte = (pixels.to_tensor([p]).add(1).div(2) for p in (face.crop, face.alpha))
    rgba = torch.cat([crop * matte, matte], dim=1)
    for target in case.targets:
        side = target.truth.shape[-1]
        view = network.render(head.planes[None], head.latents[None], target.label)
        colours, alphas = premultiplied(view.image.float(), view.alpha)
        both = fitted(torch.cat([colours, alphas], dim=1), side).clamp(0, 1)
        seen = Seen(target.label, view.depth, view.alpha)
        layers = sharpen(both[:, :3], both[:, 3:], seen, [face.crop], [face.alpha], source)
        yield Made(MODEL, target, both[:, :3], seen)
        yield Made(DETAIL, target, paint(layers, [of_crop(face.crop, face.alpha)], side)[0])
        yield Made(INPUT, target, case.repeated)
        if target.others is not None:
            yield Made(MEAN, target, target.others)
        yield Made(WARP, target, planar_warp(rgba, source, target.label, side))
        mean = mean_head(network, target.label)
        fill = case.fill.expand(1, 3, side, side) if target.others is None else target.others
        picture = reprojected(face.crop, face.alpha, source, mean, fill, side)
        yield Made(MEAN_DEPTH, target, picture, mean)


def scored(made: Made, source_yaw_rad: float, name: str) -> Row:
    """Foreground PSNR (dB) and SSIM of a picture; depth errors where both depths are known."""
    target = made.target
    scores = {
        "psnr_db": float(psnr(made.picture, target.truth, target.mask)),
        "ssim": float(ssim(made.picture, target.truth, target.mask)),
    }
    if made.seen is not None and target.depth is not None:
        scores |= depth_errors(made.seen, target.depth)
    yaw = geometry.angles(target.label[0, :16].reshape(4, 4).numpy())[0]
    return Row(name, made.method, yaw, abs(yaw - source_yaw_rad), scores)


def depth_errors(seen: Seen, truth: Tensor) -> dict[str, float]:
    """Mean absolute error of the visible face's depth, in distances between the eyes: as it is
    (`depth`), and without the median offset along the axis (`shape`), which one picture cannot
    tell from the head's size. Nothing where no face is to be seen.

    Args:
        truth: [1, 1, D, D] along the optical axis; 0 where nothing is.
    """
    side = truth.shape[-1]
    rays = camera_rays(seen.labels, side)
    depth = along_axis(seen, side)
    distance = (truth / _slant(seen.labels, side)).flatten(2).transpose(1, 2)
    points = rays.origins + rays.directions * distance
    middle = torch.as_tensor(geometry.MEAN_LANDMARKS.mean(axis=0), dtype=points.dtype)
    near = ((points - middle).norm(dim=-1) < FACE_REACH).reshape(1, 1, side, side)
    face = near & (truth > 0) & (fitted(seen.alpha, side) > 0.5)
    if not bool(face.any()):
        return {}
    error = (depth - truth)[face] / EYES_APART
    return {
        "depth": float(error.abs().mean()),
        "shape": float((error - error.median()).abs().mean()),
    }


def along_axis(seen: Seen, side: int) -> Tensor:
    """[1, 1, side, side] depth along the optical axis, scene units."""
    return fitted(seen.depth, side) * _slant(seen.labels, side)


def _slant(labels: Tensor, side: int) -> Tensor:
    """[1, 1, side, side] depth along the optical axis for each unit along a pixel's ray."""
    forward = labels[:, None, [2, 6, 10]]
    directions = camera_rays(labels, side).directions
    return (directions * forward).sum(dim=-1).reshape(1, 1, side, side)


def fitted(pictures: Tensor, side: int) -> Tensor:
    """[B, C, side, side], antialiased."""
    if pictures.shape[-1] == side:
        return pictures
    return F.interpolate(pictures, size=(side, side), mode="bilinear", antialias=True)


def as_image(picture: Tensor) -> Image:
    """[H, W, 3] of [1, 3, H, W], 0..1."""
    return pixels.to_images(picture * 2 - 1)[0]


def sheet_of(rows: Sequence[Sequence[Tensor]], side: int) -> Image:
    """[H, W, 3] rows of pictures [1, 3, T, T]."""
    return np.concatenate(
        [np.concatenate([as_image(fitted(p, side)) for p in row], axis=1) for row in rows]
    )
