"""The compiled loop of `direct`: convolutions of any size and stride, channels last.

The pixels that a kernel's row sees lie behind one another, so that a row of results is a product of
matrices without the picture being copied out, but for the rows that need zeros around them.
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
    least,
    load,
    most,
    splat,
    store,
)
from tpvideo.stages.networks.winograd import PANEL, ROWS

f32, U = np.float32, np.uintp


@compiled
def convolve(
    picture: Any, size: Any, before: Any, weights: Any, shape: Any, after: Any, part: Any,
    scratch: Any, result: Any,
) -> Any:  # fmt: skip
    """Some rows of a convolution.

    Args:
        picture: [H * W * C], channels last.
        size: (H, W).
        before: scale [C] and shift [C] of the picture, or both empty.
        weights: [panels * k * k * C * PANEL], see `direct.in_panels`.
        shape: (C, O, k, stride, border).
        after: bias [O] and slopes [O] of the activation below 0.
        part: (first row, last row) of the result.
        scratch: room for k rows of the picture with their borders, and for the products of a row
            of the result; see `direct.Direct`.
        result: [H' * W' * O].
    """
    width = size[1]
    channels, outputs, side, stride, border = shape
    lines, products = begin(scratch[0]), begin(scratch[1])
    source, finished, kernels = begin(picture), begin(result), begin(weights)
    scaled, scale, shift = len(before[0]) > 0, begin(before[0]), begin(before[1])
    bias, slopes = begin(after[0]), begin(after[1])
    across = (width + 2 * border - side) // stride + 1
    panels = (outputs + PANEL - 1) // PANEL
    wide, line = U(panels * PANEL), U(len(scratch[0]) // side)
    inputs = U(side * channels)
    for y in range(part[0], part[1]):
        for k in range(side):
            to = U(k) * line
            fill_row(
                source, size, scaled, scale, shift, stride * y - border + k, border, channels,
                lines, to,
            )  # fmt: skip
        for panel in range(U(panels)):
            kernel, to = panel * U(side) * inputs * U(PANEL), panel * U(PANEL)
            for x in range(U(0), U(across), U(ROWS)):
                apart = U(stride * channels)
                multiply(
                    lines, x * apart, apart, inputs, kernels, kernel, U(side), line, products,
                    to + x * wide, wide,
                )  # fmt: skip
        at = U(y * across) * U(outputs)
        if outputs % LANES == 0:
            zero = splat(f32(0))
            for x in range(U(across)):
                for o in range(U(0), U(outputs), U(LANES)):
                    value = load(products, x * wide + o) + load(bias, o)
                    value = fma(least(value, zero), load(slopes, o), most(value, zero))
                    store(finished, at + x * U(outputs) + o, value)
        else:
            for x in range(U(across)):
                for o in range(U(outputs)):
                    number = products[x * wide + o] + bias[o]
                    share = slopes[o] if number < f32(0) else f32(1)
                    finished[at + x * U(outputs) + o] = number * share


@compiled
def fill_row(
    picture: Any, size: Any, scaled: Any, scale: Any, shift: Any, y: Any, border: Any,
    channels: Any, rows: Any, to: Any,
) -> Any:  # fmt: skip
    """A row of the picture, scaled, with zeros beside it, and zeros alone beyond the picture."""
    height, width = size
    if y < 0 or y >= height:
        for i in range(U((width + 2 * border) * channels)):
            rows[to + i] = f32(0)
        return
    for i in range(U(border * channels)):
        rows[to + i] = f32(0)
        rows[to + U((border + width) * channels) + i] = f32(0)
    at, to = U(y * width * channels), to + U(border * channels)
    count = U(channels)
    if not scaled:
        for i in range(U(width) * count):
            rows[to + i] = picture[at + i]
        return
    for _ in range(width):
        for c in range(count):
            rows[to + c] = picture[at + c] * scale[c] + shift[c]
        at, to = at + count, to + count
