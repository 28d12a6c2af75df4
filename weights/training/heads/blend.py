"""Transparent triangles: sorted by depth and composited over the opaque surface."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tpvideo.weights.training.heads.kernel import F32, I32, U8, U32, compiled
from tpvideo.weights.training.heads.raster import triangle_setup


class Veil(NamedTuple):
    """What transparent layers do to a picture; each [H, W] but `light`."""

    light: F32
    """[H, W, 3] what the layers show, linear."""
    open_share: F32
    """Share of what lies behind that still shows."""
    half_nearness: F32
    """1/w where the layers together become half opaque; 0 for nowhere."""


def blend(
    screen: F32,
    triangles: I32,
    uv: F32,
    colour: F32,
    alpha: F32,
    texture: U8,
    nearness: F32,
) -> Veil:
    """Composite transparent triangles, nearest first.

    Args:
        screen: [n, 4] perspective vertices; triangles: [m, 3].
        uv: [n, 2]; colour: [n, 3] linear; alpha: [n].
        texture: [h, w, 2] luminance (128 = 1) and alpha.
        nearness: [H, W] 1/w of the opaque surface, 0 for nothing.
    """
    depth = screen[:, 2]
    depths = depth[triangles[:, 0]] + depth[triangles[:, 1]] + depth[triangles[:, 2]]
    veil = Veil(
        np.zeros((*nearness.shape, 3), np.float32),
        np.ones_like(nearness),
        np.zeros_like(nearness),
    )
    vertices = np.empty((len(screen), 10), np.float32)
    _gather(screen, uv, alpha, colour, vertices)
    _blend_layers(smallest_first(depths), vertices, triangles, texture, nearness, *veil)
    return veil


def smallest_first(values: F32) -> I32:
    """[m] the order that sorts values [m], equal ones as they stand (-0 comes before 0); no
    NaN."""
    order = np.empty((2, len(values)), np.int32)
    ordered: I32 = order[_sort_digits(np.ascontiguousarray(values).view(np.uint32), order)]
    return ordered


@compiled
def _sort_digits(bits: U32, order: I32) -> int:
    """Radix sort of the numbers that are written in float32 `bits` [m], by 11 bits at a time: the
    result is the row of `order` [2, m] whose number is returned."""
    counts = np.zeros((3, 2048), np.int64)
    keys = np.empty_like(bits)
    for i in range(bits.shape[0]):
        # negative numbers, the greater the smaller their bits, come before the others
        key = bits[i] ^ np.uint32(0xFFFFFFFF if bits[i] >> 31 else 0x80000000)
        keys[i] = key
        for digit in range(3):
            counts[digit, (key >> np.uint32(11 * digit)) & np.uint32(2047)] += 1
        order[0, i] = i
    here = 0
    for digit in range(3):
        start = 0
        for value in range(2048):
            start, counts[digit, value] = start + counts[digit, value], start
        for i in range(bits.shape[0]):
            number = order[here, i]
            value = (keys[number] >> np.uint32(11 * digit)) & np.uint32(2047)
            order[1 - here, counts[digit, value]] = number
            counts[digit, value] += 1
        here = 1 - here
    return here


@compiled
def _gather(screen: F32, uv: F32, alpha: F32, colour: F32, vertices: F32) -> None:
    """All about a vertex side by side: triangles are visited in no order that memory knows."""
    for i in range(screen.shape[0]):
        for k in range(4):
            vertices[i, k] = screen[i, k]
        vertices[i, 4], vertices[i, 5], vertices[i, 6] = uv[i, 0], uv[i, 1], alpha[i]
        for k in range(3):
            vertices[i, 7 + k] = colour[i, k]


@compiled
def _blend_layers(
    order: I32,
    vertices: F32,
    triangles: I32,
    texture: U8,
    nearness: F32,
    light: F32,
    open_share: F32,
    half_nearness: F32,
) -> None:
    """Composite transparent triangles front to back over a z-buffer, in place.

    Args:
        order: [m] triangle numbers, nearest first.
        vertices: [n, 10] screen x, y, w, 1/w; u, v; alpha; linear colour.
        texture: [h, w, 2] luminance (128 = 1) and alpha.
        nearness: [H, W] 1/w of the opaque surface.
        light: [H, W, 3] sum of what the layers show, linear.
        open_share: [H, W] share of what lies behind that still shows; starts at 1.
        half_nearness: [H, W] 1/w where the layers together become half opaque.
    """
    rows, columns = texture.shape[0], texture.shape[1]
    for o in range(order.shape[0]):
        t = order[o]
        a, b, c = vertices[triangles[t, 0]], vertices[triangles[t, 1]], vertices[triangles[t, 2]]
        ax, ay = a[0], a[1]
        bgx, bgy, cgx, cgy, x0, x1, y0, y1 = triangle_setup(
            ax, ay, b[0], b[1], c[0], c[1], nearness.shape[0], nearness.shape[1]
        )
        for y in range(y0, y1 + 1):
            dy = y + 0.5 - ay
            for x in range(x0, x1 + 1):
                dx = x + 0.5 - ax
                wb = bgx * dx + bgy * dy
                wc = cgx * dx + cgy * dy
                wa = 1.0 - wb - wc
                if wa < 0.0 or wb < 0.0 or wc < 0.0:
                    continue
                shows = open_share[y, x]
                near = wa * a[3] + wb * b[3] + wc * c[3]
                if shows < 0.02 or near < nearness[y, x]:
                    continue
                u = a[4] * wa + b[4] * wb + c[4] * wc
                v = a[5] * wa + b[5] * wb + c[5] * wc
                luminance, opacity = _two_channels(texture, u * columns, (1.0 - v) * rows)
                opacity *= (a[6] * wa + b[6] * wb + c[6] * wc) * (1 / 255.0)
                if opacity < 0.01:
                    continue
                opacity = min(opacity, 1.0)
                k = shows * opacity * luminance * (1 / 128.0)
                for channel in range(3):
                    light[y, x, channel] += k * (
                        a[7 + channel] * wa + b[7 + channel] * wb + c[7 + channel] * wc
                    )
                if shows > 0.5 and shows * (1 - opacity) <= 0.5:
                    half_nearness[y, x] = near
                open_share[y, x] = shows * (1 - opacity)


@compiled
def _two_channels(texture: U8, x: float, y: float) -> tuple[float, float]:
    """Bilinear look-up at texel coordinates (centres at +0.5), held at the border."""
    fx = min(max(x - 0.5, 0.0), texture.shape[1] - 1.001)
    fy = min(max(y - 0.5, 0.0), texture.shape[0] - 1.001)
    i, j = int(fy), int(fx)
    fy -= i
    fx -= j
    w00, w01 = (1 - fx) * (1 - fy), fx * (1 - fy)
    w10, w11 = (1 - fx) * fy, fx * fy
    first = texture[i, j, 0] * w00 + texture[i, j + 1, 0] * w01
    first += texture[i + 1, j, 0] * w10 + texture[i + 1, j + 1, 0] * w11
    other = texture[i, j, 1] * w00 + texture[i, j + 1, 1] * w01
    other += texture[i + 1, j, 1] * w10 + texture[i + 1, j + 1, 1] * w11
    return first, other
