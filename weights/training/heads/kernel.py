"""Compiled loops: one decorator, and the names of array types used beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
U8 = NDArray[np.uint8]
U32 = NDArray[np.uint32]
Array = NDArray[Any]

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile with numba on first call; the machine code is cached beside the source.

    Numba renews a cached function when its own file changes, not when a helper in another file
    does: after editing a helper, touch the files that call it. Helpers are always inlined: a call
    that is none counts the references of every array it is handed, and shading took twice as long.
    """
    jit = numba.njit(cache=True, fastmath=True, boundscheck=False, forceinline=True)
    return cast(Callable[P, R], jit(function))
