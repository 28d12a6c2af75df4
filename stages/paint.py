"""Lay the layers of a picture with detail together, for every pixel.

This is the plain version, which runs anywhere; on a CPU with numba fused_detail.py runs the same as
one compiled loop that passes over what is empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tpvideo.pipeline.frame import Face, Image
from tpvideo.stages import pixels
from tpvideo.stages.cut import at_size, cut
from tpvideo.stages.detail import Layers, enlarged, look_up

LEAST_SHARE = 0.02
"""Of the mirrored half in a pixel; below, it is not looked up."""

COVERED = 0.98
"""Trust in the source's own colour from which no mirrored one shows through."""

SOLID = 0.999
"""Matte from which there is nothing but the person: colours are looked up sharply there, by a
cubic, and between their neighbours nearer the rim."""

FINER = 1.3
"""Pixels of a frame for one of the result from which on the frame is reduced first."""


class Source(NamedTuple):
    """What a head's colours are fetched from."""

    picture: Image
    """[H, W, 3]."""
    matte: Image
    """[S, S] of the head's crop."""
    place: NDArray[np.float64]
    """[2, 3] from positions in the crop (x, y in -1..1) to pixels of the picture, their centres at
    half-integers."""


def source_of(rgb: Image, face: Face, size: int) -> Source:
    """The frame [H, W, 3] itself, of which a crop would be a softer copy; where the frame is much
    finer than a result of this size, a crop without aliasing."""
    turn, crop_px = face.image_from_crop, face.crop.shape[0]
    if face.side_px <= FINER * size:
        half = turn[:, :2] * (crop_px / 2)
        return Source(rgb, face.alpha, np.column_stack([half, half.sum(axis=1) + turn[:, 2]]))
    return of_crop(crop_at(rgb, face, size), face.alpha)


def crop_at(rgb: Image, face: Face, size: int) -> Image:
    """[size, size, 3] the square of a face's crop, cut out of its frame [H, W, 3] at this size."""
    turn, crop_px = face.image_from_crop, face.crop.shape[0]
    if size == crop_px:
        return face.crop
    return cut(rgb, at_size(turn, crop_px, size), size)


def of_crop(crop: Image, matte: Image) -> Source:
    """A crop by itself, [S, S, 3], and its matte."""
    half = crop.shape[0] / 2
    return Source(crop, matte, np.array([[half, 0, half], [0, half, half]]))


def paint(layers: Layers, sources: Sequence[Source], size: int) -> tuple[Tensor, Tensor]:
    """The finished picture.

    Args:
        layers: of detail.sharpen.
        sources: what its B heads were seen in.
        size: T, side of the result.

    Returns:
        [B, 3, T, T] premultiplied colours and [B, 1, T, T] opacity, 0..1.
    """
    own, other = enlarged(layers.own, size), enlarged(layers.other, size)
    fetched = _fetched(layers, sources, own[:, :2])
    same, alpha = own[:, 3:], fetched[:, 3:]
    trust = own[:, 2:3] * (alpha - 0.5).mul(2).clamp(0, 1)
    trust = trust + same * (1 - trust)
    mirrored = _fetched(layers, sources, other[:, :2])[:, :3] + other[:, 2:5]
    share = other[:, 5:] * ((other[:, 5:] > LEAST_SHARE) & (trust < COVERED))
    picture = torch.lerp(enlarged(layers.picture, size), mirrored, share)
    picture = torch.lerp(picture, fetched[:, :3], trust).clamp(0, 1)
    alphas = torch.lerp(enlarged(layers.alphas, size), alpha, same)
    return picture * alphas, alphas


def _fetched(layers: Layers, sources: Sequence[Source], positions: Tensor) -> Tensor:
    """[B, 4, T, T] the person's colours, without what shines through at the rim, and the matte at
    [B, 2, T, T] positions."""
    device = positions.device
    found = []
    for source, person, at in zip(sources, layers.person, positions, strict=True):
        height, width = source.picture.shape[:2]
        place = pixels.uploaded(torch.from_numpy(source.place).to(at.dtype), device)
        pixel = torch.einsum("ij,jhw->ihw", place[:, :2], at) + place[:, 2, None, None]
        grid = torch.stack([2 * pixel[0] / width - 1, 2 * pixel[1] / height - 1])
        picture = pixels.to_tensor([source.picture], device).add(1).div(2)
        matte = pixels.to_tensor([source.matte], device).add(1).div(2)
        alpha = look_up(matte, at[None])
        soft = torch.lerp(look_up(person[None], at[None]), look_up(picture, grid[None]), alpha)
        sharp = look_up(picture, grid[None], "bicubic")
        found.append(torch.cat([torch.where(alpha > SOLID, sharp, soft), alpha], dim=1))
    return torch.cat(found)
