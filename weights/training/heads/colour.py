"""sRGB and linear light, exact and by table."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from tpvideo.weights.training.heads.kernel import F32, F64, U8, Array


def linear_from_srgb(colour: ArrayLike) -> F64:
    """Linear light 0..1 of sRGB values 0..1 (IEC 61966-2-1)."""
    c = np.asarray(colour, np.float64)
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def srgb_from_linear(light: ArrayLike) -> F64:
    """sRGB values 0..1 of linear light, clipped to 0..1."""
    x = np.clip(np.asarray(light, np.float64), 0, 1)
    return np.where(x <= 0.0031308, 12.92 * x, 1.055 * np.power(x, 1 / 2.4) - 0.055)


_BYTES = np.arange(256) / 255.0
LINEAR_FROM_BYTE: F32 = (((_BYTES + 0.055) / 1.055) ** 2.4).astype(np.float32)
LINEAR_FROM_BYTE[:11] = _BYTES[:11] / 12.92
"""[256] linear light of each byte."""

_BYTE_FROM_LINEAR: U8 = (srgb_from_linear(np.arange(4096) / 4095.0) * 255 + 0.5).astype(np.uint8)
_SRGB_FROM_LINEAR: F32 = srgb_from_linear(np.arange(4097) / 4096.0).astype(np.float32)


def bytes_from_linear(light: Array) -> U8:
    """sRGB bytes of linear light within 0..1."""
    return np.ascontiguousarray(_BYTE_FROM_LINEAR[(light * 4095).astype(np.uint16)])


def quick_srgb(light: Array) -> F32:
    """sRGB 0..1 of linear light within 0..1, to 1/4096 of the input."""
    return _SRGB_FROM_LINEAR[(light * 4096).astype(np.uint16)]
