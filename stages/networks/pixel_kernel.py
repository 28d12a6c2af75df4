"""Compiled loops over the pixels of frozen networks on a CPU: what lies between convolutions."""

from __future__ import annotations

from typing import Any

import numpy as np

from tpvideo.stages.networks.march_kernel import sigmoid
from tpvideo.stages.networks.product_kernel import multiply
from tpvideo.stages.networks.vectors import begin, compiled
from tpvideo.stages.networks.winograd import PANEL, ROWS

f32, U = np.float32, np.uintp


@compiled
def add_colours(
    x: Any, size: Any, weights: Any, bias: Any, limit: Any, image: Any, scratch: Any, result: Any
) -> Any:
    """result = the image at twice its sides + a 1 x 1 convolution of x.

    Args:
        x: [H * W * C], channels last.
        size: (H, W) of x.
        weights: [panels * C * PANEL], the K outputs in panels.
        bias: [K].
        limit: of the convolution's result, either way.
        image: [H / 2 * W / 2 * K] as `layers.upsample2` takes it, or empty for none.
        scratch: room for ROWS pixels of x, the products of a row, and two rows of the image.
        result: [H * W * K].
    """
    height, width = size
    tail, products, doubled = begin(scratch[0]), begin(scratch[1]), begin(scratch[2])
    source, finished, small = begin(x), begin(result), begin(image)
    kernels, biases = begin(weights), begin(bias)
    kinds, channels = U(len(bias)), U(len(x) // (height * width))
    panels = (kinds + U(PANEL - 1)) // U(PANEL)
    wide = panels * U(PANEL)
    limit = f32(limit)
    for y in range(height):
        for start in range(0, width, ROWS):
            at = U(y * width + start) * channels
            whole = start + ROWS <= width
            if not whole:
                for c in range(U(width - start) * channels):
                    tail[c] = source[at + c]
            for panel in range(U(0), wide, U(PANEL)):
                to = U(start) * wide + panel
                if whole:
                    multiply(
                        source, at, channels, channels, kernels, panel * channels, U(1), U(0),
                        products, to, wide,
                    )  # fmt: skip
                else:
                    multiply(
                        tail, U(0), channels, channels, kernels, panel * channels, U(1), U(0),
                        products, to, wide,
                    )  # fmt: skip
        line = U(y * width) * kinds
        for pixel in range(U(width)):
            at, to = pixel * wide, line + pixel * kinds
            for k in range(kinds):
                value = products[at + k] + biases[k]
                finished[to + k] = min(max(value, -limit), limit)
        if len(image):
            double_rows(small, y, size, kinds, doubled)
            add_doubled(doubled, U(width // 2), kinds, finished, line)


@compiled
def double_rows(image: Any, y: Any, size: Any, kinds: Any, doubled: Any) -> Any:
    """doubled = what row `y` of the image at twice its sides is made of, a quarter of it, with a
    pixel of zeros at either end."""
    height, width = size[0] // 2, size[1] // 2
    count = U(width) * kinds
    row = y // 2
    near, other = U(row) * count, row + 2 * (y % 2) - 1
    beyond = other < 0 or other >= height
    far, share = (near, f32(0)) if beyond else (U(other) * count, f32(1 / 16))
    for k in range(kinds):
        doubled[k] = f32(0)
        doubled[kinds + count + k] = f32(0)
    for i in range(count):
        doubled[kinds + i] = f32(3 / 16) * image[near + i] + share * image[far + i]


@compiled
def add_doubled(doubled: Any, width: Any, kinds: Any, result: Any, line: Any) -> Any:
    """result[line:] += the row of `double_rows` at twice its width."""
    three = f32(3)
    for x in range(width):
        at, to = (x + U(1)) * kinds, line + U(2) * x * kinds
        for k in range(kinds):
            middle = three * doubled[at + k]
            result[to + k] += middle + doubled[at + k - kinds]
            result[to + kinds + k] += middle + doubled[at + k + kinds]


@compiled
def gate(
    x: Any, first: Any, second: Any, gates: Any, shortcut: Any, line: Any, step: Any, size: Any,
    result: Any,
) -> Any:  # fmt: skip
    """result = x times a gate for each channel + a shortcut (`trunk.SqueezeExcite`).

    Args:
        x: [H * W * C], channels last.
        first: [C * squeezed], second: [squeezed * C] of the two layers, inputs first.
        gates: [C] and [squeezed]: room.
        shortcut: channels last; `line` numbers from row to row, `step` from pixel to pixel.
        size: (H, W).
        result: [H * W * C].
    """
    height, width = size
    means, squeezed = gates
    channels, few = U(len(means)), U(len(squeezed))
    pixels = U(height * width)
    for c in range(channels):
        means[c] = f32(0)
    for pixel in range(pixels):
        at = pixel * channels
        for c in range(channels):
            means[c] += x[at + c]
    for q in range(few):
        squeezed[q] = f32(0)
    for c in range(channels):
        mean = means[c] / f32(pixels)
        for q in range(few):
            squeezed[q] += mean * first[c * few + q]
    for c in range(channels):
        means[c] = f32(0)
    for q in range(few):
        value = max(squeezed[q], f32(0))
        for c in range(channels):
            means[c] += value * second[q * channels + c]
    for c in range(channels):
        means[c] = sigmoid(means[c])
    for y in range(U(height)):
        for column in range(U(width)):
            at = (y * U(width) + column) * channels
            other = y * U(line) + column * U(step)
            for c in range(channels):
                result[at + c] = x[at + c] * means[c] + shortcut[other + c]
