"""Where the time of inverting and drawing goes, operation by operation, by torch's profiler.

    python bench/profile_run.py [--model default] [--batches 8] [--device auto] [--json FILE]

Each stage is profiled by itself, warm, its input ready. Of a GPU it says as well how much of the
clock's time its kernels were at work: what is missing to 1 is waiting for the host.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from tpvideo.pipeline import app
from tpvideo.pipeline.benchmark.film import write_film
from tpvideo.pipeline.benchmark.timing import rendered
from tpvideo.pipeline.config import Settings

PROFILED = ("invert", "render")


def profiled(stage: Any, items: list[Any], on_gpu: bool) -> tuple[list[Any], dict[str, Any], str]:
    """The stage's results of all items, figures of all batches but the first, and a table."""
    results = list(stage.process(items[: stage.batch]))
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    begun = time.perf_counter()
    with profile(activities=kinds) as found:
        for at in range(stage.batch, len(items), stage.batch):
            results += stage.process(items[at : at + stage.batch])
        if on_gpu:
            torch.cuda.synchronize()
    wall_s = time.perf_counter() - begun
    averages = found.key_averages()
    frames = len(items) - stage.batch
    kernels = [event for event in averages if event.device_type == DeviceType.CUDA]
    figures: dict[str, Any] = {"stage": stage.name, "frames": frames, "batch": stage.batch,
                               "wall_ms": 1000 * wall_s / frames}  # fmt: skip
    if on_gpu:
        busy_ms = sum(event.self_device_time_total for event in kernels) / 1000
        launched = sum(event.count for event in kernels)
        figures |= {"busy_ms": busy_ms / frames, "busy_share": busy_ms / 1000 / wall_s,
                    "kernels": launched / frames}  # fmt: skip
    by = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    top = sorted(kernels if on_gpu else averages, key=lambda event: -getattr(event, by))[:40]
    figures["top"] = [{"name": event.key, "ms": getattr(event, by) / 1000 / frames,
                       "calls": event.count / frames} for event in top]  # fmt: skip
    return results, figures, averages.table(sort_by=by, row_limit=40, max_name_column_width=70)


def main() -> None:
    """Run up to the stages in question and profile them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="default")
    parser.add_argument("--batches", type=int, default=8)
    parser.add_argument("--height", type=int, default=720)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    settings = Settings(model=args.model, device=args.device, yaw_rad=-0.3)
    machine = app.pick_machine(settings)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        film = Path(folder) / "film.mp4"
        write_film(film, frames=(args.batches + 1) * machine.batch, height=args.height)
        flow = rendered(film, settings, app.load_networks(settings, machine))
        info = flow.source.open()
        items: list[Any] = list(flow.source)
        flow.source.close()
        for stage in flow.stages:
            info = stage.open(info)
            if stage.name in PROFILED:
                items, figures, table = profiled(stage, items, machine.device.type == "cuda")
                rows.append(figures)
                print(f"{stage.name}: " + ", ".join(
                    f"{key} {value:.3g}" for key, value in figures.items()
                    if isinstance(value, float)) + f" a frame\n{table}")  # fmt: skip
            else:
                items = [found for at in range(0, len(items), stage.batch)
                         for found in stage.process(items[at : at + stage.batch])]  # fmt: skip
                items += stage.flush()
            stage.close()
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
