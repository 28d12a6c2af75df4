"""The compiled loop of `winograd`: 3 x 3 convolutions with a quarter of the multiplications.

Winograd's F(4 x 4, 3 x 3) (Lavin and Gray, CVPR 2016): 6 x 6 pixels of the picture become 36
numbers whose products with 36 numbers of the kernel, summed over the channels, become 4 x 4 pixels
of the result. The points are 0, ±√½, ±√2 and ∞, with which rounding errors are twice those of a
plain convolution, and half those of the usual 0, ±1, ±2 and ∞. What follows a convolution (gain,
bias, noise, leaky ReLU, limit) is done before a result leaves the registers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tpvideo.stages.networks.product_kernel import multiply
from tpvideo.stages.networks.vectors import (
    LANES,
    begin,
    compiled,
    fma,
    inlined,
    least,
    load,
    load_wide,
    most,
    splat,
    splat_wide,
    store,
)
from tpvideo.stages.networks.winograd import PANEL, PRODUCTS, ROWS, TILE

f32, U = np.float32, np.uintp
NEAR, FAR = f32(0.5**0.5), f32(2**0.5)
"""The points, whose squares are 1/2 and 2."""
PATCH = 6
"""Side of the patch of the picture that a tile of the result needs."""
LINE = U(16)
"""Numbers in a line of the cache; arrays that are read side by side are a line apart."""


@inlined
def to_points(a: Any, b: Any, c: Any, d: Any, e: Any, f: Any) -> Any:
    """Six neighbours of a line, as polynomials, at the six points."""
    near, far = splat(NEAR), splat(FAR)
    both, half, two = splat(f32(-2.5)), splat(f32(-0.5)), splat(f32(-2))
    even, odd = fma(two, c, e), near * fma(two, b, d)
    even_far, odd_far = fma(half, c, e), far * fma(half, b, d)
    first, last = fma(both, c, a + e), fma(both, d, b + f)
    return first, even + odd, even - odd, even_far + odd_far, even_far - odd_far, last


@inlined
def from_points(a: Any, b: Any, c: Any, d: Any, e: Any, f: Any) -> Any:
    """Six products of a line to its four pixels."""
    half, two = splat(f32(0.5)), splat(f32(2))
    even, odd = b + c, splat(NEAR) * (b - c)
    even_far, odd_far = d + e, splat(FAR) * (d - e)
    last = fma(half, odd, fma(two, odd_far, f))
    return a + even + even_far, odd + odd_far, fma(half, even, two * even_far), last


@compiled
def split_patch(
    source: Any, at: Any, line: Any, channels: Any, scaled: Any, scale: Any, shift: Any,
    points: Any, out: Any, step: Any, room: Any,
) -> Any:  # fmt: skip
    """A patch's channels at all points: points[36 of them, `step` apart, from `out` on].

    Args:
        source: channels last, from `at` on; `line` numbers from one row to the next.
        scaled: whether what is read is multiplied by the scale [C] and then shifted by [C].
        room: [PRODUCTS * LANES].
    """
    for c in range(U(0), channels, U(LANES)):
        for row in range(U(PATCH)):
            p = at + row * line + c
            v0, v1 = load(source, p), load(source, p + channels)
            v2, v3 = load(source, p + U(2) * channels), load(source, p + U(3) * channels)
            v4, v5 = load(source, p + U(4) * channels), load(source, p + U(5) * channels)
            if scaled:
                k, b = load(scale, c), load(shift, c)
                v0, v1, v2 = fma(v0, k, b), fma(v1, k, b), fma(v2, k, b)
                v3, v4, v5 = fma(v3, k, b), fma(v4, k, b), fma(v5, k, b)
            v0, v1, v2, v3, v4, v5 = to_points(v0, v1, v2, v3, v4, v5)
            r = row * U(PATCH * LANES)
            store(room, r, v0)
            store(room, r + U(LANES), v1)
            store(room, r + U(2 * LANES), v2)
            store(room, r + U(3 * LANES), v3)
            store(room, r + U(4 * LANES), v4)
            store(room, r + U(5 * LANES), v5)
        for column in range(U(PATCH)):
            r = column * U(LANES)
            down = U(PATCH * LANES)
            w0, w1, w2, w3, w4, w5 = to_points(
                load(room, r),
                load(room, r + down),
                load(room, r + U(2) * down),
                load(room, r + U(3) * down),
                load(room, r + U(4) * down),
                load(room, r + U(5) * down),
            )
            p, below = out + column * step + c, U(PATCH) * step
            store(points, p, w0)
            store(points, p + below, w1)
            store(points, p + U(2) * below, w2)
            store(points, p + U(3) * below, w3)
            store(points, p + U(4) * below, w4)
            store(points, p + U(5) * below, w5)


@compiled
def copy_patch(
    picture: Any, height: Any, width: Any, channels: Any, top: Any, left: Any, scaled: Any,
    scale: Any, shift: Any, patch: Any,
) -> Any:  # fmt: skip
    """A patch that reaches beyond the picture, scaled, with zeros outside."""
    for row in range(PATCH):
        for column in range(PATCH):
            to = U(row * PATCH + column) * channels
            y, x = top + row, left + column
            if y < 0 or x < 0 or y >= height or x >= width:
                for c in range(channels):
                    patch[to + c] = f32(0)
                continue
            at = U(y * width + x) * channels
            for c in range(channels):
                patch[to + c] = picture[at + c]
            if scaled:
                for c in range(channels):
                    patch[to + c] = patch[to + c] * scale[c] + shift[c]


@inlined
def finished(value: Any, gain: Any, bias: Any, noise: Any, slope: Any, limit: Any) -> Any:
    """What follows a convolution."""
    y = fma(value, gain, bias) + splat(noise)
    zero = splat(f32(0))
    y = fma(least(y, zero), slope, most(y, zero))
    return least(most(y, splat(-limit)), splat(limit))


@compiled
def join_tile(
    products: Any, at: Any, step: Any, size: Any, y: Any, x: Any, outputs: Any, phases: Any,
    after: Any, room: Any, result: Any,
) -> Any:  # fmt: skip
    """A tile's products, `step` apart from `at` on, to the result's pixels from (y, x) on.

    Args:
        size: (H, W) of the result before its phases are laid side by side.
        outputs: channels of all phases.
        phases: 1, or 4 of a result of twice the sides.
        after: gain, bias [O / phases], whether there is noise and the noise [result's pixels],
            slopes [O / phases], limit.
    """
    height, width = size
    gain, bias, noisy, noise, slopes, limit = after
    each = outputs // phases
    fold = U(2) if phases == U(4) else U(1)
    down = U(PATCH) * step
    for o in range(U(0), outputs, U(LANES)):
        for column in range(U(PATCH)):
            p = at + column * step + o
            v0, v1, v2, v3 = from_points(
                load(products, p),
                load(products, p + down),
                load(products, p + U(2) * down),
                load(products, p + U(3) * down),
                load(products, p + U(4) * down),
                load(products, p + U(5) * down),
            )
            r = column * U(LANES)
            store(room, r, v0)
            store(room, r + U(PATCH * LANES), v1)
            store(room, r + U(2 * PATCH * LANES), v2)
            store(room, r + U(3 * PATCH * LANES), v3)
        phase = o // each
        to = o - phase * each
        g, b, s = load(gain, to), load(bias, to), load(slopes, to)
        for row in range(U(TILE)):
            if y + row >= height:
                break
            r = row * U(PATCH * LANES)
            w0, w1, w2, w3 = from_points(
                load(room, r),
                load(room, r + U(LANES)),
                load(room, r + U(2 * LANES)),
                load(room, r + U(3 * LANES)),
                load(room, r + U(4 * LANES)),
                load(room, r + U(5 * LANES)),
            )
            pixel = (fold * (y + row) + phase // U(2)) * fold * width + fold * x + phase % U(2)
            n0, n1, n2, n3 = f32(0), f32(0), f32(0), f32(0)
            if noisy:
                n0 = noise[pixel]
            store(result, pixel * each + to, finished(w0, g, b, n0, s, limit))
            if x + U(1) < width:
                if noisy:
                    n1 = noise[pixel + fold]
                store(result, (pixel + fold) * each + to, finished(w1, g, b, n1, s, limit))
            if x + U(2) < width:
                if noisy:
                    n2 = noise[pixel + U(2) * fold]
                p = (pixel + U(2) * fold) * each + to
                store(result, p, finished(w2, g, b, n2, s, limit))
            if x + U(3) < width:
                if noisy:
                    n3 = noise[pixel + U(3) * fold]
                p = (pixel + U(3) * fold) * each + to
                store(result, p, finished(w3, g, b, n3, s, limit))


@compiled
def multiply_kept(
    points: Any, step: Any, count: Any, channels: Any, kernels: Any, panels: Any, products: Any,
    product_step: Any,
) -> Any:  # fmt: skip
    """The products of some tiles with weights at all points.

    Args:
        points: of the tiles, `step` apart from one point to the next.
        count: of tiles.
        kernels: [36, panels, channels, PANEL].
        products: of the tiles, `product_step` apart.
    """
    wide = panels * U(PANEL)
    for product in range(U(PRODUCTS)):
        for panel in range(panels):
            kernel = (product * panels + panel) * channels * U(PANEL)
            to = product * product_step + panel * U(PANEL)
            for row in range(U(0), count, U(ROWS)):
                at = product * step + row * channels
                multiply(
                    points, at, channels, channels, kernels, kernel, U(1), U(0), products,
                    to + row * wide, wide,
                )  # fmt: skip


@compiled
def multiply_brought(
    points: Any, step: Any, count: Any, channels: Any, kernels: Any, panels: Any, phases: Any,
    changes: Any, brought: Any, products: Any, product_step: Any,
) -> Any:  # fmt: skip
    """The same with plain weights, of which a panel is brought to a row of points at a time.

    Args:
        kernels: [panels / phases, channels, 9, PANEL].
        changes: [phases along an axis, PATCH, 3] from a line of weights to its points.
        brought: room for what `bring` makes.
    """
    wide, own = panels * U(PANEL), panels // phases
    apart = channels * U(PANEL) + LINE
    for panel in range(panels):
        phase = panel // own
        kernel = (panel - phase * own) * channels * U(9 * PANEL)
        for row in range(U(PATCH)):
            down, across = (phase // U(2)) * U(PATCH) + row, (phase % U(2)) * U(PATCH)
            bring(kernels, kernel, channels, changes, U(3) * down, U(3) * across, brought, apart)
            for column in range(U(PATCH)):
                product = U(PATCH) * row + column
                to = product * product_step + panel * U(PANEL)
                for tile in range(U(0), count, U(ROWS)):
                    at = product * step + tile * channels
                    multiply(
                        points, at, channels, channels, brought, column * apart, U(1), U(0),
                        products, to + tile * wide, wide,
                    )  # fmt: skip


@compiled
def bring(
    kernels: Any, at: Any, channels: Any, changes: Any, down: Any, across: Any, out: Any,
    apart: Any,
) -> Any:  # fmt: skip
    """Plain weights of a panel, [channels, 9, PANEL] from `at` on, at a row of points.

    Args:
        changes: see `multiply_brought`; three of them from `down` on say which row, and PATCH times
            three from `across` on its points.
        out: [PATCH, channels, PANEL], `apart` from one point to the next.
    """
    d0 = splat_wide(changes[down])
    d1 = splat_wide(changes[down + U(1)])
    d2 = splat_wide(changes[down + U(2)])
    line = U(3 * PANEL)
    for c in range(channels):
        p, to = at + c * U(3) * line, c * U(PANEL)
        x0 = d0 * load_wide(kernels, p)
        x1 = d0 * load_wide(kernels, p + U(PANEL))
        x2 = d0 * load_wide(kernels, p + U(2 * PANEL))
        p += line
        x0 = fma(d1, load_wide(kernels, p), x0)
        x1 = fma(d1, load_wide(kernels, p + U(PANEL)), x1)
        x2 = fma(d1, load_wide(kernels, p + U(2 * PANEL)), x2)
        p += line
        x0 = fma(d2, load_wide(kernels, p), x0)
        x1 = fma(d2, load_wide(kernels, p + U(PANEL)), x1)
        x2 = fma(d2, load_wide(kernels, p + U(2 * PANEL)), x2)
        for column in range(U(PATCH)):
            k = across + U(3) * column
            value = splat_wide(changes[k]) * x0
            value = fma(splat_wide(changes[k + U(1)]), x1, value)
            value = fma(splat_wide(changes[k + U(2)]), x2, value)
            store(out, to + column * apart, value)


@compiled
def convolve(
    picture: Any, size: Any, before: Any, weights: Any, changes: Any, shape: Any, after: Any,
    part: Any, scratch: Any, result: Any,
) -> Any:  # fmt: skip
    """Some tiles of a 3 x 3 convolution with a border of zeros.

    Args:
        picture: [H * W * C], channels last.
        size: (H, W).
        before: scale [C] and shift [C] of the picture, or both empty.
        weights: of `winograd.at_points`, flat, where changes are empty; else of `winograd.plain`.
        changes: see `multiply_brought`.
        shape: (C, O, phases), C and O / phases multiples of LANES.
        after: see `join_tile`.
        part: (first tile, last tile, tiles at once).
        scratch: points, products, a patch, weights, a tile's vectors: see `winograd.Winograd`.
        result: [H' * W' * O / phases], channels last.
    """
    height, width = size
    channels, outputs, phases = U(shape[0]), U(shape[1]), U(shape[2])
    first, last, at_once = part
    source, to_result, kernels = begin(picture), begin(result), begin(weights)
    points, products, patch = begin(scratch[0]), begin(scratch[1]), begin(scratch[2])
    keeps, change, brought = len(changes) == 0, begin(changes), begin(scratch[3])
    scaled, scale, shift = len(before[0]) > 0, begin(before[0]), begin(before[1])
    gain, bias, noise, slopes, limit = after
    behind = begin(gain), begin(bias), len(noise) > 0, begin(noise), begin(slopes), limit
    panels = (outputs + U(PANEL - 1)) // U(PANEL)
    wide = panels * U(PANEL)
    point_step, product_step = U(at_once) * channels + LINE, U(at_once) * wide + LINE
    across = (width + TILE - 1) // TILE
    room = begin(scratch[4])
    line = U(width) * channels
    bounds = U(height), U(width)
    for start in range(first, last, at_once):
        count = min(at_once, last - start)
        for index in range(count):
            top = (start + index) // across * TILE - 1
            left = (start + index) % across * TILE - 1
            to = U(index) * channels
            if top >= 0 and left >= 0 and top + PATCH <= height and left + PATCH <= width:
                at = U(top * width + left) * channels
                split_patch(
                    source, at, line, channels, scaled, scale, shift, points, to, point_step, room
                )
            else:
                copy_patch(source, height, width, channels, top, left, scaled, scale, shift, patch)
                split_patch(
                    patch, U(0), U(PATCH) * channels, channels, False, scale, shift, points, to,
                    point_step, room,
                )  # fmt: skip
        if keeps:
            multiply_kept(
                points, point_step, U(count), channels, kernels, panels, products, product_step
            )
        else:
            multiply_brought(
                points, point_step, U(count), channels, kernels, panels, phases, change, brought,
                products, product_step,
            )  # fmt: skip
        for index in range(count):
            y, x = U((start + index) // across * TILE), U((start + index) % across * TILE)
            join_tile(
                products, U(index) * wide, product_step, bounds, y, x, outputs, phases, behind,
                room, to_result,
            )  # fmt: skip
