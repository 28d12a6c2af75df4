"""Lay the layers of a picture with detail together, for every pixel.

`paint` is the plain version and runs anywhere; on a CPU with numba `paint_on` runs the same as one
compiled loop that passes over what is empty (paint_kernel.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor

from tpvideo.pipeline.frame import Image
from tpvideo.stages import pixels
from tpvideo.stages.detail import Layers, enlarged, look_up

LEAST_SHARE = 0.02
"""Of the mirrored half in a pixel; below, it is not looked up."""

COVERED = 0.98
"""Trust in the source's own colour from which no mirrored one shows through."""

SOLID = 0.999
"""Matte from which there is nothing but the person: colours are looked up sharply there, by a cubic,
and between their neighbours nearer the rim."""


def paint(
    layers: Layers, crops: Sequence[Image], mattes: Sequence[Image], size: int
) -> tuple[Tensor, Tensor]:
    """The finished picture.

    Args:
        layers: of detail.sharpen.
        crops: B source crops [S, S, 3].
        mattes: B mattes [S, S] of them.
        size: T, side of the result.

    Returns:
        [B, 3, T, T] premultiplied colours and [B, 1, T, T] opacity, 0..1.
    """
    device = layers.picture.device
    colours = pixels.to_tensor(crops, device).add(1).div(2)
    matte = pixels.to_tensor(mattes, device).add(1).div(2)
    cut_out = torch.lerp(enlarged(layers.person, colours.shape[-1]), colours, matte)
    cut_out = torch.cat([cut_out, matte], dim=1)
    own, other = enlarged(layers.own, size), enlarged(layers.other, size)
    fetched = _fetched(colours, cut_out, own[:, :2])
    same, alpha = own[:, 3:], fetched[:, 3:]
    trust = own[:, 2:3] * (alpha - 0.5).mul(2).clamp(0, 1)
    trust = trust + same * (1 - trust)
    mirrored = _fetched(colours, cut_out, other[:, :2])[:, :3] + other[:, 2:5]
    share = other[:, 5:] * ((other[:, 5:] > LEAST_SHARE) & (trust < COVERED))
    picture = torch.lerp(enlarged(layers.picture, size), mirrored, share)
    picture = torch.lerp(picture, fetched[:, :3], trust).clamp(0, 1)
    alphas = torch.lerp(enlarged(layers.alphas, size), alpha, same)
    return picture * alphas, alphas


def _fetched(colours: Tensor, cut_out: Tensor, positions: Tensor) -> Tensor:
    """[B, 4, H, W] the person's colours and matte at [B, 2, H, W] positions."""
    soft = look_up(cut_out, positions)
    sharp = look_up(colours, positions, "bicubic")
    return torch.cat([torch.where(soft[:, 3:] > SOLID, sharp, soft[:, :3]), soft[:, 3:]], dim=1)


def has_kernel() -> bool:
    """Whether the compiled loop can run here."""
    return find_spec("numba") is not None


def paint_on(
    layers: Layers,
    crops: Sequence[Image],
    mattes: Sequence[Image],
    behind: Sequence[Tensor] | None,
    size: int,
) -> list[tuple[Image, Image | None]]:
    """The finished pictures [size, size, 3] before what is behind them, by the compiled loop.

    Args:
        layers: on the CPU.
        crops, mattes: as for `paint`.
        behind: B pictures [3, 1, 1] or [3, size, size], 0..1; None gives straight colours and
            their opacity [size, size].
    """
    from tpvideo.stages import paint_kernel

    finished: list[tuple[Image, Image | None]] = []
    for index, (crop, matte) in enumerate(zip(crops, mattes, strict=True)):
        picture = torch.cat([layers.picture[index], layers.alphas[index]])
        back = torch.zeros(3, 1, 1) if behind is None else behind[index]
        parts = (picture, layers.own[index], layers.other[index], layers.person[index], back)
        rgb = np.empty((size, size, 3), np.uint8)
        opacity = np.empty((size, size) if behind is None else (0, 0), np.uint8)
        whole = (np.ascontiguousarray(crop), np.ascontiguousarray(matte))
        paint_kernel.paint(*(_last(part) for part in parts), *whole, rgb, opacity)
        finished.append((rgb, opacity if behind is None else None))
    return finished


def _last(values: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """[H, W, C] of [C, H, W], in that order in memory."""
    return values.permute(1, 2, 0).contiguous().numpy()
