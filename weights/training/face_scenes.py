"""Training examples for the face networks, made anew for every batch from heads and backgrounds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tpvideo.weights.training import face_pictures
from tpvideo.weights.training.face_heads import (
    MIRRORED_POINTS,
    Array,
    Heads,
    apply,
    invert,
    roll_of,
    similarity,
    turned,
)
from tpvideo.weights.training.face_pictures import Picture


class Crops(NamedTuple):
    """Examples for the landmark network."""

    pictures: list[Picture]
    """B of [S, S, 3]."""
    points: Tensor
    """[B, 68, 2] in sides of the crop."""
    rotation: Tensor
    """[B, 3, 3] crop_from_world."""
    has_face: Tensor
    """[B] bool; points and rotation count only where true."""


class Scenes(NamedTuple):
    """Examples for the detector."""

    pictures: list[Picture]
    """B of [S, S, 3]."""
    present: Tensor
    """[B, 2] bool, which of the at most two heads there are."""
    centre: Tensor
    """[B, 2, 2] pixels."""
    side: Tensor
    """[B, 2] pixels."""
    roll: Tensor
    """[B, 2] radians, > 0 clockwise."""


@dataclass(frozen=True)
class Stock:
    """All that examples are made of."""

    wide: Heads
    tight: Heads
    bank: NDArray[np.uint8]
    """[N, S, S, 3] pictures without people."""


def crops(stock: Stock, count: int, size_px: int, rng: np.random.Generator) -> Crops:
    """Faces cut out about as a tracker would, with a share of crops that hold none."""
    rows = []
    for index in range(count):
        layer, points, rotation, has_face = _cut((stock.wide, stock.tight)[index % 2], size_px, rng)
        kind = rng.random()
        if kind < 0.13:
            layer, has_face = np.zeros_like(layer), False
        elif kind < 0.19:
            layer, has_face = _faceless(layer, points, rng), False
        rows.append((_compose(layer, stock, rng), points, rotation, has_face))
    return Crops(
        [row[0] for row in rows],
        torch.from_numpy(np.stack([row[1] for row in rows])).float(),
        torch.from_numpy(np.stack([row[2] for row in rows])).float(),
        torch.tensor([row[3] for row in rows]),
    )


def _cut(
    heads: Heads, size_px: int, rng: np.random.Generator
) -> tuple[Picture, Array, Array, bool]:
    pick = rng.integers(len(heads.rgba))
    mirrored = bool(rng.random() < 0.5)
    rotation = heads.rotation[pick]
    # the tracker cuts upright squares, so the head's own roll is mostly taken away
    spread = 0.6 if rng.random() < 0.3 else 0.15
    angle = roll_of(rotation) + spread * float(np.clip(rng.normal(), -2, 2))
    offset, zoom = _misplaced(rng)
    side = heads.side[pick]
    affine = similarity(heads.centre[pick] + offset * side, side * zoom, angle, mirrored)
    points = apply(invert(affine), heads.points[pick])
    if mirrored:
        points = points[MIRRORED_POINTS]
    off = math.hypot(*offset)
    has_face = off < 0.3 and 0.6 < zoom < 1.7
    return (
        _layer(heads.rgba[pick], affine, size_px),
        points,
        turned(rotation, -angle, mirrored),
        has_face,
    )


def _faceless(layer: Picture, points: Array, rng: np.random.Generator) -> Picture:
    """A head without features: all that the landmarks surround is filled with one colour."""
    size_px = layer.shape[0]
    centre = points.mean(axis=0)
    outline = (centre + 1.25 * (points - centre)) * size_px
    mask = np.zeros(layer.shape[:2], np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(outline.astype(np.int32)), 255)
    mask = np.minimum(cv2.blur(mask, (9, 9)), layer[..., 3]).astype(np.uint8)
    colour = layer[rng.integers(size_px), rng.integers(size_px), :3]
    if rng.random() < 0.7:
        skin = _skin(layer[..., :3], layer[..., 3], rng)
        colour = skin.clip(0, 255).astype(np.uint8)
    share = mask[..., None] * np.float32(1 / 255)
    layer[..., :3] = layer[..., :3] * (1 - share) + colour * share
    return layer


def _misplaced(rng: np.random.Generator) -> tuple[Array, float]:
    """Where a crop's centre lies, in sides of the true one, and how large it is: as a tracker
    errs, or so far off that there is no face in it. What lies between is not asked."""
    while True:
        astray = rng.random() < 0.2
        offset = (0.55 if astray else 0.07) * rng.standard_normal(2)
        zoom = math.exp((0.6 if astray else 0.16) * rng.standard_normal())
        off = math.hypot(*offset)
        is_near = off < 0.3 and 0.6 < zoom < 1.7
        if is_near or off > 0.45 or not 0.45 < zoom < 2.2:
            return offset, zoom


def _layer(rgba: Picture, affine: Array, size_px: int) -> Picture:
    """[S, S, 4] colour times alpha, and alpha, through a map from the unit square to the unit
    square of the head's picture."""
    size = rgba.shape[0]
    shrink = math.hypot(affine[0, 0], affine[1, 0]) * size / size_px
    if shrink >= 1.6:
        size = max(16, round(size / shrink))
        rgba = np.asarray(cv2.resize(rgba, (size, size), interpolation=cv2.INTER_AREA), np.uint8)
    pixels = affine * size
    pixels[:, :2] /= size_px
    return face_pictures.warp(rgba, pixels, size_px, cv2.BORDER_CONSTANT)


