"""The compiled loops of cut.py: a turned square out of a picture, row after row.

Written for numba. The same weights as Pillow's affine transform, which is the reference; Pillow
rounds in between where a square is drawn twice as fine and halved, and these loops do not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

f32, i32, u32 = np.float32, np.int32, np.uint32
U = np.uintp
BYTE = u32(255)


def compiled(function: Any) -> Any:
    """Compile on first call, keep the result on disk, and let other threads run meanwhile."""
    return njit(nogil=True, fastmath=True, error_model="numpy", cache=True)(function)


def inlined(function: Any) -> Any:
    """For small functions that must become part of their caller's loop."""
    return njit(nogil=True, fastmath=True, error_model="numpy", forceinline=True)(function)


@inlined
def level(pixel: Any, bits: Any) -> Any:
    """A channel of a packed pixel."""
    return f32(i32((pixel >> bits) & BYTE))


@inlined
def cubic(share: Any) -> Any:
    """Weights of the four neighbours of a place (Keys 1981, a = -1), as Pillow has them."""
    square = share * share
    cube = square * share
    middle = f32(1) - f32(2) * square + cube
    return f32(2) * square - share - cube, middle, share + square - cube, cube - square


@inlined
def blend(pixels: Any, weights: Any, bits: Any) -> Any:
    """A channel of four pixels in a row."""
    a, b, c, d = pixels
    left = weights[0] * level(a, bits) + weights[1] * level(b, bits)
    return left + weights[2] * level(c, bits) + weights[3] * level(d, bits)


@compiled
def bicubic(region: Any, affine: Any, result: Any) -> None:
    """Fill `result` [S, S, 3] uint8 from a region that is wider than what is looked up.

    Args:
        region: [H, W] uint32, red in the lowest byte, then green and blue.
        affine: [2, 3] region from result, pixel centres at half-integers.
        result: see above.
    """
    height, width = region.shape
    flat, side = region.reshape(-1), result.shape[0]
    last_column, last_row = i32(width - 3), i32(height - 3)
    right, down = f32(affine[0, 0]), f32(affine[1, 0])
    first = np.empty(side, i32)  # the upper left of the sixteen neighbours
    across, below = np.empty((4, side), f32), np.empty((4, side), f32)
    sums = np.empty((3, side), f32)
    for i in range(side):
        x_begin = f32(affine[0, 0] * 0.5 + affine[0, 1] * (i + 0.5) + affine[0, 2] - 0.5)
        y_begin = f32(affine[1, 0] * 0.5 + affine[1, 1] * (i + 0.5) + affine[1, 2] - 0.5)
        for j in range(U(side)):
            x = x_begin + right * f32(i32(j))
            y = y_begin + down * f32(i32(j))
            column = min(max(i32(x), i32(1)), last_column)
            row = min(max(i32(y), i32(1)), last_row)
            across[0, j], across[1, j], across[2, j], across[3, j] = cubic(x - f32(column))
            below[0, j], below[1, j], below[2, j], below[3, j] = cubic(y - f32(row))
            first[j] = (row - i32(1)) * i32(width) + column - i32(1)
            sums[0, j] = sums[1, j] = sums[2, j] = f32(0.5)
        for tap in range(4):
            for j in range(U(side)):
                at = U(first[j])
                pixels = flat[at], flat[at + U(1)], flat[at + U(2)], flat[at + U(3)]
                weights = across[0, j], across[1, j], across[2, j], across[3, j]
                sums[0, j] += below[tap, j] * blend(pixels, weights, u32(0))
                sums[1, j] += below[tap, j] * blend(pixels, weights, u32(8))
                sums[2, j] += below[tap, j] * blend(pixels, weights, u32(16))
                first[j] += i32(width)
        for j in range(U(side)):
            for channel in range(U(3)):
                clipped = min(max(sums[channel, j], f32(0)), f32(255))
                result[i, j, channel] = np.uint8(i32(clipped))


@compiled
def bilinear(region: Any, affine: Any, fine: Any, result: Any) -> None:
    """Fill `result` [S, S, 3] uint8 with means of `fine` x `fine` places in every pixel.

    Args:
        region: [H, W] uint32, as for `bicubic`.
        affine: [2, 3] region from result.
        fine: places along each side of a pixel.
        result: see above.
    """
    height, width = region.shape
    flat, side = region.reshape(-1), result.shape[0]
    last_column, last_row = i32(width - 2), i32(height - 2)
    share, half = f32(1 / (fine * fine)), f32(0.5)
    for i in range(side):
        for j in range(side):
            red, green, blue = half, half, half
            for place in range(fine * fine):
                u, v = j + (place % fine + 0.5) / fine, i + (place // fine + 0.5) / fine
                x = f32(affine[0, 0] * u + affine[0, 1] * v + affine[0, 2] - 0.5)
                y = f32(affine[1, 0] * u + affine[1, 1] * v + affine[1, 2] - 0.5)
                column = min(max(i32(x), i32(0)), last_column)
                row = min(max(i32(y), i32(0)), last_row)
                along, down = x - f32(column), y - f32(row)
                lower_right = along * down * share
                upper_right, lower_left = along * share - lower_right, down * share - lower_right
                weights = (share - along * share - lower_left, upper_right, lower_left, lower_right)
                at = U(row * i32(width) + column)
                under = at + U(width)
                pixels = flat[at], flat[at + U(1)], flat[under], flat[under + U(1)]
                red += blend(pixels, weights, u32(0))
                green += blend(pixels, weights, u32(8))
                blue += blend(pixels, weights, u32(16))
            result[i, j, 0] = np.uint8(i32(red))
            result[i, j, 1] = np.uint8(i32(green))
            result[i, j, 2] = np.uint8(i32(blue))
