"""Each stage alone, and all of them together, by the clock and by the processor's own."""

from __future__ import annotations

import math
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from tpvideo.pipeline import app
from tpvideo.pipeline.config import Settings
from tpvideo.pipeline.cores import usable_cores
from tpvideo.pipeline.metrics import Report
from tpvideo.pipeline.runner import Flow
from tpvideo.pipeline.stage import Stage
from tpvideo.stages.networks.tally import tallied


@dataclass(frozen=True, slots=True)
class StageTime:
    """What one stage takes by itself, its input ready."""

    stage: str
    frames: int
    cpu_ms: float
    """Of the processor for a frame, all threads, once warm."""
    fps: float
    """Frames a second by the clock, once warm."""
    cold_ms: float
    """From opening it to its first result."""
    latency_ms: tuple[float, float, float]
    """50th, 95th and 99th percentile of the time from handing over a batch to its last frame."""
    gflop: float
    """A frame, of convolutions and matrix products in their plain form; other arithmetic is not
    counted."""
    ceiling_share: float
    """Those over what the processor can do in the time it worked, or a GPU by the clock: 0..1, and
    above 1 where Winograd's algorithm does with less."""


@dataclass(frozen=True, slots=True)
class RunTime:
    """A whole run, start-up of the networks not included."""

    frames: int
    fps: float
    cpu_ms: float
    """Of the processor for a frame, all stages."""
    cores: int
    peak_mib: float
    """Of the process so far."""
    peak_gpu_mib: float
    """Of a GPU's memory, in tensors, in this run; 0 without one."""
    report: Report = field(repr=False)

    @property
    def possible_fps(self) -> float:
        """Cores divided by processor seconds for a frame: what sharing them without loss gives."""
        return 1000 * self.cores / self.cpu_ms

    @property
    def share_of_possible(self) -> float:
        """0..1."""
        return self.fps / self.possible_fps


def time_stages(film: Path, settings: Settings, networks: app.Networks) -> Iterator[StageTime]:
    """Front to back, each with all of the film's frames, over memory.

    Args:
        film: short, as everything between stages is kept.
        settings: of the run.
        networks: of app.load_networks.
    """
    flow = rendered(film, settings, networks)
    machine = app.pick_machine(settings)
    ceiling = ceiling_gflops(machine.dtype, device=machine.device)
    on_gpu = machine.device.type == "cuda"
    begun = time.perf_counter()
    info = flow.source.open()
    items: list[Any] = []
    walls, cpus = [], []
    reader = iter(flow.source)
    while True:
        wall, cpu = time.perf_counter(), time.process_time()
        item = next(reader, None)
        walls.append(time.perf_counter() - (wall if items else begun))
        cpus.append(time.process_time() - cpu)
        if item is None:
            break
        items.append(item)
    flow.source.close()
    yield _stage_time("decode", walls[:-1], cpus[:-1], [1] * len(items), 0.0, ceiling)
    for stage in flow.stages:
        begun = time.perf_counter()
        info = stage.open(info)
        results: list[Any] = []
        walls, cpus = [], []
        counts: list[int] = []
        for at in range(0, len(items), stage.batch):
            part = items[at : at + stage.batch]
            wall, cpu = time.perf_counter(), time.process_time()
            results += stage.process(part)
            walls.append(time.perf_counter() - (wall if counts else begun))
            cpus.append(time.process_time() - cpu)
            counts.append(len(part))
        results += stage.flush()
        gflop = _gflop(stage, items[: stage.batch])
        stage.close()
        yield _stage_time(stage.name, walls, cpus, counts, gflop, ceiling, by_clock=on_gpu)
        items = results
    sink = app.file_sink(film, film.with_name("stages.mp4"), replace(settings, overwrite=True))
    begun = time.perf_counter()
    sink.open(info)
    walls, cpus = [], []
    for item in items:
        wall, cpu = time.perf_counter(), time.process_time()
        sink.consume(item)
        walls.append(time.perf_counter() - (wall if walls else begun))
        cpus.append(time.process_time() - cpu)
    wall, cpu = time.perf_counter(), time.process_time()
    sink.finish()
    sink.close()
    walls[-1] += time.perf_counter() - wall  # the encoder's queue
    cpus[-1] += time.process_time() - cpu
    yield _stage_time("encode", walls, cpus, [1] * len(walls), 0.0, ceiling)


