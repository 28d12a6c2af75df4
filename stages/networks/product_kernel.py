"""The innermost loop of all compiled networks: a product of matrices that stays in registers."""

from __future__ import annotations

from typing import Any

import numpy as np

from tpvideo.stages.networks.vectors import fma, inlined, load_wide, splat_wide, store
from tpvideo.stages.networks.winograd import PANEL

f32, U = np.float32, np.uintp


@inlined
def multiply(
    a: Any, at: Any, apart: Any, inputs: Any, b: Any, panel: Any, lines: Any, line: Any, c: Any,
    to: Any, width: Any,
) -> Any:  # fmt: skip
    """Rows of `a` times a panel of `b`, into `c`.

    Args:
        a: ROWS rows of `inputs` numbers from `at` on, `apart` from each other.
        b: [lines * inputs, PANEL] from `panel` on.
        lines: from how many places, `line` apart, the rows go on.
        c: [., width] from `to` on, to be filled.
    """
    zero = splat_wide(f32(0))
    s0, s1, s2, s3, s4, s5 = zero, zero, zero, zero, zero, zero
    w = panel
    for _ in range(lines):
        r1 = at + apart
        r2 = r1 + apart
        r3 = r2 + apart
        r4 = r3 + apart
        r5 = r4 + apart
        for k in range(inputs):
            v = load_wide(b, w + k * U(PANEL))
            s0 = fma(splat_wide(a[at + k]), v, s0)
            s1 = fma(splat_wide(a[r1 + k]), v, s1)
            s2 = fma(splat_wide(a[r2 + k]), v, s2)
            s3 = fma(splat_wide(a[r3 + k]), v, s3)
            s4 = fma(splat_wide(a[r4 + k]), v, s4)
            s5 = fma(splat_wide(a[r5 + k]), v, s5)
        at += line
        w += inputs * U(PANEL)
    store(c, to, s0)
    store(c, to + width, s1)
    store(c, to + U(2) * width, s2)
    store(c, to + U(3) * width, s3)
    store(c, to + U(4) * width, s4)
    store(c, to + U(5) * width, s5)
