"""The compiled loop of paint.py: every pixel of a picture with detail, once.

Written for numba: plain loops over numbers. `paint` in paint.py is its reference.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from tpvideo.stages.paint import COVERED, LEAST_SHARE, SOLID

f32 = np.float32
LEAST_AT, COVERED_AT, SOLID_AT = f32(LEAST_SHARE), f32(COVERED), f32(SOLID)
SHARP = f32(-0.75)


def inlined(function: Any) -> Any:
    """For small functions that become part of their caller's loop."""
    return njit(nogil=True, fastmath=True, error_model="numpy", inline="always")(function)


def compiled(function: Any) -> Any:
    """Compile on first call, keep the result on disk, and let other threads run meanwhile."""
    return njit(nogil=True, fastmath=True, error_model="numpy", cache=True)(function)


@inlined
def place_in(position: Any, count: Any) -> Any:
    """The two neighbours of a position between 0 and count, cell centres at halves, and the share
    of the second; positions beyond the rim are on it."""
    at = min(max(position - f32(0.5), f32(0)), f32(count - 1))
    first = int(at)
    return first, min(first + 1, count - 1), at - f32(first)


@inlined
def level(
    table: Any, top: Any, bottom: Any, down: Any, left: Any, right: Any, along: Any, channel: Any
) -> Any:
    """A channel of [H, W, C] between four neighbours."""
    upper = f32(table[top, left, channel])
    upper += along * (f32(table[top, right, channel]) - upper)
    lower = f32(table[bottom, left, channel])
    lower += along * (f32(table[bottom, right, channel]) - lower)
    return upper + down * (lower - upper)


@inlined
def weights(along: Any) -> Any:
    """Of the four neighbours of a position, `along` 0..1 from the second to the third: Keys' cubic
    convolution (1981) with a = -3/4, torch's."""
    back = f32(1) - along
    first = SHARP * along * back * back
    last = SHARP * back * along * along
    second = ((SHARP + f32(2)) * along - (SHARP + f32(3))) * along * along + f32(1)
    return first, second, f32(1) - first - second - last, last


@inlined
def bend(picture: Any, x: Any, y: Any, colour: Any) -> None:
    """The cubic of a picture [H, W, 3] of 0..255 at a place in pixels, 0..1, into `colour`."""
    last_row, last = picture.shape[0] - 1, picture.shape[1] - 1
    column, row = int(np.floor(x - f32(0.5))), int(np.floor(y - f32(0.5)))
    across = weights(x - f32(0.5) - f32(column))
    down = weights(y - f32(0.5) - f32(row))
    c0, c1 = min(max(column - 1, 0), last), min(max(column, 0), last)
    c2, c3 = min(max(column + 1, 0), last), min(max(column + 2, 0), last)
    red, green, blue = f32(0), f32(0), f32(0)
    for n in range(4):
        line = picture[min(max(row - 1 + n, 0), last_row)]
        w0, w1 = down[n] * across[0], down[n] * across[1]
        w2, w3 = down[n] * across[2], down[n] * across[3]
        red += w0 * line[c0, 0] + w1 * line[c1, 0] + w2 * line[c2, 0] + w3 * line[c3, 0]
        green += w0 * line[c0, 1] + w1 * line[c1, 1] + w2 * line[c2, 1] + w3 * line[c3, 1]
        blue += w0 * line[c0, 2] + w1 * line[c1, 2] + w2 * line[c2, 2] + w3 * line[c3, 2]
    scale = f32(1 / 255)
    colour[0], colour[1], colour[2] = red * scale, green * scale, blue * scale


