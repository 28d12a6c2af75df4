"""Datasets in EG3D's format: photographs cropped as EG3D crops them, with their cameras.

dataset.json            {"labels": [["00000/img00000000.png", [25 numbers]], ...]}
00000/img00000000.png   square pictures; an alpha channel is taken as the matte
mattes/00000/...png     optional: mattes, where the pictures carry none
depth/00000/...npy      optional, for scores only: true depth along the optical axis, [D, D] floats
confidence/00000/...    optional: maps of σ for the mirrored picture (paper, eq. 15), .npy
                        [H, W] floats, or .png with σ = value / 255
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from tpvideo.pipeline.errors import ConfigError, InputError
from tpvideo.stages.networks.triplanenet import mirror
from tpvideo.weights.training.batch import Batch, HeldOut
from tpvideo.weights.training.flaws import spoil

LEAST_DEVIATION = 0.01
"""Below this a map of σ would let single pixels rule the loss."""


class Photographs:
    """Pictures with cameras, and the batches drawn from them: input and target are one picture.

    Args:
        folder: of `dataset.json`.
        side: S, side of the inputs.
        target_side: T, side of the targets.
        seed: of the sampling; with `state` it resumes exactly.
        flaws: whether the inputs are spoilt as footage is.

    Raises:
        ConfigError: the folder's list is missing or is none of EG3D's.
    """

    def __init__(
        self,
        folder: Path,
        *,
        side: int,
        target_side: int,
        seed: int,
        flaws: bool = False,
    ) -> None:
        self.folder = folder
        self.names, self.labels = _read_list(folder / "dataset.json")
        self.side, self.target_side = side, target_side
        self.flaws = flaws
        self.picture(0)  # says at once what is wrong with a folder
        self.has_confidence = (folder / "confidence").is_dir()
        self.random = np.random.default_rng(seed)
        self.torch_random = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return len(self.names)

    def batch(self, size: int) -> Batch:
        """One batch, mirrored half of the time."""
        picked = self.random.integers(len(self), size=size)
        flips = torch.from_numpy(self.random.random(size) < 0.5)
        pictures = [self.picture(index) for index in picked]
        small, targets = (
            _mirrored(torch.stack([shrink(picture, side) for picture in pictures]), flips)
            for side in (self.side, self.target_side)
        )
        labels = torch.from_numpy(self.labels[picked])
        labels = torch.where(flips[:, None], mirror(labels), labels)
        images = spoil(with_alpha(small), self.torch_random) if self.flaws else small[:, :3]
        deviations = None
        if self.has_confidence:
            maps = torch.stack([self._deviation(index) for index in picked])
            deviations = _mirrored(maps, flips)
        return Batch(
            images * 2 - 1,
            labels,
            small[:, :3] * 2 - 1,
            targets * 2 - 1,
            labels,
            deviations=deviations,
        )

    def held_out(self, count: int) -> HeldOut:
        """The first `count` pictures, each its own target."""
        pictures = [self.picture(index) for index in range(min(count, len(self)))]
        inputs = torch.stack([shrink(picture, self.side) for picture in pictures])
        targets = torch.stack([shrink(picture, self.target_side) for picture in pictures])
        labels = torch.from_numpy(self.labels[: len(pictures)])
        return HeldOut(inputs[:, :3] * 2 - 1, labels, targets[:, None] * 2 - 1, labels[:, None])

    @property
    def state(self) -> dict[str, Any]:
        """What resumes the sampling exactly."""
        return {"numpy": self.random.bit_generator.state, "torch": self.torch_random.get_state()}

    @state.setter
    def state(self, saved: dict[str, Any]) -> None:
        self.random.bit_generator.state = saved["numpy"]
        self.torch_random.set_state(saved["torch"].cpu())

    def picture(self, index: int) -> Tensor:
        """[3 or 4, H, H] 0..1, premultiplied where there is a matte."""
        name = self.names[index]
        path = self.folder / name
        pixels = _read(path)
        if pixels.ndim == 2:  # a grey photograph
            pixels = np.repeat(pixels[..., None], 3, axis=2)
        if pixels.shape[0] != pixels.shape[1]:
            raise InputError(path, f"EG3D's pictures are square, not {pixels.shape[:2]}")
        if (self.folder / "mattes").is_dir():
            matte = _read((self.folder / "mattes" / name).with_suffix(".png"))
            alpha = matte if matte.ndim == 2 else matte[..., -1]
            pixels = np.dstack([pixels[..., :3], alpha])
        picture = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
        if len(picture) == 3:
            return picture
        return torch.cat([picture[:3] * picture[3:], picture[3:]])

    def _deviation(self, index: int) -> Tensor:
        """[1, S, S] σ of the mirrored picture."""
        stem = (self.folder / "confidence" / self.names[index]).with_suffix("")
        if stem.with_suffix(".npy").is_file():
            values = np.load(stem.with_suffix(".npy"), allow_pickle=False).astype(np.float32)
        else:
            values = _read(stem.with_suffix(".png")).astype(np.float32) / 255
        deviation = torch.from_numpy(np.squeeze(values))[None, None]
        size = (self.side, self.side)
        return F.interpolate(deviation, size=size, mode="bilinear")[0].clamp(min=LEAST_DEVIATION)


def shrink(picture: Tensor, side: int) -> Tensor:
    """[C, side, side] of a picture [C, H, H], antialiased."""
    if picture.shape[-1] == side:
        return picture
    return F.interpolate(picture[None], size=(side, side), mode="bilinear", antialias=True)[0]


def with_alpha(pictures: Tensor) -> Tensor:
    """[B, 4, H, W] of [B, 3 or 4, H, W]; solid where no matte is known."""
    if pictures.shape[1] == 4:
        return pictures
    return torch.cat([pictures, torch.ones_like(pictures[:, :1])], dim=1)


def _mirrored(pictures: Tensor, flips: Tensor) -> Tensor:
    return torch.where(flips[:, None, None, None], pictures.flip(-1), pictures)


def _read(path: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as picture:
            form = "RGBA" if "A" in picture.mode else "L" if picture.mode == "L" else "RGB"
            return np.array(picture.convert(form))
    except OSError as error:
        raise InputError(path, str(error)) from error


def _read_list(path: Path) -> tuple[list[str], NDArray[np.float32]]:
    """Names and [N, 25] labels of a dataset's list, in its order."""
    try:
        listed = json.loads(path.read_text("utf-8"))["labels"]
        names = [str(name) for name, _ in listed]
        labels = np.array([label for _, label in listed], np.float32)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} is no list in EG3D's format ({type(error).__name__}: {error}); it should hold "
            f'{{"labels": [[file name, [25 numbers]], ...]}}'
        ) from error
    if labels.ndim != 2 or labels.shape[1:] != (25,):
        raise ConfigError(f"{path}: every label should have 25 numbers, found {labels.shape}")
    return names, labels
