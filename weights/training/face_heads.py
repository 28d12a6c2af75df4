"""Rendered heads as the face networks learn from them: packed once, then read at random."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from tpvideo.pipeline.errors import InputError
from tpvideo.stages import geometry
from tpvideo.weights.training.bodies import Layer, anatomy_of, dressed

log = logging.getLogger(__name__)

Array = NDArray[np.float64]

MIRRORED_POINTS = [
    *range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1),
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
    *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), *range(67, 64, -1),
]  # fmt: skip
"""Which of the 68 landmarks each becomes in the mirrored picture."""


class Heads(NamedTuple):
    """Pictures of one size with what is known of them; lengths are sides of the picture."""

    rgba: NDArray[np.uint8]
    """[N, S, S, 4] colour times alpha, and alpha; mapped from disk."""
    points: Array
    """[N, 68, 2] landmarks, x then y."""
    centre: Array
    """[N, 2] centre of the head's square: where the head's centre is seen."""
    side: Array
    """[N] side of that square: EG3D's crop."""
    rotation: Array
    """[N, 3, 3] crop_from_world of a camera in the picture's place that aims at the head."""


def pack_heads(folder: Path, cache: Path, *, wide: bool, size_px: int, held_out: bool) -> Heads:
    """Heads from a dataset folder of npz files, packed into `cache` unless that is done already.

    Args:
        folder: files NNNNNNN.npz of the head generator, named by seed.
        wide: the wide framing (one a file) rather than the crops (four a file, two taken).
        size_px: side to which the pictures are reduced.
        held_out: only the seeds from 900000 on, rather than only those below.

    Raises:
        InputError: the folder holds no such file.
    """
    files = [f for f in sorted(folder.glob("*.npz")) if f.stem.isdigit()]
    files = [f for f in files if (900_000 <= int(f.stem) < 1_000_000) == held_out]
    if not files:
        raise InputError(folder, "no npz files of rendered heads in it")
    kind = f"{'wide' if wide else 'tight'}-{'held' if held_out else 'train'}-{size_px}"
    stem = cache / f"{kind}-{len(files)}"
    pixels, labels = stem.with_suffix(".npy"), stem.with_suffix(".npz")
    if not labels.exists():
        cache.mkdir(parents=True, exist_ok=True)
        views = 1 if wide else 2
        shape = (len(files) * views, size_px, size_px, 4)
        target = np.lib.format.open_memmap(pixels, "w+", np.uint8, shape)
        rows = []
        for row, (rgba, known) in enumerate(_views(files, wide, views)):
            target[row] = cv2.resize(rgba, (size_px, size_px), interpolation=cv2.INTER_AREA)
            rows.append(known)
        target.flush()
        np.savez(labels, **{k: np.stack([row[k] for row in rows]) for k in rows[0]})  # type: ignore[arg-type]
        log.info("packed %d pictures into %s", len(rows), pixels)
    with np.load(labels) as known:
        return Heads(np.load(pixels, mmap_mode="r"), **{k: known[k] for k in known.files})


def _views(
    files: list[Path], wide: bool, views: int
) -> Iterator[tuple[NDArray[np.uint8], Mapping[str, Array]]]:
    prefix = "w_" if wide else ""
    rng = np.random.default_rng(len(files))
    for file in files:
        with np.load(file) as data:
            rgba, points, cameras = (data[prefix + k] for k in ("rgba", "lm68", "c2w"))
            focals = data["w_focal"] if wide else np.full(len(rgba), geometry.FOCAL)
        for view in range(views):
            size = rgba.shape[1]
            known = _labels(cameras[view].astype(np.float64), float(focals[view]))
            picture = rgba[view]
            if wide and rng.random() < 0.6:
                picture = _with_body(picture, points[view].astype(np.float64), rng)
            yield picture, {"points": points[view] / size, **known}


def _with_body(
    rgba: NDArray[np.uint8], points: Array, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """A bust with a torso, arms and hands, so that these are known not to be faces."""
    alpha = rgba[..., 3] * np.float32(1 / 255)
    straight = rgba[..., :3] / np.maximum(alpha, 1 / 255)[..., None]
    head = Layer(np.minimum(straight, np.float32(255)), alpha)
    person = dressed(head, anatomy_of(head, points), rng)
    colour = person.colour * person.alpha[..., None]
    return np.dstack([colour, 255 * person.alpha]).round().clip(0, 255).astype(np.uint8)


def _labels(world_from_camera: Array, focal: float) -> dict[str, Array]:
    """Square and rotation of the head, for a camera that need not aim at it."""
    camera_from_world = world_from_camera[:3, :3].T
    seen = camera_from_world @ (geometry.HEAD_CENTRE - world_from_camera[:3, 3])
    ray = seen / np.linalg.norm(seen)
    # the least turn that brings the ray onto the optical axis
    axis = np.cross(ray, [0.0, 0.0, 1.0])
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    aimed = np.eye(3) + cross + cross @ cross / (1 + ray[2])
    rotation = aimed @ camera_from_world
    yaw, pitch = geometry.angles(_camera(rotation))
    position = geometry.label_camera(yaw, pitch)[:3, 3]
    distance = float(np.linalg.norm(position - geometry.HEAD_CENTRE))
    side = distance / geometry.FOCAL * focal / float(np.linalg.norm(seen))
    centre = 0.5 + focal * seen[:2] / seen[2]
    return {"centre": centre, "side": np.asarray(side), "rotation": rotation}


def _camera(crop_from_world: Array) -> Array:
    camera = np.eye(4)
    camera[:3, :3] = crop_from_world.T
    return camera


def roll_of(rotation: Array) -> float:
    """Roll of a head in its picture, radians, > 0 clockwise, from [3, 3] crop_from_world."""
    return -geometry.roll(_camera(rotation))


def turned(rotation: Array, roll_rad: float, mirrored: bool) -> Array:
    """[3, 3] crop_from_world after the picture was turned clockwise and then perhaps mirrored."""
    cos, sin = math.cos(roll_rad), math.sin(roll_rad)
    turn = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    sign = np.array([-1.0 if mirrored else 1.0, 1.0, 1.0])
    return np.asarray(sign[:, None] * (turn @ rotation) * sign)


def similarity(centre: Array, side: float, angle_rad: float, mirrored: bool) -> Array:
    """[2, 3] map from a square (0..1, x then y) to the picture it is cut from.

    Args:
        centre: [2] of the square in the picture.
        side: of the square, in the picture's units.
        angle_rad: turn of the square, clockwise.
        mirrored: the square's x runs backwards.
    """
    cos, sin = side * math.cos(angle_rad), side * math.sin(angle_rad)
    flip = -1.0 if mirrored else 1.0
    linear = np.array([[cos * flip, -sin], [sin * flip, cos]])
    return np.concatenate([linear, (centre - linear.sum(1) / 2)[:, None]], axis=1)


def invert(affine: Array) -> Array:
    """[2, 3] inverse of an affine map."""
    linear = np.linalg.inv(affine[:, :2])
    return np.concatenate([linear, -linear @ affine[:, 2:]], axis=1)


def apply(affine: Array, points: Array) -> Array:
    """[N, 2] points under a [2, 3] map."""
    return np.asarray(points @ affine[:, :2].T + affine[:, 2])
