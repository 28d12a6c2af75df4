"""The seeded weight rule: every tensor of the published network follows from its key.

Spec: parity, section 2. It lets the whole network be filled, and compared with golden numbers,
without a download. The arithmetic is exact in integers up to one division, so the values depend
on no library version.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]

_SLOPE = re.compile(
    r"(input_layer\.2|res_layer\.2|double_conv\.[245]|final_head_two\.[13])\.weight$"
)
_DENSITY_LAYER = "decoder.decoder.net.2.weight"


def draw(salt: str, key: str, shape: Sequence[int]) -> Array:
    """Nearly normal numbers (mean 0, variance 1) that depend on `salt + key` alone.

    Each is the sum of the four 16-bit lanes of one word of PCG64, centred and scaled.
    """
    count = math.prod(shape)
    words = np.random.PCG64(zlib.crc32((salt + key).encode())).random_raw(count)
    lanes = np.asarray(words, dtype="<u8").view("<u2").reshape(count, 4)
    total = lanes.sum(axis=1, dtype=np.int64)
    scaled: Array = (total - 131070) / np.sqrt((65536.0**2 - 1) / 3.0)
    return scaled.reshape(tuple(shape))


def make_tensor(salt: str, key: str, shape: Sequence[int]) -> Tensor:
    """The tensor of a full TriPlaneNet key, float32 (int64 for batch counters).

    Args:
        salt: of the golden set.
        key: as in the checkpoint, with prefix; or the pseudo key `latent_avg`.
        shape: of the tensor.
    """
    if key.endswith("resample_filter"):
        taps = np.array([1.0, 3.0, 3.0, 1.0])
        return torch.from_numpy((np.outer(taps, taps) / 64).astype(np.float32))
    if key.endswith("num_batches_tracked"):
        return torch.zeros(tuple(shape), dtype=torch.int64)
    unit = draw(salt, key, shape)
    if key == _DENSITY_LAYER:  # its first row is the density: zero mean and larger
        values = unit.copy()
        values[0] = 10.0 * (unit[0] - unit[0].mean())
    else:
        mean, scale = _generator(key) if key.startswith("decoder.") else _encoder(key, shape)
        values = mean + scale * unit
    return torch.from_numpy(np.asarray(values, np.float32).reshape(tuple(shape)))


def make_state(
    salt: str, shapes: Mapping[str, Sequence[int]], prefix: str = ""
) -> dict[str, Tensor]:
    """A state dict under the rule, for keys that lack `prefix`."""
    return {key: make_tensor(salt, prefix + key, shape) for key, shape in shapes.items()}


def _generator(key: str) -> tuple[float, float]:
    """(mean, scale) of a generator tensor."""
    is_weight = key.endswith("weight")
    table: list[tuple[bool, tuple[float, float]]] = [
        (key.endswith(("noise_const", "b4.const")), (0.0, 1.0)),
        (key.endswith("noise_strength"), (0.1, 0.02)),
        (key.endswith("w_avg"), (0.0, 0.5)),
        (key.endswith("affine.weight"), (0.0, 1.0)),
        (key.endswith("affine.bias"), (1.0, 0.1)),
        (".mapping.fc" in key, (0.0, 100.0 if is_weight else 10.0)),
        (key.endswith("torgb.weight"), (0.0, _torgb_gain(key))),
        (key == "decoder.decoder.net.0.weight", (0.0, 2.0)),
        (is_weight, (0.0, 1.0)),
        (key.endswith("bias"), (0.0, 0.1)),
    ]
    for applies, values in table:
        if applies:
            return values
    raise KeyError(key)


def _torgb_gain(key: str) -> float:
    """Keeps the sum over resolutions of order one."""
    if key.startswith("decoder.superresolution."):
        return 0.15
    found = re.search(r"\.b(\d+)\.", key)
    side = int(found[1]) if found else 0
    return 0.5 if side <= 4 else min(1.0, 16 / side)


def _encoder(key: str, shape: Sequence[int]) -> tuple[float, float]:
    """(mean, scale) of an encoder tensor, or of `latent_avg`."""
    fan_in = math.prod(shape[1:])
    table: list[tuple[bool, tuple[float, float]]] = [
        (key == "latent_avg", (0.0, 0.5)),
        (key.endswith("running_mean"), (0.0, 0.1)),
        (key.endswith("running_var"), (1.0, 0.2)),
        (key.endswith(".bias"), (0.0, 0.05)),
        (_SLOPE.search(key) is not None, (0.25, 0.05)),
        (len(shape) == 1, (1.0, 0.1)),  # batch-norm scale
        (len(shape) == 2, (0.0, 0.3)),  # linear of a style head
        (".styles." in key, (0.0, float(np.sqrt(2.0 / fan_in)))),
        (key.endswith("final_head_two.4.weight"), (0.0, 0.3 / float(np.sqrt(fan_in)))),
        (True, (0.0, 1.0 / float(np.sqrt(fan_in)))),
    ]
    return next(values for applies, values in table if applies)
