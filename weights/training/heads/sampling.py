"""Look-ups that shading kernels share: textures, surroundings, shadow; and small vectors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tpvideo.weights.training.heads.kernel import F32, U8, compiled

Vector = tuple[float, float, float]


class Shadow(NamedTuple):
    """What the key lamp sees."""

    from_world: F32
    """[3, 4] world to (x px, y px, depth)."""
    depth: F32
    """[S, S]."""


@compiled
def dot(a: Vector, b: Vector) -> float:
    """Inner product."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@compiled
def plus(a: Vector, b: Vector, share: float) -> Vector:
    """a + share * b."""
    return a[0] + share * b[0], a[1] + share * b[1], a[2] + share * b[2]


@compiled
def times(a: Vector, b: Vector) -> Vector:
    """Component by component."""
    return a[0] * b[0], a[1] * b[1], a[2] * b[2]


@compiled
def normalised(a: Vector) -> Vector:
    """Of length 1."""
    inverse = 1.0 / np.sqrt(dot(a, a) + 1e-12)
    return a[0] * inverse, a[1] * inverse, a[2] * inverse


@compiled
def texture_colour(texture: U8, u: float, v: float, linear: F32) -> Vector:
    """Bilinear look-up, held at the border; `linear` [256] turns bytes to light."""
    rows, columns = texture.shape[0], texture.shape[1]
    x = min(max(u * columns - 0.5, 0.0), columns - 1.001)
    y = min(max((1.0 - v) * rows - 0.5, 0.0), rows - 1.001)
    i, j = int(y), int(x)
    fx, fy = x - j, y - i
    w00, w01, w10, w11 = (1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy
    red = linear[texture[i, j, 0]] * w00 + linear[texture[i, j + 1, 0]] * w01
    red += linear[texture[i + 1, j, 0]] * w10 + linear[texture[i + 1, j + 1, 0]] * w11
    green = linear[texture[i, j, 1]] * w00 + linear[texture[i, j + 1, 1]] * w01
    green += linear[texture[i + 1, j, 1]] * w10 + linear[texture[i + 1, j + 1, 1]] * w11
    blue = linear[texture[i, j, 2]] * w00 + linear[texture[i, j + 1, 2]] * w01
    blue += linear[texture[i + 1, j, 2]] * w10 + linear[texture[i + 1, j + 1, 2]] * w11
    return red, green, blue


@compiled
def panorama_colour(panorama: F32, direction: Vector) -> Vector:
    """Bilinear look-up in an equirectangular picture, wrapped around; +y is up."""
    rows, columns = panorama.shape[0], panorama.shape[1]
    x = (np.arctan2(direction[0], direction[2]) * 0.15915494 + 0.5) * columns - 0.5
    y = np.arccos(min(max(direction[1], -1.0), 1.0)) * 0.31830989 * rows - 0.5
    y = min(max(y, 0.0), rows - 1.001)
    j, i = int(np.floor(x)), int(y)
    fx, fy = x - j, y - i
    left, right = j % columns, (j + 1) % columns
    w00, w01, w10, w11 = (1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy
    red = panorama[i, left, 0] * w00 + panorama[i, right, 0] * w01
    red += panorama[i + 1, left, 0] * w10 + panorama[i + 1, right, 0] * w11
    green = panorama[i, left, 1] * w00 + panorama[i, right, 1] * w01
    green += panorama[i + 1, left, 1] * w10 + panorama[i + 1, right, 1] * w11
    blue = panorama[i, left, 2] * w00 + panorama[i, right, 2] * w01
    blue += panorama[i + 1, left, 2] * w10 + panorama[i + 1, right, 2] * w11
    return red, green, blue


@compiled
def ambient(irradiance: F32, normal: Vector) -> Vector:
    """Irradiance over pi from all around a surface, by spherical harmonics [9, 3]."""
    return (
        max(_harmonic_sum(irradiance[:, 0], normal), 0.0),
        max(_harmonic_sum(irradiance[:, 1], normal), 0.0),
        max(_harmonic_sum(irradiance[:, 2], normal), 0.0),
    )


@compiled
def _harmonic_sum(c: F32, normal: Vector) -> float:
    x, y, z = normal
    first = c[0] + c[1] * y + c[2] * z + c[3] * x + c[4] * x * y + c[5] * y * z
    total: float = first + c[6] * (3 * z * z - 1) + c[7] * x * z + c[8] * (x * x - y * y)
    return total


@compiled
def lamp_share(shadow: Shadow, point: Vector, bias: float, softness: float) -> float:
    """Share of 25 shadow-map places, `softness` pixels apart, from which the lamp is seen."""
    view, depth = shadow.from_world, shadow.depth
    px, py, pz = point
    x = int(view[0, 0] * px + view[0, 1] * py + view[0, 2] * pz + view[0, 3])
    y = int(view[1, 0] * px + view[1, 1] * py + view[1, 2] * pz + view[1, 3])
    near = view[2, 0] * px + view[2, 1] * py + view[2, 2] * pz + view[2, 3] - bias
    step = int(softness)
    border = 2 * step + 1
    side = depth.shape[0]
    if x < border or y < border or x >= side - border or y >= side - border:
        return 1.0
    seen = 0.0
    for j in range(-2, 3):
        for i in range(-2, 3):
            if depth[y + j * step, x + i * step] >= near:
                seen += 1.0
    return seen * 0.04
