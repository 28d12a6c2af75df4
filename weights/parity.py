"""`python -m tpvideo.weights.parity DIR`: are our networks the published ones, in numbers?

Fills every network by the seeded rule with the salt of the golden set in DIR, runs every golden,
prints a table and exits with 1 if any value is off. No checkpoint is needed.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import torch

from tpvideo.pipeline.errors import TpvideoError
from tpvideo.weights import goldens
from tpvideo.weights import parity_networks as networks
from tpvideo.weights.goldens import Recorder, Row
from tpvideo.weights.parity_miscellany import check_miscellany
from tpvideo.weights.parity_operators import check_operators
from tpvideo.weights.parity_precision import (
    BATCH_LIMIT,
    ENOUGH_DB,
    batch_differences,
    picture_quality,
)

Check = Callable[[networks.Subject, Recorder], None]

CHECKS: dict[str, Check] = {
    "inputs.npz": networks.check_inputs,
    "encoder.npz": networks.check_encoder,
    "backbone.npz": networks.check_backbone,
    "render.npz": networks.check_render,
    "sr.npz": networks.check_superres,
    "final_nearest.npz": lambda subject, put: networks.check_final(subject, put, "nearest"),
    "misc.npz": check_miscellany,
    "final_pixelshuffle.npz": lambda subject, put: networks.check_final(
        subject, put, "pixelshuffle"
    ),
    "final_96.npz": networks.check_more_samples,
}
"""Golden files of the whole network, each after those whose results it uses."""


@torch.inference_mode()
def compare(directory: Path, only: Sequence[str] = (), *, compiled: bool = False) -> list[Row]:
    """A row for every golden array in `directory`.

    Args:
        directory: holds `golden_manifest.json` and `golden/`.
        only: golden files to compare; empty for all.
        compiled: of the networks as a CPU runs them. Arrays that their loops never hold by
            themselves, the colours of a single layer, then have no row.

    Raises:
        WeightsError: the set is missing or damaged.
    """
    known = goldens.read(directory)
    files = [file for file in known.files if not only or file in only]
    recorders = {file: Recorder(known.files[file]) for file in files}
    if "ops.npz" in recorders:
        check_operators(known.salt, recorders["ops.npz"])
    asked = [file for file in CHECKS if file in recorders]
    if asked:
        subject = networks.Subject(known, compiled=compiled)
        for file in asked:
            CHECKS[file](subject, recorders[file])
    rows = [row for recorder in recorders.values() for row in recorder.table()]
    return [
        row for row in rows if not (compiled and math.isnan(row.error) and ".torgb." in row.name)
    ]


def table(rows: Sequence[Row]) -> str:
    """The rows as text, one line each, and a line that sums them up."""
    width = max((len(f"{row.file} {row.name}") for row in rows), default=4)
    lines = [f"{'array':{width}}  {'abs error':>9}  {'rel error':>9}  {'atol':>8}  result"]
    lines += [
        f"{row.file + ' ' + row.name:{width}}  {row.error:9.2e}  {row.relative:9.2e}  "
        f"{row.atol:8.1e}  {row.verdict}"
        for row in rows
    ]
    counts = {verdict: 0 for verdict in ("pass", "pass (faster order)", "input")}
    for row in rows:
        counts[row.verdict] = counts.get(row.verdict, 0) + 1
    total = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    return "\n".join([*lines, f"{len(rows)} arrays: {total}"])


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--only", multiple=True, metavar="FILE", help="Compare this golden file; repeatable.")
@click.option(
    "--precision",
    type=click.Choice(["bfloat16", "float16", "float32"]),
    help="Instead, how close the golden pictures come in this precision.",
)
@click.option("--device", default="cpu", show_default=True, help="For --precision.")
@click.option("--compiled", is_flag=True, help="The networks as a CPU runs them.")
@click.option("--batch", type=int, help="Instead, compare pictures in a batch with each alone.")
def main(
    directory: Path,
    only: tuple[str, ...],
    precision: str | None,
    device: str,
    batch: int | None,
    compiled: bool,
) -> None:
    """Compare every network with the golden set in DIRECTORY.

    The relative error is the largest absolute error over the array's largest magnitude.
    """
    began = time.perf_counter()
    try:
        if precision is not None:
            report, is_well = _precision(directory, precision, device)
        elif batch is not None:
            report, is_well = _batch(directory, batch)
        else:
            rows = compare(directory, only, compiled=compiled)
            report = table(rows)
            is_well = bool(rows) and not any(row.has_failed for row in rows)
    except TpvideoError as error:
        raise click.ClickException(str(error)) from error
    click.echo(report)
    click.echo(f"{time.perf_counter() - began:.0f} s, peak memory {_peak_mib():.0f} MiB")
    sys.exit(0 if is_well else 1)


def _precision(directory: Path, name: str, device: str) -> tuple[str, bool]:
    qualities = picture_quality(goldens.read(directory), getattr(torch, name), torch.device(device))
    lines = [f"{picture:12}  {quality:6.1f} dB" for picture, quality in qualities.items()]
    is_well = all(quality >= ENOUGH_DB for quality in qualities.values())
    return "\n".join([f"{name} on {device}, at least {ENOUGH_DB:.0f} dB wanted", *lines]), is_well


def _batch(directory: Path, batch: int) -> tuple[str, bool]:
    differences = batch_differences(goldens.read(directory), batch)
    lines = [f"{name:12}  {difference:.1e}" for name, difference in differences.items()]
    is_well = all(difference <= BATCH_LIMIT for difference in differences.values())
    return "\n".join([f"a batch of {batch} against each alone, of the largest", *lines]), is_well


def _peak_mib() -> float:
    """Largest resident size of this process so far; 0 where the platform does not tell."""
    try:
        import resource
    except ImportError:
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


if __name__ == "__main__":
    main()
