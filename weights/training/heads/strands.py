"""Hair strands: growing them over a head, curling and clumping them, and the ribbon texture."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from scipy.spatial import cKDTree

from tpvideo.weights.training.heads.kernel import F32, F64, U8, Array, compiled

ATLAS_COLUMNS = 8
"""Ribbons that lie side by side in the strand texture."""


@compiled
def _distance(field: F32, low: F64, step: float, x: float, y: float, z: float) -> float:
    """Trilinear signed distance to the skin, held at the border of the grid."""
    fx = min(max((x - low[0]) / step, 0.0), field.shape[0] - 1.001)
    fy = min(max((y - low[1]) / step, 0.0), field.shape[1] - 1.001)
    fz = min(max((z - low[2]) / step, 0.0), field.shape[2] - 1.001)
    i, j, k = int(fx), int(fy), int(fz)
    fx -= i
    fy -= j
    fz -= k
    c00 = field[i, j, k] * (1 - fx) + field[i + 1, j, k] * fx
    c10 = field[i, j + 1, k] * (1 - fx) + field[i + 1, j + 1, k] * fx
    c01 = field[i, j, k + 1] * (1 - fx) + field[i + 1, j, k + 1] * fx
    c11 = field[i, j + 1, k + 1] * (1 - fx) + field[i + 1, j + 1, k + 1] * fx
    near, far = c00 * (1 - fy) + c10 * fy, c01 * (1 - fy) + c11 * fy
    distance: float = near * (1 - fz) + far * fz
    return distance


@compiled
def _outward(
    field: F32, low: F64, step: float, x: float, y: float, z: float
) -> tuple[float, float, float]:
    """Unit gradient of the distance field."""
    e = step * 0.5
    gx = _distance(field, low, step, x + e, y, z) - _distance(field, low, step, x - e, y, z)
    gy = _distance(field, low, step, x, y + e, z) - _distance(field, low, step, x, y - e, z)
    gz = _distance(field, low, step, x, y, z + e) - _distance(field, low, step, x, y, z - e)
    inverse = 1.0 / np.sqrt(gx * gx + gy * gy + gz * gz + 1e-9)
    return gx * inverse, gy * inverse, gz * inverse


@compiled
def grow(
    roots: F64,
    directions: F64,
    lengths: F64,
    clearances: F64,
    gravity: F64,
    wander: F64,
    frizz: float,
    stiffness: float,
    adhesion: float,
    field: F32,
    low: F64,
    step: float,
    points: F64,
    heights: F64,
) -> None:
    """Grow n strands of K points, each step turned by gravity and chance and kept off the skin.

    Lengths are in units of the mean head (centimetres, about).

    Args:
        roots, directions: [n, 3], directions of unit length.
        lengths, clearances, gravity: [n] length, distance kept from the skin, pull.
        wander: [n, K, 3] normal random numbers, scaled by `frizz`.
        stiffness: 0..1, how much the root resists gravity.
        adhesion: 0..1, how far each step is drawn back to the clearance, above the ears.
        field, low, step: signed distance to the skin on a grid from `low` with spacing `step`.
        points: [n, K, 3] result; heights: [n, K] distance from the skin, result.
    """
    count = points.shape[1]
    for i in range(roots.shape[0]):
        px, py, pz = roots[i, 0], roots[i, 1], roots[i, 2]
        dx, dy, dz = directions[i, 0], directions[i, 1], directions[i, 2]
        h = lengths[i] / (count - 1)
        points[i, 0, 0], points[i, 0, 1], points[i, 0, 2] = px, py, pz
        heights[i, 0] = 0.0
        for k in range(1, count):
            pull = gravity[i] * h * (1.0 - stiffness * np.exp(-2.0 * k / count))
            if py < 4.0 and gravity[i] > 0.1:  # below the ears hair hangs straight
                dx *= 0.72
                dz *= 0.72
            dx += frizz * wander[i, k, 0]
            dy += frizz * wander[i, k, 1] - pull
            dz += frizz * wander[i, k, 2]
            inverse = 1.0 / np.sqrt(dx * dx + dy * dy + dz * dz + 1e-9)
            qx, qy, qz = px + dx * inverse * h, py + dy * inverse * h, pz + dz * inverse * h
            height = _distance(field, low, step, qx, qy, qz)
            wanted = clearances[i] * min(1.0, 0.35 + 1.3 * k / count)
            push = 0.0
            if height < wanted:
                push = wanted - height
            elif adhesion > 0.0 and height > wanted and qy > 0.5:
                push = adhesion * min(1.0, (qy - 0.5) * 0.2) * (wanted - height)
            if push != 0.0:
                gx, gy, gz = _outward(field, low, step, qx, qy, qz)
                qx += gx * push
                qy += gy * push
                qz += gz * push
            dx, dy, dz = qx - px, qy - py, qz - pz
            inverse = 1.0 / np.sqrt(dx * dx + dy * dy + dz * dz + 1e-9)
            dx *= inverse
            dy *= inverse
            dz *= inverse
            px += dx * h
            py += dy * h
            pz += dz * h
            points[i, k, 0], points[i, k, 1], points[i, k, 2] = px, py, pz
            heights[i, k] = height + push


def unit(vectors: Array) -> Array:
    """Vectors [..., 3] over their length."""
    result: Array = vectors / (np.linalg.norm(vectors, axis=-1, keepdims=True) + 1e-9)
    return result


@compiled
def edges(spines: F32, tangents: F32, widths: F32, toward: F32, far: bool, out: F32) -> None:
    """The two edges of n ribbons along spines of K points, for whom they face.

    Args:
        spines: [n, K, 3]; tangents: [n K, 3]; widths: [n].
        toward: [3] place of the camera, or, if `far`, the direction to it.
        out: [n K 2, 3] left and right edge of every point, result.
    """
    count = spines.shape[1]
    for i in range(spines.shape[0]):
        half = widths[i] * 0.5
        for k in range(count):
            j = i * count + k
            x, y, z = spines[i, k, 0], spines[i, k, 1], spines[i, k, 2]
            vx, vy, vz = toward[0] * 1.0, toward[1] * 1.0, toward[2] * 1.0
            if not far:
                vx, vy, vz = vx - x, vy - y, vz - z
            tx, ty, tz = tangents[j, 0], tangents[j, 1], tangents[j, 2]
            ax, ay, az = ty * vz - tz * vy, tz * vx - tx * vz, tx * vy - ty * vx
            share = half / (np.sqrt(ax * ax + ay * ay + az * az) + 1e-9)
            for side in range(2):
                sign = share if side else -share
                out[2 * j + side, 0] = x + sign * ax
                out[2 * j + side, 1] = y + sign * ay
                out[2 * j + side, 2] = z + sign * az


def curl(points: Array, radius: F64, turns: F64, phase: F64) -> Array:
    """Wind every strand [n, K, 3] into a helix of `radius`, `turns` and `phase` (rad), [n]."""
    along = unit(np.gradient(points, axis=1))
    across = unit(np.cross(along, np.array([0.3, 0.2, 0.93])))
    other = np.cross(along, across)
    s = np.linspace(0, 1, points.shape[1])[None]
    width = (radius[:, None] * np.minimum(s * 2.5, 1))[..., None]
    angle = (phase[:, None] + 2 * np.pi * turns[:, None] * s)[..., None]
    wound: Array = points + width * (across * np.cos(angle) + other * np.sin(angle))
    return wound


def clump(points: Array, guides: int, strength: float, rng: Generator) -> Array:
    """Draw the tips of strands [n, K, 3] toward the nearest of `guides` strands among them."""
    chosen = rng.choice(len(points), min(guides, len(points)), replace=False)
    guide = chosen[cKDTree(points[chosen, 0]).query(points[:, 0])[1]]
    s = np.linspace(0, 1, points.shape[1])[None, :, None] ** 1.2 * strength
    target = points[guide] + (points[:, :1] - points[guide, :1]) * 0.25
    drawn: Array = points * (1 - s) + target * s
    return drawn


def strand_texture(rng: Generator, width: int = 32, height: int = 256) -> U8:
    """[height, 8 * width, 2] luminance and alpha of eight ribbons, roots at the bottom (v = 1)."""
    rows = np.linspace(0, 1, height)[:, None]
    columns = np.arange(width)[None] + 0.5
    ribbons = [_ribbon(rng, hairs, rows, columns) for hairs in (4, 5, 6, 7, 5, 6, 4, 8)]
    return np.concatenate(ribbons, axis=1)


def _ribbon(rng: Generator, hairs: int, rows: F64, columns: Array) -> U8:
    """[h, w, 2] one ribbon of some hairs that run together toward the tip."""
    height, width = len(rows), columns.shape[1]
    alpha = np.zeros((height, width), np.float32)
    luminance = np.zeros((height, width), np.float32)
    weight = np.full((height, width), 1e-3, np.float32)
    for k in range(hairs):
        x = width * (0.12 + 0.76 * (k + rng.uniform(0.1, 0.9)) / hairs)
        drift, wobble, phase = rng.normal(0, 1.2), rng.normal(0, 0.8), rng.uniform(0, 6)
        centre = x + drift * rows + wobble * np.sin(phase + 5 * rows)
        centre = centre * (1 - 0.35 * rows**3) + (width / 2) * 0.35 * rows**3
        spread = rng.uniform(0.9, 1.7) * (1 - 0.5 * rows**4)
        end = rng.uniform(0.82, 1.0)
        hair = np.exp(-0.5 * ((columns - centre) / spread) ** 2)
        hair = hair * np.clip((end - rows) / 0.12, 0, 1)
        luminance += hair * rng.uniform(0.6, 1.45)
        weight += hair
        alpha = np.maximum(alpha, hair * rng.uniform(0.75, 1.0))
    alpha = alpha * np.clip(rows / 0.07 + 0.12, 0, 1)
    luminance = luminance / weight * 128
    both = np.stack([np.clip(luminance, 0, 255), np.clip(alpha * 255, 0, 255)], axis=-1)
    return both.astype(np.uint8)
