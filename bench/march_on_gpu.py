"""The march in Triton against the plain one on a GPU, in several shapes of its programs.

    python bench/march_on_gpu.py [--json FILE]

For the sizes of both models and for one head and eight, seeded planes of something solid: the time
of a march with importance samples and colours, and how far it is from the plain march. The fastest
shape that is right is what BLOCK, WARPS and PRECISION in gpu_march.py should be.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from reference import seeded
from torch import Tensor

from tpvideo.stages.networks.generator import Generator
from tpvideo.stages.networks.gpu_march import TritonMarch, a_ball, rays_across
from tpvideo.stages.networks.volume import Composite, Rays
from tpvideo.weights import store

SHAPES = [
    (block, warps, precision)
    for precision in ("tf32x3", "tf32", "ieee")
    for block, warps in ((16, 2), (16, 4), (32, 4), (32, 8), (64, 4), (64, 8))
]


def milliseconds(work: Callable[[], object], times: int = 20) -> float:
    """Median by the GPU's own clock, once warm."""
    spans = []
    for turn in range(times + 3):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        work()
        end.record()
        end.synchronize()
        if turn >= 3:
            spans.append(begin.elapsed_time(end))
    return statistics.median(spans)


def in_parts(generator: Generator, planes: Tensor, rays: Rays) -> Composite:
    """The plain march, as it runs."""
    found: Composite = generator._march_in_parts(planes, rays, True)
    return found


def rows_of(model: str, generator: Generator, heads: int) -> list[dict[str, Any]]:
    """The plain march, then every shape."""
    planes = a_ball(generator).repeat(heads, 1, 1, 1)
    rays = Rays(*(each.repeat(heads, 1, 1) for each in rays_across(generator, generator.raw_side)))
    expected = in_parts(generator, planes, rays)
    plain = milliseconds(lambda: in_parts(generator, planes, rays), 5)
    about = {"model": model, "heads": heads}
    rows: list[dict[str, Any]] = [{**about, "march": "plain", "ms": plain}]
    for block, warps, precision in SHAPES:
        row = {**about, "march": f"{block} rays, {warps} warps, {precision}"}
        try:
            march = TritonMarch(generator, block=block, warps=warps, precision=precision)
            found = march(planes, rays, True, True)
            row["ms"] = milliseconds(lambda march=march: march(planes, rays, True, True))
            apart = (found.features - expected.features).abs()
            row |= {"mean_apart": apart.mean().item(), "most_apart": apart.max().item()}
        except Exception as error:  # a shape that this GPU has no room for; the others go on
            row["failed"] = str(error).splitlines()[0] if str(error) else repr(error)
        rows.append(row)
    return rows


@torch.inference_mode()
def main() -> None:
    """Time all; print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("torch finds no CUDA device here")
    networks = {"default": store.load("default", "cuda")[0], "ffhq512": seeded().cuda()}
    rows = []
    for model, network in networks.items():
        for heads in (1, 8):
            for row in rows_of(model, network.decoder, heads):
                rows.append(row)
                print(" ".join(f"{key} {value:.3g}" if isinstance(value, float) else f"{value}"
                               for key, value in row.items()), flush=True)  # fmt: skip
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
