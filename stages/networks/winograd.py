"""Frozen 3 x 3 convolutions in float32 on a CPU, by Winograd's algorithm (winograd_kernel.py).

On one core they take a third of the time of oneDNN's, with what follows them done on the way. Needs
numba; `can_convolve` says whether a convolution is one of these.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tpvideo.stages.networks.tally import note

Floats = NDArray[np.float32]
CHANNELS = 8
"""Channel counts are multiples of it."""
ROWS, PANEL = 6, 16
"""Pixels, or tiles, and channels of the result whose sums are in registers at once."""
TILE, PRODUCTS = 4, 36
"""Side of the squares that a result is made of, and the numbers that each is made from."""
MANY = 9 * 2**15
"""Weights that are too many to keep four times."""
NOTHING: Floats = np.empty(0, np.float32)


class Winograd:
    """A 3 x 3 convolution with a border of zeros.

    Args:
        weight: [O', I, 3, 3] float32, on the CPU.
        phases: 4 for a picture of twice the sides, of four phases that `layers.upsampling_kernel`
            makes kernels for; O below is then 4 O'.
    """

    def __init__(self, weight: Tensor, phases: int = 1) -> None:
        each, self.inputs = weight.shape[:2]
        self.phases, self.outputs = phases, phases * each
        changes = changes_to_points(phases)
        # Reading many weights at their points from memory takes as long as bringing them there.
        self.keeps = weight.numel() < MANY or self.outputs % (phases * PANEL) != 0
        if self.keeps:
            self.weights = at_points(weight.detach().double().numpy(), changes).reshape(-1)
            self._changes = NOTHING
        else:
            self.weights = numbers(plain(weight))
            self._changes = changes.astype(np.float32).reshape(-1)
        self.at_once = min(96, max(12, 3 * self.inputs // 16 // 6 * 6))
        self._ones, self._zeros = np.ones(each, np.float32), np.zeros(each, np.float32)
        self._no_shift = np.zeros(self.inputs, np.float32)

    def __call__(
        self,
        x: Tensor,
        *,
        scale: Tensor | Floats | None = None,
        shift: Floats | None = None,
        gain: Tensor | None = None,
        bias: Tensor | Floats | None = None,
        noise: Tensor | None = None,
        slopes: Floats | float = 1.0,
        limit: float = float("inf"),
    ) -> Tensor:
        """max(min(activation((x scale + shift) * w gain + bias + noise), limit), -limit).

        Args:
            x: [B, I, H, W] float32.
            scale: [1 or B, I] or numbers [I]; shift: [I]; of the picture, not of the zeros around
                it.
            gain: [1 or B, O']; bias: [O'], with O' = O / phases.
            noise: [H', W'] of the result.
            slopes: [O'], or of all channels, of the activation below 0; 1 is no activation.

        Returns:
            [B, O', H', W'], channels last; H' = 2 H with four phases.
        """
        pictures = x.permute(0, 2, 3, 1).contiguous().numpy()
        batch, height, width, _ = pictures.shape
        note(18 * batch * height * width * self.inputs * self.outputs)
        each, fold = self.outputs // self.phases, 2 if self.phases == 4 else 1
        result = np.empty((batch, fold * height, fold * width, each), np.float32)
        scales, gains = _each(scale, batch, NOTHING), _each(gain, batch, self._ones)
        shifts = self._no_shift if shift is None else shift
        biases = self._zeros if bias is None else numbers(bias)
        noises = NOTHING if noise is None else numbers(noise)
        bent = self._ones * np.float32(slopes) if isinstance(slopes, float) else slopes
        for index in range(batch):
            self._convolve(
                pictures[index].reshape(-1),
                (height, width),
                (scales[index], shifts),
                (gains[index], biases, noises, bent, np.float32(limit)),
                result[index].reshape(-1),
            )
        return torch.from_numpy(result).permute(0, 3, 1, 2)

    def _convolve(
        self,
        picture: Floats,
        size: tuple[int, int],
        before: tuple[Floats, Floats],
        after: tuple[Floats, Floats, Floats, Floats, np.float32],
        result: Floats,
    ) -> None:
        shape = self.inputs, self.outputs, self.phases
        tiles = -(-size[0] // TILE) * -(-size[1] // TILE)

        def work(first: int, last: int) -> None:
            kernel()(
                picture, size, before, self.weights, self._changes, shape, after,
                (first, last, self.at_once), self._room(), result,
            )  # fmt: skip

        in_parts(work, tiles, self.at_once)

    def _room(self) -> tuple[Floats, ...]:
        """For points and products, a line of the cache apart, a patch, a panel's weights at a row
        of points, and a tile's numbers between its rows and its columns."""
        wide = -(-self.outputs // PANEL) * PANEL
        each = (self.at_once * channels + 16 for channels in (self.inputs, wide))
        brought = 0 if self.keeps else 6 * (self.inputs * PANEL + 16)
        own = PRODUCTS * self.inputs, brought, PRODUCTS * CHANNELS
        return room("winograd", (*(PRODUCTS * size for size in each), *own))


def can_convolve(weight: Tensor) -> bool:
    """Whether `Winograd` takes these weights [O', I, k, k]."""
    outputs, inputs, height, width = weight.shape
    is_whole = inputs % CHANNELS == 0 and outputs % CHANNELS == 0
    return (height, width) == (3, 3) and is_whole and has_loops(weight)


def has_loops(weight: Tensor) -> bool:
    """Whether compiled loops take these weights: float32, on a CPU with numba."""
    is_plain = weight.dtype == torch.float32 and weight.device.type == "cpu"
    return is_plain and find_spec("numba") is not None


def changes_to_points(phases: int) -> NDArray[np.float64]:
    """[phases along an axis, 6, 3] from three weights of a line to its points."""
    near, far = 0.5**0.5, 2**0.5
    at = [(near, -2 / 3), (-near, -2 / 3), (far, 1 / 6), (-far, 1 / 6)]  # points, their shares
    change = np.array([[1, 0, 0], *([n, n * p, n * p * p] for p, n in at), [0, 0, 1]])
    if phases == 1:
        return change[None]
    # along an axis phase p has the kernel P[a] = sum_n smooth[p + 4 - 2 a - n] w[n]
    smooth = np.pad(np.array([1, 3, 3, 1]) / 4, 2)
    place = 4 - 2 * np.arange(3)[:, None] - np.arange(3) + 2  # [a, n]
    return np.stack([change @ smooth[place + p] for p in (0, 1)])


def at_points(weight: NDArray[np.float64], changes: NDArray[np.float64]) -> Floats:
    """[O', I, 3, 3] of all phases at the points, [36, O / PANEL rounded up, I, PANEL] with zeros
    beyond O."""
    inputs = weight.shape[1]
    points = np.concatenate(
        [
            np.einsum("ay,bx,oiyx->abio", down, across, weight, optimize=True)
            for down in changes
            for across in changes
        ],
        axis=-1,
    )  # [6, 6, I, O]
    outputs = points.shape[-1]
    wide = -(-outputs // PANEL) * PANEL
    padded = np.zeros((PRODUCTS, inputs, wide), np.float32)
    padded[..., :outputs] = points.reshape(PRODUCTS, inputs, outputs)
    split = padded.reshape(PRODUCTS, inputs, wide // PANEL, PANEL)
    return np.ascontiguousarray(split.transpose(0, 2, 1, 3))


def plain(weight: Tensor) -> Tensor:
    """[O', I, 3, 3] as [O' / PANEL rounded up, I, 9, PANEL], zeros beyond O'."""
    outputs, inputs = weight.shape[:2]
    padded = weight.new_zeros(-(-outputs // PANEL) * PANEL, inputs, 9)
    padded[:outputs] = weight.detach().reshape(outputs, inputs, 9)
    return padded.reshape(-1, PANEL, inputs, 9).permute(0, 2, 3, 1).contiguous()


def _each(values: Tensor | Floats | None, batch: int, none: Floats) -> Sequence[Floats]:
    """Those of every picture: rows of [1 or B, C], or what all share."""
    if values is None or isinstance(values, np.ndarray):
        return [none if values is None else values] * batch
    return [numbers(row) for row in values.expand(batch, -1)]


def numbers(values: Tensor | Floats) -> Floats:
    """The same memory, flat."""
    if isinstance(values, np.ndarray):
        return values
    flat: Floats = values.detach().contiguous().numpy().reshape(-1)
    return flat


@cache
def kernel() -> Callable[..., None]:
    """The compiled loop; imported on first use because numba takes half a second to load."""
    from tpvideo.stages.networks import winograd_kernel

    convolve: Callable[..., None] = winograd_kernel.convolve
    return convolve


def in_parts(work: Callable[[int, int], None], count: int, step: int) -> None:
    """Call work(first, last) for parts of 0..count that begin at multiples of `step`, in as many
    threads as torch would take."""
    workers = min(torch.get_num_threads(), -(-count // step))
    if workers == 1:
        work(0, count)
        return
    part = -(-count // (workers * step)) * step
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda at: work(at, min(at + part, count)), range(0, count, part)))


_held = threading.local()


def room(kind: str, sizes: Sequence[int]) -> tuple[Floats, ...]:
    """Arrays of at least these sizes, which a thread keeps from one call to the next; each kind
    has its own. What was in them is still there."""
    held: dict[str, tuple[Floats, ...]] = vars(_held)
    arrays = held.get(kind, (NOTHING,) * len(sizes))
    held[kind] = tuple(
        array if len(array) >= size else np.zeros(size, np.float32)
        for array, size in zip(arrays, sizes, strict=True)
    )
    return held[kind]
