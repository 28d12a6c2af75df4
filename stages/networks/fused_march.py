"""The ray march of a frozen generator as one compiled loop for the CPU.

The same picture as `Generator.march`, which stays the reference: tri-plane lookup, decoder and
compositing happen sample after sample in the processor's nearest memory, and what cannot be seen
is not computed. Along a ray nothing is sampled behind what hides it, a ray that meets nothing gets
no importance samples, and only samples that show get colours; but the published networks, whose
numbers are to stay theirs, compute everything.

Needs numba; `march_for` says None without. It compiles once for a machine and keeps the result.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tpvideo.stages.networks.compiled_pixels import panels
from tpvideo.stages.networks.generator import Generator, Marcher
from tpvideo.stages.networks.layers import EqualLinear
from tpvideo.stages.networks.volume import Composite, Rays, coarse_depths
from tpvideo.stages.networks.winograd import PANEL

Floats = NDArray[np.float32]


def march_for(generator: Generator) -> Marcher | None:
    """What marches through planes for this generator, whose weights no longer change; None where
    numba is not installed or a layer's width is no multiple of PANEL."""
    fits = all(layer.weight.shape[1] % PANEL == 0 for layer in _layers(generator))
    return FusedMarch(generator) if fits and find_spec("numba") else None


WORTHLESS = (1e-4, 1e-4, 1e-3)
"""Light let through that is not worth looking further, share of a ray that is not worth a colour,
opacity of a ray that has met nothing: together a quarter of a level of 255 at most."""
NOTHING = (0.0, 0.0, -1.0)
"""The same where nothing is left out, as for the published networks, which draw no alpha."""


class FusedMarch:
    """The compiled march with a generator's decoder and sampling.

    Args:
        generator: on the CPU; its weights are copied.
    """

    def __init__(self, generator: Generator) -> None:
        first, last = _layers(generator)
        self.generator = generator
        outputs = last.weight * last.gain
        biases = _numbers(last.bias * last.rate)
        self.decoder = (
            _numbers(panels(first.weight * (first.gain / 3))).reshape(-1),  # the mean of 3 planes
            _numbers(first.bias * first.rate),
            _numbers(outputs[0]),
            float(biases[0]),
            _numbers(panels(outputs[1:])).reshape(-1),
            biases[1:].copy(),
        )
        self.axes = np.array(generator.axes, np.uintp).reshape(-1)
        left_out = NOTHING if generator.image_channels == 3 else WORTHLESS
        self.skips = tuple(np.float32(limit) for limit in left_out)

    def __call__(self, planes: Tensor, rays: Rays, fine: bool, coloured: bool) -> Composite:
        """What rays see, each for itself; features are [B, R, 0] without colours."""
        depths = coarse_depths(rays, *self._range())[0, 0].contiguous().numpy()
        parts = [
            self._march(planes[index], origins, directions, depths, fine, coloured)
            for index, (origins, directions) in enumerate(zip(*rays, strict=True))
        ]
        return Composite(*(torch.stack(found) for found in zip(*parts, strict=True)))

    def _range(self) -> tuple[float, float, int]:
        return self.generator.near, self.generator.far, self.generator.coarse

    def _march(
        self,
        planes: Tensor,
        origins: Tensor,
        directions: Tensor,
        depths: Floats,
        fine: bool,
        coloured: bool,
    ) -> Composite:
        rays = torch.cat([origins, directions], dim=1).numpy()  # [R, 6]
        side = planes.shape[-1]
        table = planes.permute(1, 2, 0).contiguous().numpy().reshape(-1)
        features = torch.zeros(len(rays), len(self.decoder[5]) if coloured else 0)
        seen, alphas = torch.empty(len(rays), 1), torch.empty(len(rays), 1)
        results = features.numpy(), seen.numpy()[:, 0], alphas.numpy()[:, 0]
        extra = self.generator.fine if fine else 0

        def work(part: slice) -> None:
            compiled()(
                (table, side, self.generator.box, self.axes),
                self.decoder,
                rays[part],
                depths,
                extra,
                self.generator.density_gain,
                self.skips,
                tuple(result[part] for result in results),
            )

        workers = torch.get_num_threads()
        if workers == 1:
            work(slice(None))
        else:
            step = -(-len(rays) // (4 * workers))  # more parts than workers: some rays are long
            with ThreadPoolExecutor(workers) as pool:
                list(pool.map(work, (slice(at, at + step) for at in range(0, len(rays), step))))
        return Composite(features, seen, alphas)


@cache
def compiled() -> Callable[..., None]:
    """The compiled loop; imported on first use because numba takes half a second to load."""
    from tpvideo.stages.networks import march_kernel

    march: Callable[..., None] = march_kernel.march
    return march


def _layers(generator: Generator) -> tuple[EqualLinear, EqualLinear]:
    first, _, last = generator.decoder.net
    assert isinstance(first, EqualLinear) and isinstance(last, EqualLinear)
    return first, last


def _numbers(values: Tensor) -> Floats:
    return np.ascontiguousarray(values.detach().float().numpy())
