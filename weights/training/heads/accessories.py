"""Glasses and hats, as meshes in the units of the mean head."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tpvideo.weights.training.heads.kernel import F32, F64, I32, U8, Array
from tpvideo.weights.training.heads.pack import BACK, FACE, FRAME, HAT, Pack
from tpvideo.weights.training.heads.person import Glasses, Hat
from tpvideo.weights.training.heads.raster import vertex_normals

_RING = 32
_BRIM_ROWS, _BRIM_COLUMNS = 6, 49


class Addition(NamedTuple):
    """A mesh that is put on a head."""

    points: F32
    """[n, 3]."""
    triangles: I32
    """[m, 3]."""
    material: U8
    """[m]."""


NOTHING = Addition(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32), np.zeros(0, np.uint8))


def glasses_meshes(glasses: Glasses, landmarks: F32) -> tuple[Addition, Addition]:
    """The frame and the lenses, placed by 68 landmarks [68, 3]."""
    left, right = (landmarks[42] + landmarks[45]) / 2, (landmarks[36] + landmarks[39]) / 2
    z = max(landmarks[27][2] + 0.35, max(left[2], right[2]) + 1.35)
    y = (left[1] + right[1]) / 2 - 0.15
    width, height, thickness = glasses.half_width, glasses.half_height, glasses.thickness
    centre = max(abs(left[0]) + 0.05, width + 0.35)
    tubes, lenses = [], []
    for side in (-1, 1):
        ring = _rim(glasses, side * centre, y, z)
        x = side * (centre + width)
        hinge = z - 0.045 * x**2 * 0.55
        ear = np.array([side * 7.9, y + 0.1, -0.3])
        bend = np.array([side * max(7.1, abs(x) + 0.1), y + 0.3 * height, hinge - 1.4])
        start = np.array([x, y + 0.35 * height, hinge])
        behind = np.array([side * 7.7, y + 0.3, 3.0])
        temple = np.array([start, bend, behind, ear, ear - np.array([0, 1.2, 1.3])])
        tubes += [_tube(ring, thickness, closed=True), _tube(temple, thickness * 0.8, closed=False)]
        lenses.append(_lens(ring))
    inner, low, high = centre - width, y + 0.15 * height, y + 0.3 * height
    bridge = [[-inner, low, z], [-0.5, high, z + 0.12], [0.5, high, z + 0.12], [inner, low, z]]
    tubes.append(_tube(np.array(bridge), thickness, closed=False))
    return join(tubes), join(lenses)


def hat_mesh(pack: Pack, hat: Hat, points: F32) -> Addition:
    """A beanie or a headband: part of the scalp of a head [n, 3], pushed outward. A cap or a
    brimmed hat: a flatter beanie with a brim."""
    covers = hat != "headband"
    middle = points[pack.mesh.corners].mean(1)
    height = middle[:, 1] - 0.25 * middle[:, 2]
    under = np.isin(pack.mesh.material, [FACE, BACK]) & (height > 6.9)
    if not covers:
        under &= height < 10.6
    corners = pack.mesh.corners[under]
    vertices, triangles = np.unique(corners, return_inverse=True)
    normals = vertex_normals(points, pack.skin)[vertices]
    cloth = points[vertices].copy()
    height = cloth[:, 1] - 0.25 * cloth[:, 2]
    cloth[:, 1] += np.maximum(7.6 - height, 0)  # an even brim
    if covers:
        thick = np.clip((height - 7.2) * 0.6, 0.25, 1)[:, None]
        puff = 1.1 if hat == "beanie" else 0.75
        cloth = cloth + normals * (puff * thick) + np.array([0, 0.35, -0.2], np.float32) * thick
    else:
        cloth[:, 1] -= np.maximum(height - 10.0, 0)
        cloth = cloth + normals * 0.5
    worn = Addition(
        cloth.astype(np.float32),
        triangles.reshape(corners.shape).astype(np.int32),
        np.full(len(corners), HAT, np.uint8),
    )
    if hat == "cap":
        return join([worn, _brim(worn.points, 1.15, 6.5, closed=False)])
    return join([worn, _brim(worn.points, np.pi, 5.5, closed=True)]) if hat == "brimmed" else worn


def _brim(cloth: F32, half_angle: float, reach: float, *, closed: bool) -> Addition:
    """A sheet that leaves the lower edge of a hat [n, 3] outward: within `half_angle` (rad) of
    the front, `reach` wide there."""
    low = cloth[cloth[:, 1] - 0.25 * cloth[:, 2] < 8.4]
    middle = low[:, 2].mean()
    angles = np.arctan2(low[:, 0], low[:, 2] - middle)
    radii = np.hypot(low[:, 0], low[:, 2] - middle)
    theta = np.linspace(-half_angle, half_angle, _BRIM_COLUMNS)
    apart = np.abs((theta[:, None] - angles[None] + np.pi) % (2 * np.pi) - np.pi)
    edge = np.where(apart < 0.25, radii[None], 0).max(axis=1)  # [columns]
    width = (
        np.full_like(theta, reach) if closed else reach * np.cos(theta / half_angle * 1.5) ** 0.6
    )
    out = np.linspace(0, 1, _BRIM_ROWS)[:, None] * width[None]  # [rows, columns]
    radius = edge[None] - 0.2 + out
    x, z = radius * np.sin(theta), middle + radius * np.cos(theta)
    base = 7.7 + 0.25 * (middle + edge * np.cos(theta))
    y = base[None] - 0.12 * out - 0.02 * out * np.abs(x) * (0.6 if closed else 1.0)
    points = np.stack([x, y, z], axis=-1).reshape(-1, 3)
    first = np.arange(_BRIM_ROWS - 1)[:, None] * _BRIM_COLUMNS + np.arange(_BRIM_COLUMNS - 1)
    lower = first + _BRIM_COLUMNS
    quads = [np.stack(corner, axis=-1) for corner in (
        (first, lower, lower + 1), (first, lower + 1, first + 1)
    )]  # fmt: skip
    triangles = np.concatenate(quads).reshape(-1, 3)
    return Addition(
        points.astype(np.float32),
        triangles.astype(np.int32),
        np.full(len(triangles), HAT, np.uint8),
    )


def join(meshes: list[Addition]) -> Addition:
    """All meshes as one."""
    starts = np.cumsum([0] + [len(mesh.points) for mesh in meshes])
    triangles = [
        mesh.triangles + np.int32(start) for mesh, start in zip(meshes, starts[:-1], strict=True)
    ]
    return Addition(
        np.concatenate([mesh.points for mesh in meshes]),
        np.concatenate(triangles),
        np.concatenate([mesh.material for mesh in meshes]),
    )


def _rim(glasses: Glasses, centre: float, y: float, z: float) -> F64:
    """[32, 3] a superellipse, flatter above, curved back with the face."""
    theta = np.linspace(0, 2 * np.pi, _RING + 1)[:-1]
    cos, sin = np.cos(theta), np.sin(theta)
    power = 2 / glasses.squareness
    xs = centre + glasses.half_width * np.sign(cos) * np.abs(cos) ** power
    rise = np.sign(sin) * np.abs(sin) ** power * np.where(sin < 0, 1, 0.85)
    ys = y - 0.1 * glasses.half_height + glasses.half_height * rise
    return np.stack([xs, ys, z - 0.045 * xs**2 * 0.55], axis=1)


def _lens(ring: F64) -> Addition:
    """A fan over a rim."""
    points = np.concatenate([ring.mean(0, keepdims=True) + np.array([0, 0, 0.12]), ring]).astype(
        np.float32
    )
    k = np.arange(_RING)
    triangles = np.stack([np.zeros_like(k), 1 + k, 1 + (k + 1) % _RING], axis=1)
    return Addition(points, triangles.astype(np.int32), np.full(_RING, FRAME, np.uint8))


def _tube(path: Array, radius: float, *, closed: bool) -> Addition:
    """A six-sided tube along points [n, 3]."""
    count, sides = len(path), 6
    angles = 2 * np.pi * np.arange(sides) / sides
    points = []
    for i in range(count):
        if closed:
            along = path[(i + 1) % count] - path[i - 1]
        else:
            along = path[min(i + 1, count - 1)] - path[max(i - 1, 0)]
        along = along / (np.linalg.norm(along) + 1e-9)
        reference = [0.1, 0.2, 0.97] if abs(along[2]) < 0.9 else [1, 0, 0.0]
        across = np.cross(along, reference)
        across /= np.linalg.norm(across)
        other = np.cross(along, across)
        ring = np.cos(angles)[:, None] * across + np.sin(angles)[:, None] * other
        points.append(path[i] + radius * ring)
    triangles = []
    for i in range(count if closed else count - 1):
        here, there = i * sides, (i + 1) % count * sides
        for k in range(sides):
            after = (k + 1) % sides
            triangles.append([here + k, here + after, there + after])
            triangles.append([here + k, there + after, there + k])
    material = np.full(len(triangles), FRAME, np.uint8)
    return Addition(
        np.concatenate(points).astype(np.float32), np.array(triangles, np.int32), material
    )
