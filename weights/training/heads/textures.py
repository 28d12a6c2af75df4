"""Textures of the asset pack, read and brought to one form, and the one that is drawn."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from tpvideo.pipeline.errors import InputError
from tpvideo.weights.training.heads.kernel import U8


def read_picture(path: Path, flags: int = cv2.IMREAD_COLOR) -> U8:
    """A picture as OpenCV reads it, BGR.

    Raises:
        InputError: the file is missing or not a picture.
    """
    picture = cv2.imread(str(path), flags)
    if picture is None:
        raise InputError(path, "missing or not a picture; is the head asset pack whole?")
    return np.asarray(picture, np.uint8)


@lru_cache(maxsize=128)
def skin_tiles(folder: Path, name: str, side: int) -> tuple[U8, U8]:
    """Albedo of a face and of a back of the head, `side` and half of it wide, BGR bytes."""
    face = read_picture(folder / f"{name}_face.jpg")
    back = read_picture(folder / f"{name}_back.jpg")
    return _shrink(face, side), _shrink(back, max(side // 2, 256))


def _shrink(tile: U8, side: int) -> U8:
    if tile.shape[0] == side:
        return tile
    return np.asarray(cv2.resize(tile, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def hair_texture(halves: U8) -> U8:
    """[h, w, 2] from a picture [h, 2w] with luminance at the left and alpha at the right, the
    luminance brought to one mean and contrast so that hair colours mean the same on each."""
    width = halves.shape[1] // 2
    luminance, alpha = halves[:, :width].astype(np.float32), halves[:, width:]
    solid = alpha > 128
    mean = (luminance * solid).sum() / max(solid.sum(), 1)
    contrast = 64 / max(luminance[solid].std(), 8) * 0.62
    luminance = np.clip(64 + (luminance - mean) * contrast + 64, 20, 255)
    return np.ascontiguousarray(np.stack([luminance.astype(np.uint8), alpha], axis=-1))


def lash_texture(rng: np.random.Generator, width: int = 1024, height: int = 128) -> U8:
    """[height, width, 2] luminance and alpha of one row of lashes, roots at the bottom."""
    alpha = np.zeros((height * 2, width * 2), np.float32)
    steps = np.linspace(0, 1, 12)
    for _ in range(110):
        x = rng.random() * width * 2
        length = height * 2 * rng.uniform(0.28, 0.62)
        lean = (x / (width * 2) - 0.5) * 90 + rng.normal(0, 22)
        path = np.stack([x + lean * steps**1.6, height * 2 - length * steps], axis=1)
        ends = (path * 16).astype(np.int32).tolist()  # sixteenths of a pixel
        for k in range(11):
            thickness = max(1, int(6 * (1 - k / 11) + 1))
            shade = 1.0 - 0.5 * k / 11
            cv2.line(alpha, ends[k], ends[k + 1], shade, thickness, cv2.LINE_AA, 4)
    shrunk = np.asarray(cv2.resize(alpha, (width, height), interpolation=cv2.INTER_AREA))
    opacity = np.clip(shrunk * 255, 0, 255).astype(np.uint8)
    return np.stack([np.full_like(opacity, 128), opacity], axis=-1)
