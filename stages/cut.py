"""Cut a turned square out of a picture."""

from __future__ import annotations

import math
from importlib.util import find_spec
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from tpvideo.pipeline.frame import Image

Outside = Literal["edge", "matte"]

_Margins = tuple[int, int, int, int]  # top, bottom, left, right


def cut(
    picture: Image, picture_from_crop: NDArray[np.float64], crop_px: int, outside: Outside = "edge"
) -> Image:
    """The square that a similarity takes from a picture, without aliasing.

    Args:
        picture: [H, W, 3], or [H, W] of a matte.
        picture_from_crop: [2, 3] similarity from crop pixels to picture pixels, pixel centres
            at half-integers.
        crop_px: side of the result.
        outside: what lies beyond the picture. "edge" repeats its border; "matte" repeats the
            border at the bottom, where a body goes on, and is 0 elsewhere.

    Returns:
        [crop_px, crop_px] and the channels of the picture.
    """
    lowest, highest = extent(picture_from_crop, crop_px)
    scale = math.hypot(picture_from_crop[0, 0], picture_from_crop[1, 0])
    reach = 2 * max(1.0, scale)
    left, top = (int(v) for v in np.floor(lowest - reach))
    right, bottom = (int(v) for v in np.ceil(highest + reach))
    bounds = top, bottom, left, right
    factor = int(scale) if scale >= 2 else 1
    affine = picture_from_crop.copy()
    affine[:, 2] -= (left, top)
    affine, scale = affine / factor, scale / factor
    fine = 2 if scale > 1.15 else 1  # between the box filters: twice as fine, then halved
    is_enlarged = scale < 1
    if picture.ndim == 3 and has_kernel():
        return _by_kernel(picture, bounds, factor, affine, crop_px, 0 if is_enlarged else fine)
    pixels = _region(picture, bounds, outside)
    if outside == "matte" and pixels.min() == pixels.max():  # as inside a frame that is all person
        return np.full((crop_px, crop_px), pixels.flat[0], np.uint8)
    region = Pillow.fromarray(pixels)
    if factor > 1:
        region = region.reduce(factor)
    affine[:, :2] /= fine
    seen = region.transform(
        (crop_px * fine, crop_px * fine),
        Pillow.Transform.AFFINE,
        tuple(affine.ravel()),
        Pillow.Resampling.BICUBIC if is_enlarged else Pillow.Resampling.BILINEAR,
    )
    return np.asarray(seen.reduce(fine) if fine > 1 else seen)


def extent(
    picture_from_crop: NDArray[np.float64], crop_px: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The least and the greatest (x, y) of a square in its picture, pixels."""
    corners = np.array([[0, 0], [crop_px, 0], [0, crop_px], [crop_px, crop_px]], np.float64)
    corners = corners @ picture_from_crop[:, :2].T + picture_from_crop[:, 2]
    return corners.min(axis=0), corners.max(axis=0)


def at_size(picture_from_crop: NDArray[np.float64], crop_px: int, size: int) -> NDArray[np.float64]:
    """[2, 3] the similarity for the same square at another number of pixels."""
    return np.column_stack([picture_from_crop[:, :2] * (crop_px / size), picture_from_crop[:, 2]])


def has_kernel() -> bool:
    """Whether the compiled loops can run here; they take half of Pillow's time or less."""
    return find_spec("numba") is not None


def _by_kernel(
    picture: Image,
    bounds: _Margins,
    factor: int,
    affine: NDArray[np.float64],
    crop_px: int,
    fine: int,
) -> Image:
    """The square [crop_px, crop_px, 3] out of the means of `factor` x `factor` pixels within
    `bounds`; `fine` as for the kernel, 0 for a cubic."""
    from tpvideo.stages import cut_kernel

    top, bottom, left, right = bounds
    region = np.empty((-(-(bottom - top) // factor), -(-(right - left) // factor)), np.uint64)
    cut_kernel.pack(np.ascontiguousarray(picture), top, left, factor, region)
    result = np.empty((crop_px, crop_px, 3), np.uint8)
    if fine:
        cut_kernel.bilinear(region, affine, fine, result)
    else:
        cut_kernel.bicubic(region, affine, result)
    return result


def _region(picture: Image, bounds: _Margins, outside: Outside) -> Image:
    """The rows and columns of `bounds` (top, bottom, left, right), which may lie outside."""
    height, width = picture.shape[:2]
    top, bottom, left, right = bounds
    inside = picture[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    if inside.shape[:2] == (bottom - top, right - left):
        return np.ascontiguousarray(inside)
    rows, columns = np.arange(top, bottom), np.arange(left, right)
    region = picture[rows.clip(0, height - 1)][:, columns.clip(0, width - 1)]
    if outside == "matte":
        region[rows < 0] = 0
        region[:, (columns < 0) | (columns >= width)] = 0
    return np.asarray(region, np.uint8)
