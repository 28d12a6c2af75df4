"""`tpvideo bench`: how fast each stage and the whole are on this machine."""

from __future__ import annotations

import json
import platform
import shlex
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, fields
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from tpvideo.pipeline import config
from tpvideo.pipeline.cores import usable_cores
from tpvideo.pipeline.errors import ConfigError

if TYPE_CHECKING:
    from tpvideo.pipeline.benchmark.timing import RunTime, StageTime


def bench_command(render: click.Command) -> click.Command:
    """The sub-command; a run's settings are asked for exactly as `render` asks for them."""
    names = {setting.name for setting in fields(config.Settings)} - {"overwrite", "resume", "trim"}
    shared = [option for option in render.params if option.name in names]
    bench.params = [*bench.params, *(option for option in shared if option not in bench.params)]
    return bench


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.argument("source", required=False, type=click.Path(path_type=Path))
@click.option("--frames", type=int, default=50, help="Length of the film that is made here.")
@click.option("--height", type=int, default=720, help="Its height in pixels; it is 16:9.")
@click.option("--repeat", type=int, default=3, help="Whole runs of each variant; medians count.")
@click.option("--stages/--no-stages", default=True, help="Time each stage by itself as well.")
@click.option(
    "--against",
    metavar="OPTIONS",
    help="Other options, in quotes, run in turn with the first; prints the ratios.",
)
@click.option("--json", "as_json", type=click.Path(path_type=Path), help="Write all figures.")
def bench(
    source: Path | None,
    frames: int,
    height: int,
    repeat: int,
    stages: bool,
    against: str | None,
    as_json: Path | None,
    **settings: Any,
) -> int:
    """Time the program on SOURCE, or on a film of a head that it makes itself.

    \b
    tpvideo bench
    tpvideo bench --preset fast
    tpvideo bench --no-stages --against "--detail off"

    Only ratios within one call mean something on a machine that does other things as well;
    processor time (cpu ms) is steadier than time by the clock.
    """
    if min(frames, repeat, height // 64) < 1:
        raise ConfigError("frames and repeat must be at least 1, height at least 64")
    variants = {"this": config.Settings(**settings)}
    if against is not None:
        variants["against"] = _settings(against)
    with tempfile.TemporaryDirectory(prefix="tpvideo-bench-") as folder:
        film = Path(folder) / "film.mp4"
        if source is None:
            from tpvideo.pipeline.benchmark.film import write_film

            write_film(film, frames=frames, height=height)
        else:
            film.symlink_to(source.resolve())
        figures = _figures(film, variants, repeat, stages)
    if as_json is not None:
        as_json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


def _settings(text: str) -> config.Settings:
    given = bench.make_context("bench --against", shlex.split(text)).params
    names = {setting.name for setting in fields(config.Settings)}
    return config.Settings(**{name: value for name, value in given.items() if name in names})


def _figures(
    film: Path, variants: dict[str, config.Settings], repeat: int, stages: bool
) -> dict[str, Any]:
    """Time the variants in turn and print tables; everything printed, as JSON."""
    from tpvideo.pipeline import app
    from tpvideo.pipeline.benchmark import timing

    networks = {
        name: app.load_networks(chosen, app.pick_machine(chosen))
        for name, chosen in variants.items()
    }
    figures: dict[str, Any] = {"machine": _machine(usable_cores()), "variants": {}}
    for name, chosen in variants.items():
        figures["variants"][name] = {"settings": {"size": chosen.size, "model": chosen.model}}
        if stages:
            times = list(timing.time_stages(film, chosen, networks[name]))
            figures["variants"][name]["stages"] = [asdict(row) for row in times]
            _print_stages(name if len(variants) > 1 else "", times)
    runs: dict[str, list[RunTime]] = {name: [] for name in variants}
    for _ in range(repeat):
        for name, chosen in variants.items():
            runs[name].append(timing.time_run(film, chosen, networks[name]))
    for name, found in runs.items():
        figures["variants"][name]["runs"] = [_run_as_json(run) for run in found]
        _print_run(name if len(variants) > 1 else "", found)
    if len(variants) == 2:
        first, second = (_median(found, "fps") for found in runs.values())
        cheap, dear = (_median(found, "cpu_ms") for found in runs.values())
        figures["ratio"] = {"fps": first / second, "cpu_ms": cheap / dear}
        _say(f"this over against: {first / second:.3f} in frames a second, "
             f"{cheap / dear:.3f} in processor time")  # fmt: skip
    return figures


def _machine(cores: int) -> dict[str, Any]:
    import torch

    return {
        "cores": cores,
        "processor": platform.processor() or platform.machine(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
        "tpvideo": version("tpvideo"),
    }


def _print_stages(name: str, times: Sequence[StageTime]) -> None:
    table = Table(box=None, pad_edge=False, title=name or None)
    for column in ("stage", "cpu ms", "fps alone", "p50 ms", "p95 ms", "p99 ms", "cold ms",
                   "GFLOP", "of ceiling"):  # fmt: skip
        table.add_column(column, justify="left" if column == "stage" else "right")
    for row in times:
        work = (f"{row.gflop:.1f}", f"{row.ceiling_share:.0%}") if row.gflop else ("", "")
        table.add_row(
            row.stage,
            f"{row.cpu_ms:.1f}",
            f"{row.fps:.1f}",
            *(f"{value:.1f}" for value in row.latency_ms),
            f"{row.cold_ms:.0f}",
            *work,
        )
    total = sum(row.cpu_ms for row in times)
    table.add_row("all", f"{total:.1f}", *[""] * 7)
    Console(highlight=False, soft_wrap=True).print(table)


def _print_run(name: str, runs: Sequence[RunTime]) -> None:
    best = sorted(runs, key=lambda run: run.fps)[len(runs) // 2]
    _say(
        f"{name + ': ' if name else ''}{best.fps:.2f} frames a second, {best.cpu_ms:.0f} cpu ms a "
        f"frame on {best.cores} cores, which could give {best.possible_fps:.2f} "
        f"({best.share_of_possible:.0%} reached); peak memory {best.peak_mib:.0f} MiB"
    )
    from tpvideo.pipeline.progress import show_table

    show_table(best.report)


def _run_as_json(run: RunTime) -> dict[str, Any]:
    from tpvideo.pipeline.record import report_as_json

    return {
        "frames": run.frames,
        "fps": run.fps,
        "cpu_ms": run.cpu_ms,
        "possible_fps": run.possible_fps,
        "share_of_possible": run.share_of_possible,
        "peak_mib": run.peak_mib,
        "peak_gpu_mib": run.peak_gpu_mib,
        "report": report_as_json(run.report),
    }


def _median(runs: Sequence[RunTime], name: str) -> float:
    return float(statistics.median(getattr(run, name) for run in runs))


def _say(line: str) -> None:
    click.echo(line)
