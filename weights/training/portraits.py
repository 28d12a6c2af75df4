"""Pictures of people with their mattes, composed from rendered heads, bodies and backdrops."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from tpvideo.pipeline.errors import InputError
from tpvideo.pipeline.frame import Image
from tpvideo.weights.training.backdrops import Backdrops, Picture
from tpvideo.weights.training.bodies import CHIN, Layer, Points, anatomy_of, dressed

SMALL_SHAPES = ((96, 96), (96, 128), (96, 160), (128, 96), (160, 96), (128, 128))
"""Heights and widths of the batches that training begins with."""

SHAPES = (
    (160, 160), (128, 224), (160, 256), (224, 128), (256, 160), (192, 192), (192, 256), (160, 288),
)  # fmt: skip
"""Heights and widths of later batches: square, 16:9, 4:3 and upright."""

HELD_OUT = range(900_000, 1_000_000)
"""Seeds that training never uses."""


class Portrait(NamedTuple):
    """A picture and its true matte."""

    rgb: Image
    """[H, W, 3]."""
    alpha: Image
    """[H, W]."""


class Portraits:
    """Composes portraits from a folder of rendered heads."""

    def __init__(self, files: Sequence[Path], backdrops: Backdrops) -> None:
        """Keep what is composed from.

        Args:
            files: npz files of the head generator with `w_rgba`, `w_lm68`, `rgba`, `lm68`.
            backdrops: person-free pictures.
        """
        self.files = tuple(files)
        self.backdrops = backdrops

    def draw(self, rng: np.random.Generator, height: int, width: int) -> Portrait:
        """One composed picture; now and then with two people or with nobody."""
        picture = self.backdrops.draw(rng, height, width)
        alpha = np.zeros((height, width), np.float32)
        for _ in range(rng.choice([0, 1, 2], p=[0.06, 0.86, 0.08])):
            person = self._person(rng, height, width)
            picture = picture + person.alpha[..., None] * (person.colour - picture)
            alpha = person.alpha + alpha * (1 - person.alpha)
        if rng.random() < 0.1:
            _bars(picture, alpha, rng)
        if rng.random() < 0.5:
            picture, alpha = picture[:, ::-1], alpha[:, ::-1]
        matte = np.clip(alpha * 255 + 0.5, 0, 255).astype(np.uint8)
        return Portrait(photographed(np.ascontiguousarray(picture), rng), matte)

    def _person(self, rng: np.random.Generator, height: int, width: int) -> Layer:
        """A head somewhere in the frame, with a body."""
        file = self.files[rng.integers(len(self.files))]
        short = min(height, width)
        with np.load(file) as arrays:
            if rng.random() < 0.12 and height >= width:  # closer than the head's outline
                view = rng.integers(len(arrays["rgba"]))
                rgba, points = arrays["rgba"][view], arrays["lm68"][view]
                frame = np.array([width, height])
                scale = rng.uniform(1.0, 1.3) * frame.max() / len(rgba)
                source = np.full(2, 0.5 * len(rgba))
                slack = 0.5 * (scale * len(rgba) - frame)
                target = 0.5 * frame + rng.uniform(-1, 1, 2) * slack
            else:
                rgba, points = arrays["w_rgba"][0], arrays["w_lm68"][0]
                unit_px = np.exp(rng.uniform(np.log(0.08), np.log(0.42))) * short
                scale = unit_px / max(15.0, float(np.linalg.norm(points[27] - points[CHIN])))
                source = points[CHIN].astype(np.float64)
                crown = rng.uniform(-0.3, 2.5) * unit_px
                low = min(crown + 2.1 * unit_px, 0.9 * height)
                target = np.array([width * np.clip(rng.normal(0.5, 0.18), 0, 1), low])
        angle = rng.normal(0, 0.12)
        head, points = _placed(rgba, points, scale, angle, source, target, (height, width))
        head = Layer(_relit(head.colour, rng), head.alpha)
        if rng.random() < 0.03:
            return head
        return dressed(head, anatomy_of(head, points), rng)


class PortraitBatches(Dataset[tuple[Tensor, Tensor]]):
    """Batch number n, the same for the same seed, whichever process draws it."""

    def __init__(
        self, portraits: Portraits, batches: int, size: int, seed: int, small: int = 0
    ) -> None:
        """`batches` batches of `size` portraits of one shape each; the first `small` of them in
        small shapes."""
        self.portraits, self.batches, self.size, self.seed = portraits, batches, size, seed
        self.small = small

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """uint8 pictures [B, 3, H, W] and mattes [B, 1, H, W]."""
        rng = np.random.default_rng([self.seed, index])
        shapes = SMALL_SHAPES if index < self.small else SHAPES
        height, width = shapes[rng.integers(len(shapes))]
        drawn = [self.portraits.draw(rng, height, width) for _ in range(self.size)]
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


def _relit(colour: Picture, rng: np.random.Generator) -> Picture:
    """The head under another light than the renderer's, so that no shade marks it as rendered."""
    gains = np.exp(rng.normal(0, 0.07, 3) + rng.normal(0, 0.2)).astype(np.float32)
    curve = np.float32(np.exp(rng.normal(0, 0.2)))
    relit: Picture = 255 * np.clip(colour * gains / 255, 0, 1) ** curve
    return relit


def _bars(picture: Picture, alpha: Picture, rng: np.random.Generator) -> None:
    """Black or plain bars at both sides, or above and below, drawn over picture and matte."""
    height, width = alpha.shape
    level = 0 if rng.random() < 0.8 else rng.uniform(0, 255)
    inside = np.ones((height, width), bool)
    if rng.random() < 0.7:
        size = int(rng.uniform(0.03, 0.2) * width)
        inside[:, :size] = inside[:, width - size :] = False
    else:
        size = int(rng.uniform(0.03, 0.15) * height)
        inside[:size] = inside[height - size :] = False
    picture[~inside], alpha[~inside] = level, 0
