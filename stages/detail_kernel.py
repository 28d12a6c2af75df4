"""The compiled loops of detail.py: what the surface of one head shows of its source.

Written for numba: plain loops over numbers, under the names of detail.py, which is the reference.
A picture of C channels is [H, W * C] here, the channels of a pixel side by side.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tpvideo.stages.detail import BELOW, HIDDEN_AT, UNSURE
from tpvideo.stages.grid_kernel import enlarged
from tpvideo.stages.loops import (
    U,
    around,
    between,
    cell,
    f32,
    inlined,
    limited,
    mixed,
    spaced,
)
from tpvideo.stages.networks.vectors import begin, compiled

HIDDEN, LOWEST, APART = f32(1 / HIDDEN_AT), f32(BELOW), f32(UNSURE)
FAR = f32(1e9)
"""Distance at which nothing is."""


@compiled
def solid_depth(depth: Any, alpha: Any, beyond: Any) -> Any:
    """Depth [R, R] with the surface continued past its silhouette; `beyond` where none is near."""
    side, far = depth.shape[0], f32(1e-4) * f32(beyond)
    result = np.empty((side, side), f32)
    weights, totals = np.empty(side + 4, f32), np.empty(side + 4, f32)
    for i in range(side):
        weights[:], totals[:] = f32(0), f32(0)
        for row in range(max(i - 2, 0), min(i + 3, side)):
            for j in range(U(side)):
                weight = limited(alpha[row, j], 0, 1)
                weight *= weight
                weights[j + U(2)] += weight
                totals[j + U(2)] += weight * depth[row, j]
        for j in range(U(side)):
            known, total = f32(0), f32(0)
            for k in range(U(5)):
                known += weights[j + k]
                total += totals[j + k]
            mean = (total * f32(1 / 25) + far) / (known * f32(1 / 25) + f32(1e-4))
            share = limited((alpha[i, j] - f32(0.7)) * f32(1 / 0.2), 0, 1)
            result[i, j] = mean + share * (depth[i, j] - mean)
    return result


@compiled
def surface(depth: Any, cameras: Any) -> Any:
    """World points [L, 3 L] at a depth [L, L] and unit vectors to the camera; `cameras` [1, 25],
    or [L, 25] for the rows."""
    side = depth.shape[0]
    points, toward = np.empty((side, 3 * side), f32), np.empty((side, 3 * side), f32)
    for i in range(side):
        camera = cameras[min(i, len(cameras) - 1)]
        y = ((f32(i) + f32(0.5)) / f32(side) - camera[21]) / camera[20]
        shift = camera[18] + camera[17] * y
        for j in range(side):
            x = ((f32(j) + f32(0.5)) / f32(side) - shift) / camera[16]
            a = camera[0] * x + camera[1] * y + camera[2]
            b = camera[4] * x + camera[5] * y + camera[6]
            c = camera[8] * x + camera[9] * y + camera[10]
            length = f32(1) / np.sqrt(a * a + b * b + c * c)
            a, b, c = a * length, b * length, c * length
            at, distance = U(3 * j), depth[i, U(j)]
            points[i, at] = camera[3] + a * distance
            points[i, at + U(1)] = camera[7] + b * distance
            points[i, at + U(2)] = camera[11] + c * distance
            toward[i, at], toward[i, at + U(1)], toward[i, at + U(2)] = -a, -b, -c
    return points, toward


@compiled
def normals(smooth: Any, toward: Any) -> Any:
    """Unit normals [L, 3 L], turned to the camera, from the neighbours of smoothed points."""
    side = smooth.shape[0]
    result = np.empty(smooth.shape, f32)
    for i in range(side):
        above, below = smooth[max(i - 1, 0)], smooth[min(i + 1, side - 1)]
        here = smooth[i]
        for j in range(side):
            at, left, right = U(3 * j), U(3 * max(j - 1, 0)), U(3 * min(j + 1, side - 1))
            ax, ay = here[right] - here[left], here[right + U(1)] - here[left + U(1)]
            az = here[right + U(2)] - here[left + U(2)]
            dx, dy = below[at] - above[at], below[at + U(1)] - above[at + U(1)]
            dz = below[at + U(2)] - above[at + U(2)]
            x, y, z = ay * dz - az * dy, az * dx - ax * dz, ax * dy - ay * dx
            length = max(np.sqrt(x * x + y * y + z * z), f32(1e-12))
            facing = x * toward[i, at] + y * toward[i, at + U(1)] + z * toward[i, at + U(2)]
            scale = (f32(1) if facing > f32(0) else f32(-1)) / length
            result[i, at], result[i, at + U(1)] = x * scale, y * scale
            result[i, at + U(2)] = z * scale
    return result


@compiled
def weighed(colours: Any, alphas: Any) -> Any:
    """[L, 4 L] colours [L, 3 L] times the fourth power of their matte [L, L], and that power."""
    side = alphas.shape[0]
    result = np.empty((side, 4 * side), f32)
    for i in range(side):
        for j in range(U(side)):
            weight = alphas[i, j] * alphas[i, j]
            weight *= weight
            at = U(4) * j
            for c in range(U(3)):
                result[i, at + c] = colours[i, U(3) * j + c] * weight
            result[i, at + U(3)] = weight
    return result


@compiled
def cut_out(colours: Any, alphas: Any, person: Any) -> Any:
    """[L, 4 L] the person's own colours and the matte; `person` [L, 4 L], the blurred result of
    `weighed`, becomes what the colours go on with."""
    side = alphas.shape[0]
    small = np.empty((side, 4 * side), f32)
    for i in range(side):
        for j in range(U(side)):
            at, alpha = U(4) * j, alphas[i, j]
            share = f32(1) / max(person[i, at + U(3)], f32(1e-3))
            for c in range(U(3)):
                goes_on = person[i, at + c] * share
                person[i, at + c] = goes_on
                small[i, at + c] = goes_on + alpha * (colours[i, U(3) * j + c] - goes_on)
            small[i, at + U(3)] = alpha
    return small


@compiled
def straight(picture: Any, side: Any) -> Any:
    """Divide the colours of a premultiplied picture [V, 4 V] by its opacity, in place; returns them
    coarse, [L, 4 L], and as the fourth channel the coarse opacity, of which 0.3 is taken for
    nothing and 0.9 for all."""
    size = picture.shape[0]
    factor = 0 if size % side else size // side
    coarse = np.zeros((side, 4 * side), f32)
    share = f32(1 / max(factor * factor, 1))
    for i in range(size):
        row = picture[i]
        for j in range(U(size)):
            at = U(4) * j
            over = f32(1) / max(row[at + U(3)], f32(1e-2))
            row[at] *= over
            row[at + U(1)] *= over
            row[at + U(2)] *= over
        for j in range(side * min(factor, 1)):
            for k in range(U(factor)):
                at, to = U(4) * (U(j * factor) + k), U(4 * j)
                for c in range(U(4)):
                    coarse[i // factor, to + c] += row[at + c] * share
    if not factor:
        coarse = enlarged(picture, 4, side)
    for i in range(side):
        for j in range(U(side)):
            at = U(4) * j + U(3)
            coarse[i, at] = limited((coarse[i, at] - f32(0.3)) * f32(1 / 0.6), 0, 1)
    return coarse


@inlined
def project(x: Any, y: Any, z: Any, camera: Any) -> Any:
    """Where a camera [25] sees a point: its position (-1..1, -1..1) and its distance, and the unit
    vector to the camera."""
    x, y, z = x - camera[3], y - camera[7], z - camera[11]
    depth = f32(1) / (camera[2] * x + camera[6] * y + camera[10] * z)
    across = camera[0] * x + camera[4] * y + camera[8] * z
    down = camera[1] * x + camera[5] * y + camera[9] * z
    u = f32(2) * (camera[16] * across * depth + camera[18]) - f32(1)
    v = f32(2) * (camera[20] * down * depth + camera[21]) - f32(1)
    distance = np.sqrt(x * x + y * y + z * z)
    back = f32(-1) / distance
    return u, v, distance, x * back, y * back, z * back


@inlined
def inside(x: Any, y: Any) -> Any:
    """1 within a picture, falling to 0 at its border; a body goes on below it."""
    least = min(f32(1) - abs(x), min(f32(1) + y, LOWEST - y))
    return limited(f32(20) * least, 0, 1)


@compiled
def nearest(points: Any, coarse: Any, camera: Any, cells: Any) -> Any:
    """[cells, cells] distance from a camera to the nearest of the points [L, 3 L] in every cell of
    its picture, of those whose opacity, the fourth channel of `coarse` [L, 4 L], is over 0.5."""
    side, half = points.shape[0], f32(cells) * f32(0.5)
    result = np.full((cells, cells), FAR)
    for i in range(side):
        for j in range(U(side)):
            if coarse[i, U(4) * j + U(3)] > f32(0.5):
                at = U(3) * j
                x, y, distance, _, _, _ = project(
                    points[i, at], points[i, at + U(1)], points[i, at + U(2)], camera
                )
                row = U(cell((y + f32(1)) * half, cells))
                column = U(cell((x + f32(1)) * half, cells))
                result[row, column] = min(result[row, column], distance)
    return result


@compiled
def find(
    points: Any, normals: Any, toward: Any, mirror: Any, camera: Any, nearest: Any, pictures: Any
) -> Any:
    """Look the surface, mirrored where `mirror` is -1, up in a camera's pictures [S, 4 S]: where it
    shows it (x, y), how well it saw it, 0..1, and how far inside it is, 0..1; and the colours and
    matte there; both [L, 4 L]."""
    side, cells, size = points.shape[0], nearest.shape[0], pictures.shape[0]
    half, middle, mirror = f32(size) * f32(0.5), f32(cells) * f32(0.5), f32(mirror)
    found, rgba = np.empty((side, 4 * side), f32), np.empty((side, 4 * side), f32)
    table = begin(pictures)
    for i in range(side):
        for j in range(U(side)):
            at, to = U(3) * j, U(4) * j
            x, y, distance, a, b, c = project(
                mirror * points[i, at], points[i, at + U(1)], points[i, at + U(2)], camera
            )
            nx, ny, nz = mirror * normals[i, at], normals[i, at + U(1)], normals[i, at + U(2)]
            seen = nx * mirror * toward[i, at] + ny * toward[i, at + U(1)]
            wanted = limited(seen + nz * toward[i, at + U(2)], 0.1, 0.35)
            facing = (nx * a + ny * b + nz * c - f32(0.05)) / (wanted - f32(0.05))
            (p, q, r, s), shares = around(
                (x + f32(1)) * half - f32(0.5), (y + f32(1)) * half - f32(0.5), size, size
            )
            red, green, blue, matte = mixed(
                table, (U(4) * p, U(4) * q, U(4) * r, U(4) * s), shares, 4
            )
            rgba[i, to], rgba[i, to + U(1)] = red, green
            rgba[i, to + U(2)], rgba[i, to + U(3)] = blue, matte
            trust = limited(facing, 0, 1) * limited((matte - f32(0.5)) * f32(2), 0, 1)
            held = inside(x, y)
            trust *= held
            if trust > f32(0):
                row = U(cell(np.rint((y + f32(1)) * middle - f32(0.5)), cells))
                column = U(cell(np.rint((x + f32(1)) * middle - f32(0.5)), cells))
                behind = max(distance - nearest[row, column], f32(0)) * HIDDEN
                trust *= np.exp(-behind * behind)
            found[i, to], found[i, to + U(1)] = x, y
            found[i, to + U(2)], found[i, to + U(3)] = trust, held
    return found, rgba


@inlined
def most_there(table: Any, size: Any, x: Any, y: Any) -> Any:
    """The matte of pictures [S, 4 S] at a place; 1 where they do not reach."""
    known, half = inside(x, y), f32(size) * f32(0.5)
    (p, q, r, s), shares = around(
        (x + f32(1)) * half - f32(0.5), (y + f32(1)) * half - f32(0.5), size, size
    )
    starts = U(4) * p + U(3), U(4) * q + U(3), U(4) * r + U(3), U(4) * s + U(3)
    return f32(1) - known + known * mixed(table, starts, shares, 1)[0]


@compiled
def hull(points: Any, toward: Any, camera: Any, pictures: Any, own: Any, layers: Any) -> None:
    """Into the fourth channel of `layers` [L, 4 L], the most that the source's matte has anywhere
    near the surface along each ray; `own` [L, 4 L] says where the surface itself is."""
    side, table, size = points.shape[0], begin(pictures), pictures.shape[0]
    for i in range(side):
        for j in range(U(side)):
            at, to = U(3) * j, U(4) * j
            most = most_there(table, size, own[i, to], own[i, to + U(1)])
            if most < f32(1):
                x, y, z = points[i, at], points[i, at + U(1)], points[i, at + U(2)]
                a, b = APART * toward[i, at], APART * toward[i, at + U(1)]
                c = APART * toward[i, at + U(2)]
                u, v, _, _, _, _ = project(x - a, y - b, z - c, camera)
                most = max(most, most_there(table, size, u, v))
                u, v, _, _, _, _ = project(x + a, y + b, z + c, camera)
                most = max(most, most_there(table, size, u, v))
            layers[i, to + U(3)] = most


@compiled
def finish(layers: Any, picture: Any) -> None:
    """Add to a picture [V, 4 V] what corrects it, [L, 4 L], and hold its opacity to the hull, the
    fourth channel."""
    side, size = layers.shape[0], picture.shape[0]
    line = np.empty(layers.shape[1], f32)
    for i in range(size):
        top, bottom, down = between(spaced(i, size, side), side)
        for j in range(U(4 * side)):
            line[j] = layers[top, j] + down * (layers[bottom, j] - layers[top, j])
        for j in range(size):
            left, right, along = between(spaced(j, size, side), side)
            starts, at = (left * U(4), right * U(4)), U(4 * j)
            red, green, blue, most = mixed(line, starts, (f32(1) - along, along), 4)
            picture[i, at] += red
            picture[i, at + U(1)] += green
            picture[i, at + U(2)] += blue
            picture[i, at + U(3)] = min(picture[i, at + U(3)], most)