def _compose(layer: Picture, stock: Stock, rng: np.random.Generator) -> Picture:
    """[S, S, 3] finished picture from the [S, S, 4] heads in it."""
    size_px = layer.shape[0]
    alpha = np.ascontiguousarray(layer[..., 3])
    front = face_pictures.relight(np.ascontiguousarray(layer[..., :3]), rng, 0.6)
    scene = face_pictures.blend(front, alpha, face_pictures.background(stock.bank, size_px, rng))
    if rng.random() < 0.45:
        skin = _skin(front, alpha, rng)
        for _ in range(rng.integers(1, 4)):
            scene = face_pictures.cover(scene, skin, stock.bank, rng)
    if rng.random() < 0.15:
        scene = face_pictures.frame(scene, rng)
    return face_pictures.degrade(scene, rng)


def _skin(front: Picture, alpha: Picture, rng: np.random.Generator) -> Array:
    """[3] colour of what is seen of the heads; of somebody else's where there is none."""
    total = int(alpha.sum())
    if total > 50 * 255:
        return np.asarray(front.sum((0, 1)) * 255 / total)
    light, dark = np.array([242.0, 199.0, 173.0]), np.array([64.0, 38.0, 26.0])
    return np.asarray(light + rng.random() * (dark - light))


def scenes(stock: Stock, count: int, size_px: int, rng: np.random.Generator) -> Scenes:
    """Pictures with two heads, one or none; half of them with small heads."""
    present = np.zeros((count, 2), bool)
    centre = np.zeros((count, 2, 2), np.float32)
    side = np.ones((count, 2), np.float32)
    roll = np.zeros((count, 2), np.float32)
    pictures = []
    for row in range(count):
        layer = np.zeros((size_px, size_px, 4), np.uint8)
        number = rng.choice([0, 1, 2], p=[0.25, 0.5, 0.25])
        smallest, largest = (10, 36) if row % 2 else (30, 140 if number == 1 else 0.55 * size_px)
        for head in range(number):
            middle = size_px * rng.uniform(0.04, 0.96, 2)
            if number == 2:
                middle[0] = 0.42 * middle[0] + 0.56 * head * size_px
            sides = math.exp(rng.uniform(math.log(smallest), math.log(largest)))
            front, angle = _placed(stock.wide, middle, sides, size_px, rng)
            layer = np.asarray(cv2.add(front, face_pictures.dim(layer, front[..., 3])), np.uint8)
            present[row, head], centre[row, head] = True, middle
            side[row, head], roll[row, head] = sides, angle
        pictures.append(_compose(layer, stock, rng))
    labels = (torch.from_numpy(label) for label in (present, centre, side, roll))
    return Scenes(pictures, *labels)


def _placed(
    heads: Heads, middle: Array, side_px: float, size_px: int, rng: np.random.Generator
) -> tuple[Picture, float]:
    """[S, S, 4] layer with one head whose square has this centre and side, and its roll."""
    pick = rng.integers(len(heads.rgba))
    mirrored = bool(rng.random() < 0.5)
    angle = float(np.clip((0.6 if rng.random() < 0.4 else 0.12) * rng.normal(), -1, 1))
    # from the scene's unit square to the head's picture: the head's square lies at `middle`
    affine = similarity(heads.centre[pick], heads.side[pick] * size_px / side_px, -angle, mirrored)
    affine[:, 2] -= affine[:, :2] @ (middle / size_px - 0.5)
    roll = roll_of(heads.rotation[pick]) + angle
    return _layer(heads.rgba[pick], affine, size_px), -roll if mirrored else roll
