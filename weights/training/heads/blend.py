"""Transparent triangles: sorted by depth and composited over the opaque surface."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tpvideo.weights.training.heads.kernel import F32, I32, U8, compiled
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
    order = np.argsort(depths, kind="stable").astype(np.int32)
    veil = Veil(
        np.zeros((*nearness.shape, 3), np.float32),
        np.ones_like(nearness),
        np.zeros_like(nearness),
    )
    blend_layers(order, screen, triangles, uv, colour, alpha, texture, nearness, *veil)
    return veil


@compiled
def blend_layers(
    order: I32,
    screen: F32,
    triangles: I32,
    uv: F32,
    colour: F32,
    alpha: F32,
    texture: U8,
    nearness: F32,
    light: F32,
    open_share: F32,
    half_nearness: F32,
) -> None:
    """Composite transparent triangles front to back over a z-buffer, in place.

    Args:
        order: [m] triangle numbers, nearest first.
        screen: [n, 4]; uv: [n, 2]; colour: [n, 3] linear; alpha: [n].
        texture: [h, w, 2] luminance (128 = 1) and alpha.
        nearness: [H, W] 1/w of the opaque surface.
        light: [H, W, 3] sum of what the layers show, linear.
        open_share: [H, W] share of what lies behind that still shows; starts at 1.
        half_nearness: [H, W] 1/w where the layers together become half opaque.
    """
    rows, columns = texture.shape[0], texture.shape[1]
    for o in range(order.shape[0]):
        t = order[o]
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay = screen[a, 0], screen[a, 1]
        bgx, bgy, cgx, cgy, x0, x1, y0, y1 = triangle_setup(
            ax,
            ay,
            screen[b, 0],
            screen[b, 1],
            screen[c, 0],
            screen[c, 1],
            nearness.shape[0],
            nearness.shape[1],
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
                near = wa * screen[a, 3] + wb * screen[b, 3] + wc * screen[c, 3]
                if shows < 0.02 or near < nearness[y, x]:
                    continue
                u = uv[a, 0] * wa + uv[b, 0] * wb + uv[c, 0] * wc
                v = uv[a, 1] * wa + uv[b, 1] * wb + uv[c, 1] * wc
                luminance, opacity = _two_channels(texture, u * columns, (1.0 - v) * rows)
                opacity *= (alpha[a] * wa + alpha[b] * wb + alpha[c] * wc) * (1 / 255.0)
                if opacity < 0.01:
                    continue
                opacity = min(opacity, 1.0)
                k = shows * opacity * luminance * (1 / 128.0)
                for channel in range(3):
                    light[y, x, channel] += k * (
                        colour[a, channel] * wa + colour[b, channel] * wb + colour[c, channel] * wc
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