def time_run(film: Path, settings: Settings, networks: app.Networks) -> RunTime:
    """The whole pipeline at work."""
    target = film.with_name("run.mp4")
    pipeline = app.assemble(film, target, replace(settings, overwrite=True), networks)
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    cpu = time.process_time()
    report = pipeline.run()
    cpu = time.process_time() - cpu
    return RunTime(
        frames=report.frames,
        fps=report.frames / report.elapsed_s,
        cpu_ms=1000 * cpu / report.frames,
        cores=usable_cores(),
        peak_mib=peak_mib(),
        peak_gpu_mib=torch.cuda.max_memory_allocated() / 2**20 if on_gpu else 0.0,
        report=report,
    )


def rendered(film: Path, settings: Settings, networks: app.Networks) -> Flow[Any]:
    """The chain that a run takes, up to the pictures."""
    app.share_cores()
    machine = app.working_machine(app.pick_machine(settings), networks)
    machine = app.busy_machine(machine, networks.triplane)
    view = app.novel_view(settings, machine, networks.triplane)
    return app.inverted(film, settings, machine, networks).then(view)


def ceiling_gflops(
    dtype: torch.dtype, seconds: float = 0.5, device: torch.device | str = "cpu"
) -> float:
    """Arithmetic a second of one core, or of a GPU, that a large convolution reaches here, in
    GFLOP/s."""
    on_gpu = torch.device(device).type == "cuda"
    count, width = (32, 512) if on_gpu else (4, 128)
    picture, kernel = (
        torch.randn(shape, device=device).to(dtype, memory_format=torch.channels_last)
        for shape in ((count, width, 64, 64), (width, width, 3, 3))
    )
    clock = time.perf_counter if on_gpu else time.process_time
    best = 0.0
    until = time.perf_counter() + seconds
    with torch.inference_mode():
        while time.perf_counter() < until:
            begun = clock()
            torch.nn.functional.conv2d(picture, kernel, padding=1)
            if on_gpu:
                torch.cuda.synchronize()
            spent = clock() - begun
            best = max(best, 2 * count * width * width * 9 * 64 * 64 / max(spent, 1e-9) / 1e9)
    return best


def peak_mib() -> float:
    """Largest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


def _gflop(stage: Stage[Any, Any], items: Sequence[Any]) -> float:
    """A frame."""
    fused = {torch.ops.mkldnn._convolution_pointwise: _conv_flops}
    counter = FlopCounterMode(display=False, custom_mapping=fused)
    with counter, tallied() as in_loops:
        list(stage.process(items))
    return float(counter.get_total_flops() + sum(in_loops)) / len(items) / 1e9


def _conv_flops(x: torch.Size, weight: torch.Size, *_: Any, out_shape: torch.Size) -> int:
    """Of a convolution of pictures [B, I, H, W] with [O, I, k, k]."""
    return 2 * math.prod(weight) * out_shape[0] * math.prod(out_shape[2:])


def _stage_time(
    name: str,
    walls: Sequence[float],
    cpus: Sequence[float],
    counts: Sequence[int],
    gflop: float,
    ceiling: float,
    *,
    by_clock: bool = False,
) -> StageTime:
    """From the seconds that each hand-over took; the first one is the cold one."""
    warm = slice(1, None) if len(walls) > 1 else slice(None)
    frames = sum(counts[warm])
    cpu_s, wall_s = sum(cpus[warm]) / frames, sum(walls[warm]) / frames
    p50, p95, p99 = (1000 * float(np.percentile(walls[warm], share)) for share in (50, 95, 99))
    return StageTime(
        stage=name,
        frames=sum(counts),
        cpu_ms=1000 * cpu_s,
        fps=frames / max(sum(walls[warm]), 1e-9),
        cold_ms=1000 * walls[0],
        latency_ms=(p50, p95, p99),
        gflop=gflop,
        ceiling_share=gflop / max(wall_s if by_clock else cpu_s, 1e-9) / ceiling,
    )
