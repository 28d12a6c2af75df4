"""Compiled loops over the pixels of frozen networks on a CPU: what lies between convolutions."""

from __future__ import annotations

from typing import Any

import numpy as np

from tpvideo.stages.networks.compiled_pixels import PIXELS_AT_ONCE
from tpvideo.stages.networks.march_kernel import sigmoid
from tpvideo.stages.networks.product_kernel import multiply
from tpvideo.stages.networks.vectors import LANES, compiled, load, splat, store
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
        scratch: [ROWS * C] and [PIXELS_AT_ONCE * panels * PANEL].
        result: [H * W * K].
    """
    height, width = size
    tail, products = scratch
    pixels, kinds = height * width, U(len(bias))
    channels = U(len(x) // pixels)
    panels = (kinds + U(PANEL - 1)) // U(PANEL)
    wide = panels * U(PANEL)
    limit = f32(limit)
    for begin in range(0, pixels, PIXELS_AT_ONCE):
        count = min(PIXELS_AT_ONCE, pixels - begin)
        for row in range(0, count, ROWS):
            whole = begin + row + ROWS <= pixels
            if not whole:
                at = U(begin + row) * channels
                for c in range(U(len(x)) - at):
                    tail[c] = x[at + c]
            for panel in range(panels):
                kernel, to = panel * channels * U(PANEL), U(row) * wide + panel * U(PANEL)
                if whole:
                    at = U(begin + row) * channels
                    multiply(
                        x, at, channels, channels, weights, kernel, U(1), U(0), products, to, wide
                    )
                else:
                    multiply(
                        tail, U(0), channels, channels, weights, kernel, U(1), U(0), products, to,
                        wide,
                    )  # fmt: skip
        for pixel in range(begin, begin + count):
            at, to = U(pixel - begin) * wide, U(pixel) * kinds
            for k in range(kinds):
                value = products[at + k] + bias[k]
                result[to + k] = min(max(value, -limit), limit)
            if len(image):
                add_doubled(image, pixel // width, pixel % width, size, kinds, result, to)


@compiled
def add_doubled(image: Any, y: Any, x: Any, size: Any, kinds: Any, result: Any, to: Any) -> Any:
    """result[to:] += the pixel (y, x) of an image at twice its sides, with zeros outside."""
    height, width = size[0] // 2, size[1] // 2
    row, column = y // 2, x // 2
    above, left = row + 2 * (y % 2) - 1, column + 2 * (x % 2) - 1
    v, u = f32(0.25), f32(0.25)
    if above < 0 or above >= height:
        above, v = row, f32(0)
    if left < 0 or left >= width:
        left, u = column, f32(0)
    a, b = U(row * width + column) * kinds, U(row * width + left) * kinds
    c, d = U(above * width + column) * kinds, U(above * width + left) * kinds
    three = f32(0.75)
    wa, wb, wc, wd = three * three, three * u, v * three, v * u
    if kinds % U(LANES) == U(0):
        ka, kb, kc, kd = splat(wa), splat(wb), splat(wc), splat(wd)
        for k in range(U(0), kinds, U(LANES)):
            near = ka * load(image, a + k) + kb * load(image, b + k)
            far = kc * load(image, c + k) + kd * load(image, d + k)
            store(result, to + k, load(result, to + k) + near + far)
    else:
        for k in range(kinds):
            near = wa * image[a + k] + wb * image[b + k]
            result[to + k] += near + wc * image[c + k] + wd * image[d + k]


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
