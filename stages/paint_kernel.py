"""The compiled loop of paint.py: every pixel of a picture with detail, once.

Written for numba: plain loops over numbers. `paint` in paint.py is its reference. A picture of C
channels is [H, W * C] here, the channels of a pixel side by side.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tpvideo.stages.loops import (
    U,
    around,
    between,
    cell,
    f32,
    i32,
    inlined,
    limited,
    mixed,
    spaced,
)
from tpvideo.stages.networks.vectors import begin, compiled
from tpvideo.stages.paint import COVERED, LEAST_SHARE, SOLID

LEAST_AT, COVERED_AT, SOLID_AT = f32(LEAST_SHARE), f32(COVERED), f32(SOLID)
SHARP = f32(-0.75)
CLEAR = f32(1e-3)
"""Opacity below which there is nothing."""


@inlined
def cubic(along: Any) -> Any:
    """Shares of the four neighbours of a place, `along` 0..1 from the second to the third: Keys'
    cubic convolution (1981) with a = -3/4, torch's."""
    back = f32(1) - along
    first = SHARP * along * back * back
    last = SHARP * back * along * along
    second = ((SHARP + f32(2)) * along - (SHARP + f32(3))) * along * along + f32(1)
    return first, second, f32(1) - first - second - last, last


@inlined
def bend(source: Any, height: Any, width: Any, x: Any, y: Any) -> Any:
    """The cubic of a flat picture [H * W * 3] at a place in pixels."""
    column, row = i32(np.floor(x - f32(0.5))), i32(np.floor(y - f32(0.5)))
    w0, w1, w2, w3 = cubic(x - f32(0.5) - f32(column))
    down = cubic(y - f32(0.5) - f32(row))
    stride = U(3 * width)
    if row >= i32(1) and row < i32(height - 2) and column >= i32(1) and column < i32(width - 2):
        r0 = U(row - i32(1)) * stride + U(3) * U(column - i32(1))
        r1 = r0 + stride
        r2 = r1 + stride
        a, b, c, d, e, f, g, h, i, j, k, m = mixed(source, (r0, r1, r2, r2 + stride), down, 12)
    else:  # at the rim the outer neighbours are the rim itself
        r0 = U(cell(row - i32(1), height)) * stride
        r1 = U(cell(row, height)) * stride
        r2 = U(cell(row + i32(1), height)) * stride
        r3 = U(cell(row + i32(2), height)) * stride
        at = U(3) * U(cell(column - i32(1), width))
        a, b, c = mixed(source, (r0 + at, r1 + at, r2 + at, r3 + at), down, 3)
        at = U(3) * U(cell(column, width))
        d, e, f = mixed(source, (r0 + at, r1 + at, r2 + at, r3 + at), down, 3)
        at = U(3) * U(cell(column + i32(1), width))
        g, h, i = mixed(source, (r0 + at, r1 + at, r2 + at, r3 + at), down, 3)
        at = U(3) * U(cell(column + i32(2), width))
        j, k, m = mixed(source, (r0 + at, r1 + at, r2 + at, r3 + at), down, 3)
    red, green = w0 * a + w1 * d + w2 * g + w3 * j, w0 * b + w1 * e + w2 * h + w3 * k
    return red, green, w0 * c + w1 * f + w2 * i + w3 * m


@inlined
def matte_at(matte: Any, side: Any, x: Any, y: Any) -> Any:
    """A flat matte at (x, y) in -1..1 of it, 0..1."""
    half = f32(side) * f32(0.5)
    starts, shares = around(
        (x + f32(1)) * half - f32(0.5), (y + f32(1)) * half - f32(0.5), side, side
    )
    return mixed(matte, starts, shares, 1)[0] * f32(1 / 255)


@inlined
def fetch(source: Any, person: Any, place: Any, sizes: Any, alpha: Any, x: Any, y: Any) -> Any:
    """The person's own colour at (x, y) in -1..1 of the crop, where the matte is `alpha`, 0..1."""
    height, width, cells = sizes
    column, row = mixed(place, (U(0), U(2), U(4)), (x, y, f32(1)), 2)
    scale = f32(1 / 255)
    if alpha > SOLID_AT:
        red, green, blue = bend(source, height, width, column, row)
        red, green, blue = red * scale, green * scale, blue * scale
    else:
        scale, half = scale * alpha, f32(cells) * f32(0.5)
        (a, b, c, d), (p, q, r, s) = around(column - f32(0.5), row - f32(0.5), height, width)
        starts = U(3) * a, U(3) * b, U(3) * c, U(3) * d
        seen = mixed(source, starts, (p * scale, q * scale, r * scale, s * scale), 3)
        scale = f32(1) - alpha
        (a, b, c, d), (p, q, r, s) = around(
            (x + f32(1)) * half - f32(0.5), (y + f32(1)) * half - f32(0.5), cells, cells
        )
        starts = U(4) * a, U(4) * b, U(4) * c, U(4) * d
        spread = mixed(person, starts, (p * scale, q * scale, r * scale, s * scale), 3)
        red, green, blue = seen[0] + spread[0], seen[1] + spread[1], seen[2] + spread[2]
    return red, green, blue


