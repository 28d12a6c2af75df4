"""The compiled loops of cut.py: a turned square out of a picture, row after row.

Written for numba. A pixel is one number of 64 bits, red in the lowest 21, then green, then blue, so
that one product weighs all three. Weights are whole numbers whose sum is a power of two: what is of
one colour stays it. The same filters as Pillow's affine transform, which is the reference; Pillow
cuts fractions off where these loops round.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tpvideo.stages.networks.vectors import compiled, inlined

i64, u32, u64 = np.int64, np.uint32, np.uint64
U = np.uintp

FIELD = u64(21)
"""Bits of a channel in a packed pixel: 8, WEIGHT_BITS, and none over."""

WEIGHT_BITS = 13
"""Of a mean of pixels, where no weight is below 0."""

CUBIC_BITS = 11
"""Of a cubic, whose sums lie between -0.7 and 1.7 times the greatest level."""

PLACE_BITS, SHARE_BITS = 24, 10
"""Of the fraction of a coordinate, and those of them that choose the weights."""

EVERY_CHANNEL = u64(1 | 1 << 21 | 1 << 42)
LEVEL_MASK, FIELD_MASK = u64(255), u64((1 << 21) - 1)


def _cubic_weights() -> Any:
    """[1024, 4] int16 weights of the four neighbours (Keys 1981, a = -1) by the share of a pixel
    that a place is past the second, in 1024ths."""
    t = np.arange(1 << SHARE_BITS)[:, None] / (1 << SHARE_BITS)
    square, cube = t**2, t**3
    exact = [2 * square - t - cube, 1 - 2 * square + cube, t + square - cube, cube - square]
    weights = np.rint(np.hstack(exact) * 2**CUBIC_BITS).astype(np.int16)
    weights[:, 1] += 2**CUBIC_BITS - weights.sum(axis=1, dtype=np.int16)
    return weights


CUBIC = _cubic_weights()


@inlined
def packed(red: Any, green: Any, blue: Any) -> Any:
    """One number of three levels."""
    return u64(red) | u64(green) << FIELD | u64(blue) << (FIELD + FIELD)


@compiled
def pack(picture: Any, top: Any, left: Any, factor: Any, region: Any) -> None:
    """Fill `region` [h, w] uint64 with packed means of `factor` x `factor` pixels each.

    Args:
        picture: [H, W, 3] uint8; beyond it its border goes on.
        top, left: where the region begins, pixels of the picture.
        factor: see above.
        region: see above.
    """
    rows, columns, _ = picture.shape
    height, width = region.shape
    wide = width * factor
    first, end = max(-left, 0), min(columns - left, wide)  # of the columns that are in the picture
    if first >= end:
        first, end = wide, wide
    sums = np.empty(3 * wide, u32)  # of a column's pixels
    within = sums[3 * first : 3 * end]
    half, share = u32(factor * factor // 2), u32((1 << 24) // (factor * factor))  # as Pillow has it
    for i in range(height):
        sums[:] = u32(0)
        for k in range(factor):
            line = picture[min(max(top + i * factor + k, 0), rows - 1)].reshape(-1)
            inside = line[3 * (left + first) :]
            for j in range(U(within.size)):
                within[j] += inside[j]
            for j in range(U(3 * first)):
                sums[j] += line[U(3 * (columns - 1) if left > 0 else 0) + j % U(3)]
            for j in range(U(3 * end), U(3 * wide)):
                sums[j] += line[U(3 * (columns - 1)) + j % U(3)]
        if factor == 1:
            for j in range(U(width)):
                at = U(3) * j
                region[i, j] = packed(sums[at], sums[at + U(1)], sums[at + U(2)])
            continue
        for j in range(U(width)):
            red, green, blue = half, half, half
            for beside in range(U(3 * factor) * j, U(3 * factor) * (j + U(1)), U(3)):
                red += sums[beside]
                green += sums[beside + U(1)]
                blue += sums[beside + U(2)]
            mean = u32(red * share) >> u32(24), u32(green * share) >> u32(24)
            region[i, j] = packed(mean[0], mean[1], u32(blue * share) >> u32(24))


@inlined
def place_bits(place: Any) -> Any:
    """A coordinate as a whole number, rounded to what chooses the weights."""
    return i64(place * (1 << PLACE_BITS)) + i64(1 << (PLACE_BITS - SHARE_BITS - 1))


@inlined
def share_bits(place: Any) -> Any:
    """How far past a pixel it is, in 1024ths."""
    return (place >> i64(PLACE_BITS - SHARE_BITS)) & i64((1 << SHARE_BITS) - 1)


@compiled
def bilinear(region: Any, affine: Any, fine: Any, result: Any) -> None:
    """Fill `result` [S, S, 3] uint8 with means of `fine` x `fine` places in every pixel.

    Args:
        region: [H, W] packed; wider than what is looked up.
        affine: [2, 3] region from result, pixel centres at half-integers.
        fine: places along each side of a pixel, 1 or 2.
        result: see above.
    """
    flat, side, width = region.reshape(-1), result.shape[0], i64(region.shape[1])
    bits = i64(WEIGHT_BITS - 2 * (fine - 1))  # of the weights at one place
    one, spare, shift = i64(1) << bits, bits - i64(SHARE_BITS), i64(2 * SHARE_BITS) - bits
    right_step = i64(round(affine[0, 0] * 2**PLACE_BITS))
    down_step = i64(round(affine[1, 0] * 2**PLACE_BITS))
    sums = np.empty(side, u64)
    for i in range(side):
        sums[:] = u64(1 << (WEIGHT_BITS - 1)) * EVERY_CHANNEL
        for place in range(fine * fine):
            u, v = (place % fine + 0.5) / fine, i + (place // fine + 0.5) / fine
            x = place_bits(affine[0, 0] * u + affine[0, 1] * v + affine[0, 2] - 0.5)
            y = place_bits(affine[1, 0] * u + affine[1, 1] * v + affine[1, 2] - 0.5)
            for j in range(U(side)):
                across, down = share_bits(x), share_bits(y)
                lower_right = across * down >> shift
                upper_right = (across << spare) - lower_right
                lower = down << spare
                upper_left = one - upper_right - lower
                at = U((y >> i64(PLACE_BITS)) * width + (x >> i64(PLACE_BITS)))
                upper = flat[at] * u64(upper_left) + flat[at + U(1)] * u64(upper_right)
                at += U(width)
                under = flat[at] * u64(lower - lower_right) + flat[at + U(1)] * u64(lower_right)
                sums[j] += upper + under
                x += right_step
                y += down_step
        for j in range(U(side)):
            for channel in range(U(3)):
                level = sums[j] >> u64(U(21) * channel + U(WEIGHT_BITS))
                result[i, j, channel] = np.uint8(level & LEVEL_MASK)


@compiled
def bicubic(region: Any, affine: Any, result: Any) -> None:
    """Fill `result` [S, S, 3] uint8 with what a cubic through 4 x 4 pixels is at each place.

    Args:
        region: [H, W] packed; wider than what is looked up.
        affine: [2, 3] region from result.
        result: see above.
    """
    flat, side, width = region.reshape(-1), result.shape[0], i64(region.shape[1])
    right_step = i64(round(affine[0, 0] * 2**PLACE_BITS))
    down_step = i64(round(affine[1, 0] * 2**PLACE_BITS))
    half = i64(1 << (CUBIC_BITS - 1))
    lift = i64(200 << CUBIC_BITS)  # keeps every channel above 0, and so in its field
    for i in range(side):
        x = place_bits(affine[0, 0] * 0.5 + affine[0, 1] * (i + 0.5) + affine[0, 2] - 0.5)
        y = place_bits(affine[1, 0] * 0.5 + affine[1, 1] * (i + 0.5) + affine[1, 2] - 0.5)
        for j in range(U(side)):
            across, under = CUBIC[U(share_bits(x))], CUBIC[U(share_bits(y))]
            row, column = (y >> i64(PLACE_BITS)) - i64(1), (x >> i64(PLACE_BITS)) - i64(1)
            at = U(row * width + column)
            total = u64(lift + half) * EVERY_CHANNEL
            for tap in range(U(4)):
                whole = i64(under[tap])
                first = (i64(across[U(0)]) * whole + half) >> i64(CUBIC_BITS)
                third = (i64(across[U(2)]) * whole + half) >> i64(CUBIC_BITS)
                fourth = (i64(across[U(3)]) * whole + half) >> i64(CUBIC_BITS)
                second = whole - first - third - fourth
                total += flat[at] * u64(first) + flat[at + U(1)] * u64(second)
                total += flat[at + U(2)] * u64(third) + flat[at + U(3)] * u64(fourth)
                at += U(width)
            for channel in range(U(3)):
                lifted = i64(total >> u64(U(21) * channel) & FIELD_MASK)
                level = (lifted - lift) >> i64(CUBIC_BITS)
                result[i, j, channel] = np.uint8(min(max(level, i64(0)), i64(255)))
            x += right_step
            y += down_step
