"""Make files of synthetic heads: `python -m tpvideo.weights.training.heads OUT --pack PACK`."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from tpvideo.pipeline.errors import ConfigError, OutputError, TpvideoError
from tpvideo.weights.training.heads import require_training_extra

if TYPE_CHECKING:
    from tpvideo.weights.training.heads.pack import Pack
    from tpvideo.weights.training.heads.views import Views

_POSITIVE = click.IntRange(min=1)
_COUNT = click.IntRange(min=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Which files to make, and where."""

    out: Path
    pack: Path
    seeds: range
    views: int
    side_px: int
    wide: int
    wide_px: int
    lenses: int
    variety: bool
    held_out: bool
    """The benchmark's views instead of training views."""


@click.command(name="heads")
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option("--pack", type=click.Path(path_type=Path), required=True, help="Head asset pack.")
@click.option("--seed0", default=10_000, show_default=True, help="First seed.")
@click.option("--count", type=_POSITIVE, default=4000, show_default=True, help="People.")
@click.option("--views", type=_POSITIVE, default=4, show_default=True, help="Crop views of each.")
@click.option("--size", type=_POSITIVE, default=256, show_default=True, help="Their side, pixels.")
@click.option("--wide", type=_COUNT, default=1, show_default=True, help="Wide views of each.")
@click.option("--wide-size", type=_POSITIVE, default=320, show_default=True, help="Their side.")
@click.option("--lenses", type=_COUNT, default=0, help="Crop views seen through a lens as well.")
@click.option("--variety", is_flag=True, help="Shoulders, brims: what the first files lacked.")
@click.option("--workers", type=_POSITIVE, default=1, show_default=True, help="Processes.")
@click.option("--held-out", is_flag=True, help="Make the benchmark's 50 people instead.")
def main(workers: int, **options: Any) -> None:
    """Render synthetic heads from known cameras into OUT, one npz file for each person.

    Files that are there already are left alone, so a run can be stopped and taken up again.
    """
    try:
        require_training_extra()
        _run(_job(**options), workers)
    except TpvideoError as error:
        raise click.ClickException(str(error)) from error


def _job(
    out: Path,
    pack: Path,
    seed0: int,
    count: int,
    views: int,
    size: int,
    wide: int,
    wide_size: int,
    lenses: int,
    variety: bool,
    held_out: bool,
) -> Job:
    from tpvideo.weights.training.heads.views import BENCHMARK_SEEDS, HELD_OUT_SEEDS

    seeds = range(seed0, seed0 + count)
    if held_out:
        seeds = BENCHMARK_SEEDS
    elif seeds.start < HELD_OUT_SEEDS.stop and seeds.stop > HELD_OUT_SEEDS.start:
        raise ConfigError(
            f"seeds {seeds.start}-{seeds.stop - 1} reach into the held-out ones, "
            f"{HELD_OUT_SEEDS.start}-{HELD_OUT_SEEDS.stop - 1}; choose another --seed0"
        )
    return Job(
        out=out,
        pack=pack,
        seeds=seeds,
        views=views,
        side_px=size,
        wide=wide,
        wide_px=wide_size,
        lenses=lenses,
        variety=variety,
        held_out=held_out,
    )


def _run(job: Job, workers: int) -> None:
    try:
        job.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(job.out, f"{error.strerror}; choose another folder") from error
    missing = [seed for seed in job.seeds if not _path(job, seed).exists()]
    print(f"{len(job.seeds) - len(missing)} of {len(job.seeds)} files are there", flush=True)
    if workers == 1 or len(missing) < 2:
        make = _maker(job)
        _report(map(make, missing), len(missing))
        return
    for library in ("OMP", "OPENBLAS", "MKL"):  # processes share the cores, not threads
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")
    with multiprocessing.get_context("spawn").Pool(workers, _start_worker, (job,)) as pool:
        _report(pool.imap_unordered(_make_in_worker, missing), len(missing))


def _report(made: Iterable[None], count: int) -> None:
    start = time.monotonic()
    for i, _ in enumerate(made, 1):
        if i % 100 == 0 or i == count:
            print(f"{i} of {count}, {i / (time.monotonic() - start):.2f} people/s", flush=True)


def _maker(job: Job) -> Callable[[int], None]:
    """A function that makes the file of one seed, the pack being loaded."""
    import cv2

    from tpvideo.weights.training.heads.pack import Pack

    cv2.setNumThreads(1)  # one process for each core does better than threads
    pack = Pack(job.pack)
    return lambda seed: _write(_path(job, seed), _views(job, pack, seed))


def _views(job: Job, pack: Pack, seed: int) -> Views:
    from tpvideo.weights.training.heads.views import benchmark_views, training_views

    if job.held_out:
        return benchmark_views(pack, seed, side_px=job.side_px)
    return training_views(
        pack,
        seed,
        views=job.views,
        side_px=job.side_px,
        wide=job.wide,
        wide_px=job.wide_px,
        lenses=job.lenses,
        variety=job.variety,
    )


def _write(path: Path, views: Views) -> None:
    partial = path.with_suffix(".part")
    try:
        with partial.open("wb") as file:
            np.savez(file, allow_pickle=False, **views)
        os.replace(partial, path)
    except OSError as error:
        raise OutputError(path, f"{error.strerror}; is the disk full?") from error


def _path(job: Job, seed: int) -> Path:
    return job.out / f"{seed:07d}.npz"


_make: Callable[[int], None]
"""Set once in each worker process, which has no other way to keep the loaded pack."""


def _start_worker(job: Job) -> None:
    global _make
    _make = _maker(job)


def _make_in_worker(seed: int) -> None:
    _make(seed)


if __name__ == "__main__":
    main()