@inlined
def columns_of(size: Any, cells: Any) -> Any:
    """For every pixel of a row where its two cells begin, four channels each, and the share of the
    second."""
    left, right = np.empty(size, np.uint32), np.empty(size, np.uint32)
    along = np.empty(size, f32)
    for j in range(size):
        first, second, share = between(spaced(j, size, cells), cells)
        left[U(j)], right[U(j)], along[U(j)] = first * U(4), second * U(4), share
    return left, right, along


@inlined
def line_of(picture: Any, row: Any, size: Any, line: Any) -> None:
    """A row of a picture [H, W * C] as high as `size`, into `line` [W * C]."""
    count = picture.shape[0]
    top, bottom, down = between(spaced(row, size, count), count)
    for k in range(U(len(line))):
        line[k] = picture[top, k] + down * (picture[bottom, k] - picture[top, k])


@compiled
def paint(layers: Any, seen: Any, behind: Any, result: Any, opacity: Any) -> None:
    """Fill `result` [T, 3 T] uint8; see fused_detail.painted.

    Args:
        layers: see fused_detail.Planes.
        seen: the source [H, 3 W] and its matte [S, S], bytes, and [3, 2] the place of a
            position (x, y, 1) in the crop.
        behind: [1, 3] or [T, 3 T], 0..1.
        opacity: where it is [T, T] and not empty it is filled as well, and colours are straight.
    """
    picture, own, other, tone, person = layers
    source, matte, place = seen
    size, side = result.shape[0], matte.shape[0]
    sizes = source.shape[0], source.shape[1] // 3, person.shape[0]
    matte, source, person, place = begin(matte), begin(source), begin(person), begin(place)
    is_plain, is_clear = behind.shape[0] == 1, opacity.shape[0] > 0
    fine_left, fine_right, fine_along = columns_of(size, picture.shape[0])
    lefts, rights, alongs = columns_of(size, own.shape[0])
    shown, own_line = np.empty(picture.shape[1], f32), np.empty(own.shape[1], f32)
    other_line, tone_line = np.empty(own.shape[1], f32), np.empty(own.shape[1], f32)
    for i in range(size):
        line_of(picture, i, size, shown)
        line_of(own, i, size, own_line)
        line_of(other, i, size, other_line)
        line_of(tone, i, size, tone_line)
        back, row = behind[0 if is_plain else i], result[i]
        for j in range(U(size)):
            to, from_ = U(3) * j, U(0) if is_plain else U(3) * j
            near = fine_along[j]
            starts, shares = (U(fine_left[j]), U(fine_right[j])), (f32(1) - near, near)
            red, green, blue, alpha = mixed(shown, starts, shares, 4)
            near = alongs[j]
            starts, shares = (U(lefts[j]), U(rights[j])), (f32(1) - near, near)
            x, y, trust, same = mixed(own_line, starts, shares, 4)
            if alpha < CLEAR:
                trust = f32(0)
            r, g, b = f32(0), f32(0), f32(0)
            if trust > f32(0) or same > f32(0):
                there = matte_at(matte, side, x, y)
                trust *= limited((there - f32(0.5)) * f32(2), 0, 1)
                trust += same * (f32(1) - trust)
                alpha += same * (there - alpha)
                if trust > f32(0):
                    r, g, b = fetch(source, person, place, sizes, there, x, y)
            if is_clear:
                opacity[i, j] = np.uint8(i32(alpha * f32(255) + f32(0.5)))
            if alpha < CLEAR:
                red, green, blue = back[from_], back[from_ + U(1)], back[from_ + U(2)]
            else:
                if trust < COVERED_AT:
                    tr, tg, tb, share = mixed(tone_line, starts, shares, 4)
                    if share > LEAST_AT:
                        x, y = mixed(other_line, starts, shares, 2)
                        there = matte_at(matte, side, x, y)
                        fr, fg, fb = fetch(source, person, place, sizes, there, x, y)
                        red += share * (fr + tr - red)
                        green += share * (fg + tg - green)
                        blue += share * (fb + tb - blue)
                red = limited(red + trust * (r - red), 0, 1)
                green = limited(green + trust * (g - green), 0, 1)
                blue = limited(blue + trust * (b - blue), 0, 1)
                if not is_clear:
                    rest = f32(1) - alpha
                    red = red * alpha + rest * back[from_]
                    green = green * alpha + rest * back[from_ + U(1)]
                    blue = blue * alpha + rest * back[from_ + U(2)]
            row[to] = np.uint8(i32(red * f32(255) + f32(0.5)))
            row[to + U(1)] = np.uint8(i32(green * f32(255) + f32(0.5)))
            row[to + U(2)] = np.uint8(i32(blue * f32(255) + f32(0.5)))
