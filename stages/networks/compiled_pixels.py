"""What lies between the convolutions of a frozen network, as compiled loops on a CPU.

Float32, channels last; the plain modules say what these compute. The loops are in pixel_kernel.py.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from tpvideo.stages.networks.tally import note
from tpvideo.stages.networks.winograd import NOTHING, PANEL, ROWS, numbers


def panels(weight: Tensor) -> Tensor:
    """[O, C] weights of a 1 x 1 convolution -> [panels, C, PANEL], zeros beyond O."""
    outputs, inputs = weight.shape
    padded = weight.new_zeros(-(-outputs // PANEL) * PANEL, inputs)
    padded[:outputs] = weight
    return padded.reshape(-1, PANEL, inputs).transpose(1, 2).contiguous()


def added_colours(
    x: Tensor, weights: Tensor, bias: Tensor, limit: float, image: Tensor | None
) -> Tensor:
    """`layers.upsample2` of the image, plus a 1 x 1 convolution of x held within the limit.

    Args:
        x: [B, C, H, W].
        weights: [1 or B, panels, C, PANEL].
        bias: [K].
        image: [B, K, H / 2, W / 2]; None for none.

    Returns:
        [B, K, H, W].
    """
    pictures = x.permute(0, 2, 3, 1).contiguous().numpy()
    batch, height, width, channels = pictures.shape
    result = np.empty((batch, height, width, len(bias)), np.float32)
    note(2 * result.size * channels)
    weights = weights.expand(batch, *weights.shape[1:])
    small = None if image is None else image.permute(0, 2, 3, 1).contiguous()
    room = (
        np.zeros(ROWS * channels, np.float32),
        np.empty((width + ROWS) * weights.shape[1] * PANEL, np.float32),
        np.empty((width // 2 + 2) * len(bias), np.float32),
    )
    for index in range(batch):
        _kernel().add_colours(
            pictures[index].reshape(-1),
            (height, width),
            numbers(weights[index]),
            numbers(bias),
            np.float32(limit),
            NOTHING if small is None else numbers(small[index]),
            room,
            result[index].reshape(-1),
        )
    return torch.from_numpy(result).permute(0, 3, 1, 2)


def gated(x: Tensor, first: Tensor, second: Tensor, shortcut: Tensor, stride: int) -> Tensor:
    """A `trunk.SqueezeExcite` of x, plus every stride-th pixel of a shortcut.

    Args:
        x: [B, C, H, W].
        first: [C, squeezed]; second: [squeezed, C].
        shortcut: [B, C, stride H, stride W].
    """
    pictures = x.permute(0, 2, 3, 1).contiguous().numpy()
    others = shortcut.permute(0, 2, 3, 1).contiguous().numpy()
    batch, height, width, channels = pictures.shape
    result = np.empty_like(pictures)
    room = np.empty(channels, np.float32), np.empty(first.shape[1], np.float32)
    for index in range(batch):
        _kernel().gate(
            pictures[index].reshape(-1),
            numbers(first),
            numbers(second),
            room,
            others[index].reshape(-1),
            stride * others.shape[2] * channels,
            stride * channels,
            (height, width),
            result[index].reshape(-1),
        )
    return torch.from_numpy(result).permute(0, 3, 1, 2)


@cache
def _kernel() -> ModuleType:
    """The compiled loops; imported on first use because numba takes half a second to load."""
    from tpvideo.stages.networks import pixel_kernel

    return pixel_kernel
