"""Lay a turned square back into the picture it was cut from: the reverse of cut.py."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from tpvideo.pipeline.frame import Image
from tpvideo.stages.cut import extent


class Place(NamedTuple):
    """A rectangle of a picture."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def rows(self) -> slice:
        """Of the picture."""
        return slice(self.top, self.bottom)

    @property
    def columns(self) -> slice:
        """Of the picture."""
        return slice(self.left, self.right)


def place_of(picture_from_crop: NDArray[np.float64], crop_px: int, picture: Image) -> Place:
    """The part of a picture [H, W, 3] in which a square of it lies; at least a pixel."""
    height, width = picture.shape[:2]
    lowest, highest = extent(picture_from_crop, crop_px)
    left, top = np.floor(lowest).clip(0, (width - 1, height - 1)).astype(int)
    right, bottom = np.ceil(highest).clip((left + 1, top + 1), (width, height)).astype(int)
    return Place(int(top), int(left), int(bottom), int(right))


def lay(layer: Image, picture_from_layer: NDArray[np.float64], place: Place) -> Image:
    """What a square is where it lies in a picture.

    Args:
        layer: [S, S], or [S, S, C] of which a fourth channel is opacity.
        picture_from_layer: [2, 3] similarity from the square's pixels to those of the picture,
            pixel centres at half-integers.
        place: of the picture.

    Returns:
        [h, w] or [h, w, C] of the place; 0 outside the square.
    """
    source, affine = Pillow.fromarray(layer), picture_from_layer
    is_clear = source.mode == "RGBA"
    if is_clear:
        source = source.convert("RGBa")  # so that nothing mixes with what is not there
    factor = int(1 / math.hypot(affine[0, 0], affine[1, 0]) + 0.25)
    if factor > 1:
        source = source.reduce(factor)
        affine = np.column_stack([affine[:, :2] * factor, affine[:, 2]])
    back = np.linalg.inv(affine[:, :2])
    offset = back @ (np.array([place.left, place.top]) - affine[:, 2])
    laid = source.transform(
        (place.right - place.left, place.bottom - place.top),
        Pillow.Transform.AFFINE,
        tuple(np.column_stack([back, offset]).ravel()),
        Pillow.Resampling.BILINEAR,
    )
    return np.array(laid.convert("RGBA") if is_clear else laid)
