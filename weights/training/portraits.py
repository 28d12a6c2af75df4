"""Heads in EG3D's framing with their mattes, composed from rendered heads, bodies and backdrops.

The framing is what the face stage cuts out, with its errors; so near, a matte needs far less of a
network than one of the whole frame would.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from tpvideo.pipeline.errors import InputError
from tpvideo.pipeline.frame import Image
from tpvideo.stages import geometry
from tpvideo.weights.training.backdrops import Backdrops, Picture
from tpvideo.weights.training.bodies import Layer, Points, anatomy_of, dressed

SMALL_SIDES = (96, 128)
"""Sides of the crops that training begins with, pixels."""

SIDES = (128, 160, 160, 192)
"""Sides of later crops."""

HELD_OUT = range(900_000, 1_000_000)
"""Seeds that training never uses."""


class Portrait(NamedTuple):
    """A picture and its true matte."""

    rgb: Image
    """[H, W, 3]."""
    alpha: Image
    """[H, W]."""


class Portraits:
    """Composes portraits from a folder of rendered heads: one person in the middle, sometimes
    another behind."""

    def __init__(self, files: Sequence[Path], backdrops: Backdrops) -> None:
        """Keep what is composed from.

        Args:
            files: npz files of the head generator; from each the views `rgba` and `lm68` and the
                wide view `w_rgba`, `w_lm68`, `w_c2w`, `w_focal`.
            backdrops: person-free pictures.
        """
        self.files = tuple(files)
        self.backdrops = backdrops

    def draw(self, rng: np.random.Generator, side: int) -> Portrait:
        """One composed crop, `side` pixels wide and high."""
        picture = _stretch(self.backdrops, rng, side)
        if rng.random() < 0.12:  # somebody else, behind and not in the middle: not to be kept
            picture = _over(self._stranger(rng, side), picture)
        person = self._centred(rng, side)
        picture = _over(person, picture)
        alpha = person.alpha
        if rng.random() < 0.5:
            picture, alpha = picture[:, ::-1], alpha[:, ::-1]
        matte = np.clip(alpha * 255 + 0.5, 0, 255).astype(np.uint8)
        return Portrait(photographed(np.ascontiguousarray(picture), rng), matte)

    def _centred(self, rng: np.random.Generator, side: int) -> Layer:
        """A head where the face stage puts one, give or take."""
        file = self.files[rng.integers(len(self.files))]
        with np.load(file) as arrays:
            if rng.random() < 0.5:
                view = rng.integers(len(arrays["rgba"]))
                rgba, points = arrays["rgba"][view], arrays["lm68"][view]
                square = (np.full(2, 0.5 * len(rgba)), float(len(rgba)))
                is_cut = True
            else:
                rgba, points = arrays["w_rgba"][0], arrays["w_lm68"][0]
                square = _square(arrays["w_c2w"][0], float(arrays["w_focal"][0]), len(rgba))
                is_cut = False
        # A tight view ends at its own edge: it may be enlarged, not reduced.
        zoom = np.exp(abs(rng.normal(0, 0.06)) if is_cut else rng.normal(0, 0.08))
        centre, source_px = square
        drift = rng.normal(0, 0.025, 2) * source_px
        if is_cut:
            slack = 0.5 * source_px * (1 - 1 / zoom)
            drift, angle = np.clip(drift, -slack, slack), 0.0
        else:
            angle = rng.normal(0, 0.1)
        scale = zoom * side / source_px
        middle = np.full(2, side / 2)
        head, points = _placed(rgba, points, scale, angle, centre + drift, middle, (side, side))
        head = _relit(head, rng)
        if rng.random() < 0.05:
            return head
        return dressed(head, anatomy_of(head, points), rng, long_hair=0)

    def _stranger(self, rng: np.random.Generator, side: int) -> Layer:
        """Another person at the side, at any size, with a body."""
        file = self.files[rng.integers(len(self.files))]
        with np.load(file) as arrays:
            rgba, points = arrays["w_rgba"][0], arrays["w_lm68"][0]
            centre, source_px = _square(arrays["w_c2w"][0], float(arrays["w_focal"][0]), len(rgba))
        scale = rng.uniform(0.35, 1.1) * side / source_px
        away = rng.choice([-1, 1]) * rng.uniform(0.35, 0.65) * side
        target = np.array([side / 2 + away, side * rng.uniform(0.35, 0.8)])
        head, points = _placed(rgba, points, scale, 0.0, centre, target, (side, side))
        head = _relit(head, rng)
        return dressed(head, anatomy_of(head, points), rng, long_hair=0)


class PortraitBatches(Dataset[tuple[Tensor, Tensor]]):
    """Batch number n, the same for the same seed, whichever process draws it."""

    def __init__(
        self, portraits: Portraits, batches: int, size: int, seed: int, small: int = 0
    ) -> None:
        """`batches` batches of `size` portraits of one side each; the first `small` of them
        small."""
        self.portraits, self.batches, self.size, self.seed = portraits, batches, size, seed
        self.small = small

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """uint8 pictures [B, 3, H, W] and mattes [B, 1, H, W]."""
        rng = np.random.default_rng([self.seed, index])
        sides = SMALL_SIDES if index < self.small else SIDES
        side = sides[rng.integers(len(sides))]
        drawn = [self.portraits.draw(rng, side) for _ in range(self.size)]
        pictures = torch.from_numpy(np.stack([portrait.rgb for portrait in drawn]))
        mattes = torch.from_numpy(np.stack([portrait.alpha for portrait in drawn]))
        return pictures.permute(0, 3, 1, 2), mattes[:, None]


def head_files(folder: Path, *, held_out: bool) -> list[Path]:
    """The rendered heads in a folder, by seed: those for training or those held out.

    Raises:
        InputError: the folder holds none.
    """
    files = [file for file in sorted(folder.glob("*.npz")) if file.stem.isdigit()]
    files = [file for file in files if (int(file.stem) in HELD_OUT) == held_out]
    if not files:
        kind = "held-out heads (seeds 900000 to 999999)" if held_out else "heads to train on"
        raise InputError(folder, f"no npz files of rendered {kind} in it")
    return files


def photographed(picture: Picture, rng: np.random.Generator) -> Image:
    """What a camera and a codec make of a picture [H, W, 3]: light, colour, blur, noise, blocks."""
    height, width = picture.shape[:2]
    gains = np.exp(rng.normal(0, 0.1, 3) + rng.normal(0, 0.15)).astype(np.float32)
    picture = np.clip(picture * gains, 0, 255)
    picture = 255 * (picture / 255) ** np.float32(np.exp(rng.normal(0, 0.25)))
    grey = picture.mean(axis=2, keepdims=True)
    saturation = 0 if rng.random() < 0.04 else rng.uniform(0.5, 1.4)
    contrast = np.float32(rng.uniform(0.6, 1.25))
    picture = grey + (picture - grey) * np.float32(saturation)
    picture = (picture - 128) * contrast + 128 + np.float32(rng.normal(0, 8))
    if rng.random() < 0.3:
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.3, 1.3))
    if rng.random() < 0.15:
        length = int(rng.integers(2, 8))
        kernel = (length, 1) if rng.random() < 0.7 else (1, length)
        picture = cv2.blur(picture, kernel)
    if rng.random() < 0.15:
        small = cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        picture = cv2.resize(small, (width, height))
    if rng.random() < 0.6:
        noise = rng.standard_normal((height, width, 3), np.float32)
        picture = picture + noise * np.float32(rng.uniform(0.5, 9))
    image = np.clip(picture, 0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 95))]
        packed = cv2.imencode(".jpg", image, quality)[1]
        image = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)
    return image


def _placed(
    rgba: Image,
    points: Points,
    scale: float,
    angle: float,
    source: Points,
    target: Points,
    size: tuple[int, int],
) -> tuple[Layer, Points]:
    """A premultiplied cut-out, scaled and turned so that `source` comes to lie on `target`."""
    while scale < 0.6:  # bilinear sampling alone would alias
        half = (rgba.shape[1] // 2, rgba.shape[0] // 2)
        rgba = np.asarray(cv2.resize(rgba, half, interpolation=cv2.INTER_AREA), np.uint8)
        points, source, scale = 0.5 * points, 0.5 * source, 2 * scale
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    frame_from_cut = np.column_stack([turn, target - turn @ source])
    warped = cv2.warpAffine(rgba, frame_from_cut, size[::-1], flags=cv2.INTER_LINEAR)
    alpha = warped[..., 3] * np.float32(1 / 255)
    straight = warped[..., :3] / np.maximum(alpha, 1 / 255)[..., None]
    placed = points.astype(np.float64) @ turn.T + frame_from_cut[:, 2]
    return Layer(np.minimum(straight, np.float32(255)), alpha), placed


def _relit(head: Layer, rng: np.random.Generator) -> Layer:
    """The head under another light than the renderer's, so that no shade marks it as rendered."""
    gains = np.exp(rng.normal(0, 0.07, 3) + rng.normal(0, 0.2)).astype(np.float32)
    curve = np.float32(np.exp(rng.normal(0, 0.2)))
    return Layer(255 * np.clip(head.colour * gains / 255, 0, 1) ** curve, head.alpha)


