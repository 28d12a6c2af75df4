"""What stands behind heads and in front of them, and what cameras and codecs do to pictures.

Pictures are uint8, [S, S, 3], RGB; everything draws from the generator handed in.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tpvideo.pipeline.errors import InputError
from tpvideo.weights.training.backdrops import Backdrops

Picture = NDArray[Any]
"""uint8; OpenCV does not say so."""


def background_bank(folder: Path, count: int, size_px: int, seed: int) -> NDArray[np.uint8]:
    """[count, size_px, size_px, 3] pictures without people: half of them pieces of the
    panoramas in `folder`, the others drawn shapes and rooms.

    Raises:
        InputError: the folder holds no jpg.
    """
    panoramas = [np.asarray(Image.open(f).convert("RGB")) for f in sorted(folder.glob("*.jpg"))]
    if not panoramas:
        raise InputError(folder, "no panoramas (*.jpg) in it")
    rng = np.random.default_rng(seed)
    rooms = Backdrops(panoramas)
    bank = np.empty((count, size_px, size_px, 3), np.uint8)
    for index in range(count):
        if index % 3 == 2:
            bank[index] = _drawing(rng, size_px)
        elif index % 6 == 1:
            bank[index] = rooms.draw(rng, size_px, size_px).round().clip(0, 255)
        else:
            bank[index] = _piece(panoramas[rng.integers(len(panoramas))], rng, size_px)
    return bank


def _piece(
    panorama: NDArray[np.uint8], rng: np.random.Generator, size_px: int
) -> NDArray[np.uint8]:
    height, width, _ = panorama.shape
    side = int(np.exp(rng.uniform(np.log(60), np.log(0.7 * height))))
    top = int(rng.uniform(0.1 * height, 0.9 * height - side))
    shifted = np.roll(panorama, int(rng.integers(width)), axis=1)
    piece = Image.fromarray(shifted[top : top + side, :side])
    return np.asarray(piece.resize((size_px, size_px), Image.Resampling.BICUBIC))


def _drawing(rng: np.random.Generator, size_px: int) -> NDArray[np.uint8]:
    corners = rng.integers(0, 256, (2, 2, 3)).astype(np.uint8)
    if rng.random() < 0.5:  # plain walls have little colour and little change
        corners = (corners.mean() + rng.normal(0, 20, (2, 2, 3))).clip(0, 255).astype(np.uint8)
    picture = Image.fromarray(corners).resize((size_px, size_px), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(0, 25))):
        colour = tuple(int(c) for c in rng.integers(0, 256, 3))
        x, y = (float(v) for v in rng.uniform(-0.2, 1.0, 2) * size_px)
        w, h = (float(v) for v in rng.exponential(0.2, 2) * size_px + 2)
        kind = rng.integers(5)
        if kind == 0:
            draw.rectangle((x, y, x + w, y + h), fill=colour)
        elif kind == 1:
            draw.ellipse((x, y, x + w, y + h), fill=colour)
        elif kind == 2:
            draw.line((x, y, x + 3 * w, y + 3 * h), fill=colour, width=int(rng.integers(1, 9)))
        elif kind == 3:
            draw.polygon([tuple(p) for p in rng.uniform(0, size_px, (4, 2))], fill=colour)
        else:
            word = "".join(chr(c) for c in rng.integers(48, 123, 6))
            height = int(8 * math.exp(rng.uniform(0, 2.5)))
            stroke = int(rng.integers(0, 1 + height // 6))
            edge = tuple(int(c) for c in rng.integers(0, 256, 3))
            draw.text(
                (x, y), word, fill=colour, font_size=height, stroke_width=stroke, stroke_fill=edge
            )
    return np.asarray(picture)


def background(bank: NDArray[np.uint8], size_px: int, rng: np.random.Generator) -> Picture:
    """[size_px, size_px, 3] a random piece of a random picture of the bank."""
    picture = bank[rng.integers(len(bank))]
    side = picture.shape[0]
    scale = rng.uniform(0.3, 1.0) * side / size_px
    cos, sin = _turn(rng.normal(0, 0.3), scale)
    flip = rng.choice([-1.0, 1.0])
    slack = side - size_px * scale
    middle = side / 2 + rng.uniform(-0.5, 0.5, 2) * slack
    linear = np.array([[cos * flip, -sin], [sin * flip, cos]])
    affine = np.column_stack([linear, middle - linear @ [size_px / 2, size_px / 2]])
    piece = warp(picture, affine, size_px, cv2.BORDER_REFLECT_101)
    return relight(piece, rng, 0.6)


def _turn(angle_rad: float, scale: float) -> tuple[float, float]:
    return scale * math.cos(angle_rad), scale * math.sin(angle_rad)


def warp(
    picture: Picture, picture_from_out: NDArray[np.float64], size_px: int, border: int
) -> Picture:
    """[size_px, size_px, C] bilinear, from a [2, 3] map of pixel coordinates (centres at
    half-integers)."""
    affine = picture_from_out.copy()
    affine[:, 2] += affine[:, :2].sum(1) / 2 - 0.5
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(picture, affine, (size_px, size_px), flags=flags, borderMode=border)


def relight(picture: Picture, rng: np.random.Generator, strength: float) -> Picture:
    """Another exposure, gamma, white balance and saturation; black stays black."""
    exposure, gamma, saturation, *balance = strength * rng.standard_normal(6)
    gains = np.exp(0.35 * exposure + 0.15 * np.array(balance))
    colour = np.exp(0.5 * saturation)
    matrix = gains[:, None] * (colour * np.eye(3) + (1 - colour) / 3)
    curve = 255 * (np.arange(256) / 255) ** np.exp(0.3 * gamma)
    return cv2.LUT(cv2.transform(picture, matrix), curve.astype(np.uint8))


def shade(picture: Picture, rng: np.random.Generator) -> Picture:
    """Light that changes over the picture."""
    corners = np.exp(0.35 * rng.standard_normal((2, 2, 1)).astype(np.float32))
    size_px = picture.shape[1], picture.shape[0]
    slope = cv2.resize(np.repeat(corners, 3, axis=2), size_px, interpolation=cv2.INTER_LINEAR)
    return cv2.multiply(picture, slope, dtype=cv2.CV_8U)


def blend(front: Picture, alpha: Picture, back: Picture) -> Picture:
    """[S, S, 3] of colour times alpha before a picture, alpha [S, S]."""
    return cv2.add(front, dim(back, alpha))


def dim(picture: Picture, alpha: Picture) -> Picture:
    """[S, S, C] times one minus alpha [S, S]."""
    clear = cv2.merge([255 - alpha] * picture.shape[2])
    return cv2.multiply(picture, clear, scale=1 / 255)


def cover(
    picture: Picture, skin: NDArray[np.float64], bank: NDArray[np.uint8], rng: np.random.Generator
) -> Picture:
    """Put an arm, fingers or bars of skin or cloth before a picture.

    Args:
        skin: [3] the colour of what skin is seen.
    """
    size_px = picture.shape[0]
    mask = np.zeros(picture.shape[:2], np.uint8)
    start = rng.uniform(-0.3, 1.3, 2) * size_px
    angle, length = rng.uniform(0, 2 * math.pi), rng.uniform(0, 0.9) * size_px
    width = size_px * (0.05 + 0.25 * rng.random() ** 2)
    along = np.array([math.cos(angle), math.sin(angle)])
    aside = np.array([-along[1], along[0]]) * width * rng.uniform(0.9, 1.15)
    for finger in range(rng.integers(1, 5)):
        first = start + finger * aside
        last = first + along * length * rng.uniform(0.8, 1.2)
        cv2.line(mask, _pixel(first), _pixel(last), 255, max(1, int(width)), cv2.LINE_AA, 3)
    if rng.random() < 0.6:
        colour = (skin * np.exp(0.2 * rng.standard_normal())).clip(0, 255)
        thing = np.broadcast_to(colour.astype(np.uint8), picture.shape)
        depth = cv2.distanceTransform(mask, cv2.DIST_L2, 3) / (width / 2)
        light = 0.65 + 0.4 * np.minimum(depth, 1)
        thing = cv2.multiply(np.ascontiguousarray(thing), cv2.merge([light] * 3), dtype=cv2.CV_8U)
    else:
        thing = background(bank, size_px, rng)
    return blend(cv2.multiply(thing, cv2.merge([mask] * 3), scale=1 / 255), mask, picture)


def _pixel(point: NDArray[np.float64]) -> tuple[int, int]:
    """In eighths of a pixel, as OpenCV draws."""
    return int(point[0] * 8), int(point[1] * 8)


def frame(picture: Picture, rng: np.random.Generator) -> Picture:
    """Let the picture end early: its last row or column is repeated, or black follows."""
    edge = int(picture.shape[0] * rng.uniform(0.05, 0.3))
    turns = int(rng.integers(4))
    view = np.ascontiguousarray(np.rot90(picture, turns))
    view[:edge] = 0 if rng.random() < 0.3 else view[edge]
    return np.ascontiguousarray(np.rot90(view, -turns))


def degrade(picture: Picture, rng: np.random.Generator) -> Picture:
    """Camera and codec: light, gray, blur or sharpening, coarse pixels, noise, JPEG."""
    size_px = picture.shape[0]
    picture = relight(shade(picture, rng), rng, 0.5)
    if rng.random() < 0.2:
        picture = cv2.merge([cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)] * 3)
    if rng.random() < 0.4:
        picture = cv2.filter2D(picture, -1, _kernel(rng), borderType=cv2.BORDER_REPLICATE)
    if rng.random() < 0.25:
        small = max(8, int(size_px / rng.uniform(1.2, 3.5)))
        shrunk = cv2.resize(picture, (small, small), interpolation=cv2.INTER_AREA)
        method = int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_NEAREST]))
        picture = cv2.resize(shrunk, (size_px, size_px), interpolation=method)
    if rng.random() < 0.7:
        channels = 3 if rng.random() < 0.5 else 1
        noise = rng.standard_normal((size_px, size_px, channels), np.float32)
        noise *= 14 * rng.random() ** 2
        picture = cv2.add(
            picture, cv2.merge([noise] * 3) if channels == 1 else noise, dtype=cv2.CV_8U
        )
    if rng.random() < 0.3:
        quality = int(rng.integers(15, 85))
        _, stream = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
        picture = np.asarray(cv2.imdecode(stream, cv2.IMREAD_UNCHANGED))
    return picture


def _kernel(rng: np.random.Generator) -> NDArray[np.float32]:
    """[7, 7] blur along a direction, or the reverse of it."""
    reach = np.arange(-3.0, 4.0)
    cos, sin = _turn(rng.uniform(0, math.pi), 1.0)
    along = (cos * reach + sin * reach[:, None]) / (0.4 + 2.2 * rng.random() ** 2)
    aside = (cos * reach[:, None] - sin * reach) / (0.4 + 2.2 * rng.random() ** 2)
    kernel = np.exp(-0.5 * (along**2 + aside**2))
    kernel /= kernel.sum()
    if rng.random() < 0.3:
        kernel *= -0.8
        kernel[3, 3] += 1.8
    return kernel.astype(np.float32)
