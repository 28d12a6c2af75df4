"""Compiled loops over whole pictures: blur, halve, enlarge, reduce.

A picture of C channels is [H, W * C] here, the channels of a pixel side by side. The plain versions
are in detail.py, under these names.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tpvideo.stages.loops import U, between, f32, i32, mixed, spaced
from tpvideo.stages.networks.vectors import compiled


@compiled
def blur(picture: Any, channels: Any, radius: Any) -> Any:
    """Box average over 2 `radius` + 1 pixels, edges repeated."""
    height, width = picture.shape
    margin, share = U(radius * channels), f32(1 / (2 * radius + 1) ** 2)
    result, line = np.empty((height, width), f32), np.empty(width + 2 * radius * channels, f32)
    for i in range(height):
        line[:] = f32(0)
        for near in range(i - radius, i + radius + 1):
            row = picture[min(max(near, 0), height - 1)]
            for j in range(U(width)):
                line[margin + j] += row[j]
        for j in range(margin):
            line[j] = line[margin + j % U(channels)]
            line[margin + U(width) + j] = line[U(width - channels) + margin + j % U(channels)]
        row = result[i]
        row[:] = f32(0)
        for tap in range(2 * radius + 1):
            begin = U(tap * channels)
            for j in range(U(width)):
                row[j] += line[begin + j]
        for j in range(U(width)):
            row[j] *= share
    return result


@compiled
def halved(picture: Any, channels: Any) -> Any:
    """Means of two by two pixels."""
    height, width = picture.shape[0] // 2, picture.shape[1] // (2 * channels)
    result = np.empty((height, width * channels), f32)
    for i in range(U(height)):
        upper, lower = picture[U(2) * i], picture[U(2) * i + U(1)]
        for j in range(U(width)):
            for c in range(U(channels)):
                at = U(2) * j * U(channels) + c
                right = at + U(channels)
                total = (upper[at] + upper[right]) + (lower[at] + lower[right])
                result[i, j * U(channels) + c] = total * f32(0.25)
    return result


@compiled
def enlarged(picture: Any, channels: Any, side: Any) -> Any:
    """[side, side * C] bilinear, of 1 or 4 channels."""
    height, width = picture.shape
    cells = width // channels
    result, line = np.empty((side, side * channels), f32), np.empty(width, f32)
    for i in range(side):
        top, bottom, down = between(spaced(i, side, height), height)
        for j in range(U(width)):
            line[j] = picture[top, j] + down * (picture[bottom, j] - picture[top, j])
        for j in range(side):
            left, right, along = between(spaced(j, side, cells), cells)
            if channels == 1:
                result[i, U(j)] = line[left] + along * (line[right] - line[left])
            else:
                starts, at = (left * U(4), right * U(4)), U(4 * j)
                a, b, c, d = mixed(line, starts, (f32(1) - along, along), 4)
                result[i, at], result[i, at + U(1)] = a, b
                result[i, at + U(2)], result[i, at + U(3)] = c, d
    return result


@compiled
def reduced(picture: Any, channels: Any, side: Any) -> Any:
    """[side, side * C] means of the bytes [S, S * C] in each pixel, as Pillow's box filter takes
    them, in whole levels, 0..1."""
    size = picture.shape[0]
    result, line = np.empty((side, side * channels), f32), np.empty(picture.shape[1], f32)
    begins, ends = np.empty(side, np.int64), np.empty(side, np.int64)
    scale = size / side
    for i in range(side):
        middle, reach = (i + 0.5) * scale + 0.5, max(scale, 1.0) / 2
        begins[i], ends[i] = max(int(middle - reach), 0), min(int(middle + reach), size)
    for i in range(side):
        line[:] = f32(0)
        for row in range(begins[i], ends[i]):
            for k in range(U(picture.shape[1])):
                line[k] += f32(picture[row, k])
        for j in range(side):
            count = (ends[i] - begins[i]) * (ends[j] - begins[j])
            share = f32(1) / f32(count)
            for c in range(U(channels)):
                total = f32(0)
                for k in range(U(begins[j]), U(ends[j])):
                    total += line[k * U(channels) + c]
                level = i32(total * share + f32(0.5))
                result[i, U(j * channels) + c] = f32(level) * f32(1 / 255)
    return result