@compiled
def fetch(source: Any, matte: Any, place: Any, person: Any, x: Any, y: Any, colour: Any) -> Any:
    """The person's own colour at (x, y) in -1..1 of the crop, 0..1, into `colour`; returns the
    matte there."""
    side, cells = matte.shape[0], person.shape[0]
    u, v = (x + f32(1)) * f32(0.5), (y + f32(1)) * f32(0.5)
    left, right, along = place_in(u * f32(side), side)
    top, bottom, down = place_in(v * f32(side), side)
    scale = f32(1 / 255)
    upper = f32(matte[top, left]) + along * (f32(matte[top, right]) - f32(matte[top, left]))
    lower = f32(matte[bottom, left])
    lower += along * (f32(matte[bottom, right]) - lower)
    alpha = (upper + down * (lower - upper)) * scale
    column = place[0, 0] * x + place[0, 1] * y + place[0, 2]
    row = place[1, 0] * x + place[1, 1] * y + place[1, 2]
    if alpha > SOLID_AT:
        bend(source, column, row, colour)
        return alpha
    left, right, along = place_in(column, source.shape[1])
    top, bottom, down = place_in(row, source.shape[0])
    west, east, across = place_in(u * f32(cells), cells)
    north, south, below = place_in(v * f32(cells), cells)
    for k in range(3):
        seen = level(source, top, bottom, down, left, right, along, k) * scale
        spread = level(person, north, south, below, west, east, across, k)
        colour[k] = spread + alpha * (seen - spread)
    return alpha


@compiled
def paint(
    picture: Any,
    own: Any,
    other: Any,
    person: Any,
    behind: Any,
    source: Any,
    matte: Any,
    place: Any,
    result: Any,
    opacity: Any,
) -> None:
    """Fill `result` [T, T, 3] uint8; see paint.paint_on. Layers are [H, W, C] float32. Where
    `opacity` is [T, T] and not empty it is filled as well, and the colours are straight."""
    size, fine, coarse = result.shape[0], picture.shape[0], own.shape[0]
    is_plain, is_clear = behind.shape[0] == 1, opacity.shape[0] > 0
    fetched, mirrored = np.empty(3, f32), np.empty(3, f32)
    to_fine, to_coarse = f32(fine / size), f32(coarse / size)
    for i in range(size):
        top, bottom, down = place_in((f32(i) + f32(0.5)) * to_fine, fine)
        north, south, below = place_in((f32(i) + f32(0.5)) * to_coarse, coarse)
        for j in range(size):
            left, right, along = place_in((f32(j) + f32(0.5)) * to_fine, fine)
            row, column = (0, 0) if is_plain else (i, j)
            alpha = level(picture, top, bottom, down, left, right, along, 3)
            west, east, across = place_in((f32(j) + f32(0.5)) * to_coarse, coarse)
            same = level(own, north, south, below, west, east, across, 3)
            trust = f32(0)
            if same > f32(0) or alpha >= f32(1e-3):
                trust = level(own, north, south, below, west, east, across, 2)
            if trust > f32(0) or same > f32(0):
                x = level(own, north, south, below, west, east, across, 0)
                y = level(own, north, south, below, west, east, across, 1)
                there = fetch(source, matte, place, person, x, y, fetched)
                trust *= min(max((there - f32(0.5)) * f32(2), f32(0)), f32(1))
                trust += same * (f32(1) - trust)
                alpha += same * (there - alpha)
            if is_clear:
                opacity[i, j] = np.uint8(alpha * f32(255) + f32(0.5))
            if alpha < f32(1e-3):
                for k in range(3):
                    result[i, j, k] = np.uint8(behind[row, column, k] * f32(255) + f32(0.5))
                continue
            share = f32(0)
            if trust < COVERED_AT:
                share = level(other, north, south, below, west, east, across, 5)
                if share > LEAST_AT:
                    x = level(other, north, south, below, west, east, across, 0)
                    y = level(other, north, south, below, west, east, across, 1)
                    fetch(source, matte, place, person, x, y, mirrored)
                else:
                    share = f32(0)
            for k in range(3):
                colour = level(picture, top, bottom, down, left, right, along, k)
                if share > f32(0):
                    tone = level(other, north, south, below, west, east, across, 2 + k)
                    colour += share * (mirrored[k] + tone - colour)
                if trust > f32(0):
                    colour += trust * (fetched[k] - colour)
                colour = min(max(colour, f32(0)), f32(1))
                shown = colour
                if not is_clear:
                    shown = colour * alpha + (f32(1) - alpha) * behind[row, column, k]
                result[i, j, k] = np.uint8(shown * f32(255) + f32(0.5))
