"""3 x 3 convolutions by Winograd's algorithm beside oneDNN's, one thread, in turns.

    OMP_NUM_THREADS=1 python bench/convolutions.py

Both with their weights laid out beforehand; the compiled one also scales the picture and bends what
is below 0, which oneDNN leaves to others here. GFLOP/s count the plain form of both.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from tpvideo.stages.networks.fused_conv import FusedConv
from tpvideo.stages.networks.winograd import Winograd

SHAPES = (
    (16, 16, 272), (32, 64, 136), (88, 32, 128), (48, 48, 64), (64, 64, 64), (128, 128, 32),
    (128, 128, 16), (256, 256, 64), (512, 512, 32),
)  # fmt: skip
"""Channels in and out, and the picture's side; those of both models' layers."""
ROUNDS = 15


def cpu_s(work: Callable[[], Tensor]) -> float:
    """Processor seconds of a call."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def main() -> None:
    """Print a table."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print("| channels, side | oneDNN, ms | compiled, ms | GFLOP/s | times | largest difference |")
    print("|---|---|---|---|---|---|")
    with torch.inference_mode():
        for inputs, outputs, side in SHAPES:
            conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False).requires_grad_(False)
            quick, plain = Winograd(conv.weight), FusedConv(conv)
            x = torch.randn(1, inputs, side, side).to(memory_format=torch.channels_last)
            scale = np.ones(inputs, np.float32)
            apart = float((quick(x, scale=scale) - plain(x)).abs().max())
            works = partial(plain, x), partial(quick, x, scale=scale, slopes=0.2)
            times = [[cpu_s(work) for work in works] for _ in range(ROUNDS)]
            theirs, ours = (min(column) for column in zip(*times, strict=True))
            speed = 18 * math.prod((inputs, outputs, side, side)) / ours / 1e9
            print(
                f"| {inputs} to {outputs}, {side} | {1e3 * theirs:.2f} | {1e3 * ours:.2f} "
                f"| {speed:.0f} | {theirs / ours:.1f} | {apart:.0e} |"
            )


if __name__ == "__main__":
    main()
