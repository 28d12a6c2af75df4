"""What torch.compile makes of the default model's largest network, the offsets U-Net.

What runs, and the plain network, take turns with it.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE python bench/inductor.py [--rounds 30]

Needs a C++ compiler. The first call compiles; a later one takes it from inductor's cache on disk.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from tpvideo.stages.networks.lean import make_lean
from tpvideo.stages.networks.triplanenet import TriPlaneNet
from tpvideo.weights import store

Call = Callable[[], Tensor]


@torch.inference_mode()
def main() -> None:
    """Time the three in turn."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    rounds: int = parser.parse_args().rounds
    torch.set_num_threads(1)
    residuals, planes = (
        torch.randn(1, channels, 128, 128).to(memory_format=torch.channels_last)
        for channels in (9, 48)
    )

    def offsets_of(network: TriPlaneNet) -> Call:
        encoder = network.triplanenet_encoder
        return lambda: encoder(residuals, planes)

    compiled = torch.compile(_default().triplanenet_encoder, options={"freezing": True})
    calls: dict[str, Call] = {
        "plain": offsets_of(_default()),
        "torch.compile": lambda: compiled(residuals, planes),
        "lean": offsets_of(make_lean(_default())),
    }
    expected = calls["plain"]()
    for name, call in calls.items():
        begun = time.perf_counter()
        apart = (call() - expected).abs().max() / expected.std()
        print(f"{name}: first call {time.perf_counter() - begun:.1f} s, apart {apart:.0e}")
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            begun = time.perf_counter()
            call()
            taken[name].append(1000 * (time.perf_counter() - begun))
    for name, times in taken.items():
        print(f"{name}: {statistics.median(times):.1f} ms")


def _default() -> TriPlaneNet:
    network, _ = store.load("default", torch.device("cpu"))
    return network


if __name__ == "__main__":
    main()