def _square(world_from_camera: Any, focal: float, size: int) -> tuple[Points, float]:
    """Centre and side, in pixels, of the crop of the head that a camera sees."""
    camera = np.asarray(world_from_camera, np.float64)
    seen = camera[:3, :3].T @ (geometry.HEAD_CENTRE - camera[:3, 3])
    distance = float(np.linalg.norm(geometry.label_camera(0, 0)[:3, 3] - geometry.HEAD_CENTRE))
    side = distance / geometry.FOCAL * focal / float(np.linalg.norm(seen))
    return size * (0.5 + focal * seen[:2] / seen[2]), size * side


def _stretch(backdrops: Backdrops, rng: np.random.Generator, side: int) -> Picture:
    """A part of a backdrop: what stands behind a head so near is large and often blurred."""
    whole = round(side * rng.uniform(1.0, 2.5))
    picture = backdrops.draw(rng, whole, whole)
    top, left = rng.integers(0, whole - side + 1, 2)
    part: Picture = picture[top : top + side, left : left + side]
    if rng.random() < 0.3:
        part = cv2.GaussianBlur(part, (0, 0), rng.uniform(1, 6))
    return np.ascontiguousarray(part)


def _over(layer: Layer, picture: Picture) -> Picture:
    whole: Picture = picture + layer.alpha[..., None] * (layer.colour - picture)
    return whole
