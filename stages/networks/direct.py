"""Frozen float32 convolutions on a CPU that are not for Winograd's algorithm (direct_kernel.py)."""

from __future__ import annotations

from functools import cache
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from tpvideo.stages.networks.compiled_pixels import panels
from tpvideo.stages.networks.tally import note
from tpvideo.stages.networks.winograd import (
    NOTHING,
    PANEL,
    ROWS,
    Floats,
    in_parts,
    numbers,
    room,
)


class Direct:
    """A convolution with a square kernel and a border of zeros.

    Args:
        weight: [O, I, k, k] float32, on the CPU.
        stride: pixels of the picture from one of the result to the next.
        border: zeros on each side of the picture.
    """

    def __init__(self, weight: Tensor, stride: int, border: int) -> None:
        self.outputs, self.inputs, self.side = weight.shape[:3]
        self.stride, self.border = stride, border
        flat = weight.detach().permute(0, 2, 3, 1).reshape(self.outputs, -1)  # [O, k * k * I]
        self.weights = numbers(panels(flat))
        self._ones = np.ones(self.outputs, np.float32)

    def __call__(
        self,
        x: Tensor,
        *,
        scale: Floats | None = None,
        shift: Floats | None = None,
        bias: Tensor | Floats | None = None,
        slopes: Floats | float = 1.0,
    ) -> Tensor:
        """activation((x scale + shift) * w + bias).

        Args:
            x: [B, I, H, W] float32.
            scale, shift: [I]; of the picture, not of the zeros around it.
            bias: [O].
            slopes: [O], or of all channels, of the activation below 0; 1 is no activation.

        Returns:
            [B, O, H', W'], channels last.
        """
        pictures = x.permute(0, 2, 3, 1).contiguous().numpy()
        batch, height, width, _ = pictures.shape
        beyond = 2 * self.border - self.side
        down, across = ((extent + beyond) // self.stride + 1 for extent in (height, width))
        result = np.empty((batch, down, across, self.outputs), np.float32)
        note(2 * result.size * self.side**2 * self.inputs)
        before = (NOTHING, NOTHING)
        if scale is not None and shift is not None:
            before = scale, shift
        biases = 0 * self._ones if bias is None else numbers(bias)
        bent = self._ones * np.float32(slopes) if isinstance(slopes, float) else slopes
        after = biases, bent
        shape = self.inputs, self.outputs, self.side, self.stride, self.border
        for picture, finished in zip(pictures, result, strict=True):

            def work(
                first: int, last: int, picture: Floats = picture, to: Floats = finished
            ) -> None:
                _kernel().convolve(
                    picture.reshape(-1), (height, width), before, self.weights, shape, after,
                    (first, last), self._room(width, across), to.reshape(-1),
                )  # fmt: skip

            in_parts(work, down, 1)
        return torch.from_numpy(result).permute(0, 3, 1, 2)

    def _room(self, width: int, across: int) -> tuple[Floats, Floats]:
        """Rows of the picture, long enough for whole groups of results, and a row of products."""
        whole = -(-across // ROWS) * ROWS
        line = max(width + 2 * self.border, (whole - 1) * self.stride + self.side) * self.inputs
        wide = -(-self.outputs // PANEL) * PANEL
        rows, products = room("direct", (self.side * line, whole * wide))
        return rows[: self.side * line], products


@cache
def _kernel() -> ModuleType:
    """The compiled loop; imported on first use because numba takes half a second to load."""
    from tpvideo.stages.networks import direct_kernel

    return direct_kernel
