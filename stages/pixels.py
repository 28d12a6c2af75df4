"""uint8 [H, W, 3] between stages, float [B, 3, H, W] inside networks; the only such conversion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tpvideo.pipeline.frame import Image


def to_tensor(images: Sequence[Image], device: torch.device | str = "cpu") -> Tensor:
    """[B, 3, H, W] float32 in -1..1 from B pictures [H, W, 3] of one size, or [B, 1, H, W]
    from B mattes [H, W]."""
    # one picture keeps its layout in memory, and so the networks that want it planar copy nothing
    array = np.stack(images) if len(images) > 1 else images[0][None].copy("K")
    stacked = uploaded(torch.from_numpy(array), device)
    if stacked.ndim == 3:
        stacked = stacked[..., None]
    return stacked.permute(0, 3, 1, 2).float().mul_(2 / 255).sub_(1)


def to_rows(arrays: Sequence[NDArray[np.float32]], device: torch.device | str) -> Tensor:
    """[B, ...] of B arrays of one shape, such as cameras."""
    return uploaded(torch.from_numpy(np.stack(arrays)), device)


def uploaded(values: Tensor, device: torch.device | str) -> Tensor:
    """A tensor of the host on a device. To a GPU it is copied beside what runs there, and the host
    does not wait."""
    if torch.device(device).type != "cuda":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)


def to_images(pictures: Tensor) -> list[Image]:
    """B pictures uint8 [H, W, C], or mattes [H, W] for one channel, from [B, C, H, W] in -1..1,
    rounded to nearest."""
    levels = pictures.detach().float().add(1).mul(127.5).round_().clamp_(0, 255).to(torch.uint8)
    arrays = levels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return [array[..., 0] if array.shape[-1] == 1 else array for array in arrays]


def resampled(
    picture: Image, height: int, width: int, filter_: Literal["bilinear", "bicubic"]
) -> Image:
    """[height, width, 3] of [H, W, 3], or [height, width] of a matte [H, W], without aliasing: what
    Pillow's resize gives, to one level, in a third of the time."""
    writable = torch.from_numpy(np.require(picture, requirements=["C", "W"]))  # it takes no other
    planes = writable[None] if picture.ndim == 2 else writable.permute(2, 0, 1)
    resized = torch.nn.functional.interpolate(
        planes[None], size=(height, width), mode=filter_, antialias=True, align_corners=False
    )[0]
    array: Image = (resized[0] if picture.ndim == 2 else resized.permute(1, 2, 0)).numpy()
    return array
