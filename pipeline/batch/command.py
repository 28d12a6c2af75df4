"""`tpvideo batch`: many sources in one run; arguments, messages, exit codes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_args

import click

from tpvideo.pipeline import config
from tpvideo.pipeline.batch import plan
from tpvideo.pipeline.batch.manifest import Manifest, settings_digest
from tpvideo.pipeline.batch.remote import RemoteFolder, is_remote
from tpvideo.pipeline.batch.run import Plan, examine, exit_code
from tpvideo.pipeline.batch.session import Request, carry_out
from tpvideo.pipeline.batch.storage import Folder, LocalFolder, sha256_of
from tpvideo.pipeline.batch.table import Style, described, printable, shown
from tpvideo.pipeline.batch.task import Outcome
from tpvideo.pipeline.errors import ConfigError

MOST_NAMED = 20
"""Failures that the summary names; the page and the manifest have them all."""


def batch_command(render: click.Command) -> click.Command:
    """The sub-command; what a run is made of is asked for exactly as `render` asks for it."""
    names = {setting.name for setting in fields(config.Settings)}
    names -= {"yaw_rad", "overwrite", "resume"}
    shared = [option for option in render.params if option.name in names]
    batch.params = [*batch.params, *(option for option in shared if option not in batch.params)]
    return batch


def _yaws(ctx: click.Context, param: click.Parameter, text: str) -> tuple[float, ...]:
    try:
        return tuple(config.parse_angle(part) for part in text.split(","))
    except ConfigError as error:
        raise click.BadParameter(str(error), ctx, param) from error


def _workers(ctx: click.Context, param: click.Parameter, text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise click.BadParameter(f"must be auto or a number from 1, got {text}", ctx, param)
    return int(text)


def _split(ctx: click.Context, param: click.Parameter, text: str) -> float | None:
    if text == "off":
        return None
    try:
        minutes = float(text)
    except ValueError:
        minutes = 0.0
    if not 0 < minutes < 1e6:
        raise click.BadParameter(f"must be off or minutes, got {text}", ctx, param)
    return 60 * minutes


def _cluster(ctx: click.Context, param: click.Parameter, text: str | None) -> str | None:
    if text is None:
        return None
    name, _, address = text.partition(":")
    if name != "ray":
        raise click.BadParameter(f"only Ray is known: ray or ray:ADDRESS, got {text}", ctx, param)
    return address


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.argument("inputs", nargs=-1, metavar="SOURCE...")
@click.option(
    "--from",
    "lists",
    multiple=True,
    metavar="LIST",
    help="A text with a source a line; - is standard input.",
)
@click.option(
    "-o",
    "--target",
    "out",
    required=True,
    metavar="FOLDER",
    help="Where all results go; the sources' folders are kept below it.",
)
@click.option("-r", "--recursive", is_flag=True, help="Look into folders below folders.")
@click.option(
    "--name",
    "template",
    metavar="TEMPLATE",
    help="What a result is called: {stem} {yaw} {pitch} {suffix} {ext} {number}, and / for "
    "folders.  [default: {stem}_yaw{yaw}{suffix}]",
)
@click.option(
    "--yaw",
    "yaws_rad",
    metavar="ANGLE,...",
    callback=_yaws,
    default="0",
    help="Turn the camera about the vertical; several angles, with commas, in one pass.",
)
@click.option(
    "--workers",
    metavar="auto|N",
    callback=_workers,
    default="auto",
    help="Processes; auto is one for each GPU, or what cores and memory allow.",
)
@click.option(
    "--cluster",
    metavar="ray[:ADDRESS]",
    callback=_cluster,
    help="Workers on a Ray cluster (ray:auto, ray:HOST:PORT), or on one that is started here.",
)
@click.option(
    "--split",
    "split_s",
    metavar="off|MINUTES",
    callback=_split,
    default="10",
    help="On a cluster, films at least twice as long are rendered in parts of this length.",
)
@click.option(
    "--retry",
    "retries",
    type=click.IntRange(0, 100),
    default=0,
    help="More attempts for a file that failed, unless the file itself is at fault.",
)
@click.option("--fail-fast", is_flag=True, help="End at the first failure.")
@click.option(
    "--overwrite", is_flag=True, help="Make results anew that are in the way; good ones are kept."
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option(
    "--progress",
    "style",
    type=click.Choice(get_args(Style)),
    default="auto",
    help="A table on a terminal, lines elsewhere; json for programs.",
)
def batch(
    inputs: tuple[str, ...],
    lists: tuple[str, ...],
    out: str,
    recursive: bool,
    template: str | None,
    yaws_rad: tuple[float, ...],
    workers: int | None,
    cluster: str | None,
    split_s: float | None,
    retries: int,
    fail_fast: bool,
    overwrite: bool,
    dry_run: bool,
    style: Style,
    **chosen: Any,
) -> int:
    """Re-render many talking heads: videos and photographs, folders of them, patterns.

    \b
    tpvideo batch clips/ -o out/ --yaw -0.3
    tpvideo batch 'clips/**/*.mp4' -o out/ --yaw -0.3,0,0.3 --workers 2

    A file that fails is noted and the rest goes on. Started again, it skips what is good. Exit
    codes: 0 all done, 3 some failed, 1 nothing could be done, 2 wrong usage, 130 interrupted.
    """
    settings = config.Settings(**chosen, yaw_rad=yaws_rad[0], overwrite=True)
    for yaw_rad in yaws_rad:
        replace(settings, yaw_rad=yaw_rad)  # refused here when out of range
    if not inputs and not lists:
        raise click.UsageError("name a folder, files, a pattern, or a list with --from")
    listed = [name for path in lists for name in plan.read_list(path)]
    folder: Folder = RemoteFolder(out) if is_remote(out) else LocalFolder(Path(out))
    sources = plan.find_sources(inputs, listed, out, recursive=recursive)
    tasks = plan.tasks(sources, settings, yaws_rad, template)
    digest = settings_digest(settings, weights_digests(settings))
    if dry_run:
        manifest = Manifest(folder, digest)
        manifest.read()
        _show_plan(examine(tasks, manifest, overwrite=overwrite))
        return 0
    request = Request(settings, workers, cluster, split_s, retries, fail_fast, style)
    with folder.held():
        manifest = Manifest(folder, digest)
        manifest.read()
        todo = examine(tasks, manifest, overwrite=overwrite)
        return _carry_out(todo, manifest, folder, request)


def weights_digests(settings: config.Settings) -> dict[str, str]:
    """SHA-256 of the model files that settings name, by what they are for.

    Raises:
        WeightsError: one is missing.
    """
    from tpvideo.weights import directions, folder

    named = {"model": settings.model, "face": "face"}
    if settings.matting not in ("auto", "modnet", "none"):
        named["matting"] = settings.matting
    if settings.edit:
        named["directions"] = str(directions.locate(settings.directions, settings.model))
    return {purpose: sha256_of(folder.locate(name)) for purpose, name in named.items()}


def _carry_out(todo: Plan, manifest: Manifest, folder: Folder, request: Request) -> int:
    from tpvideo.pipeline.batch.page import NAME, page, with_posters

    outcomes, is_interrupted = list(todo.settled), False
    files, length = len(outcomes) + len(todo.wanted), sum(task.bytes for task in todo.wanted)
    with shown(request.style, files, length) as tally:
        for outcome in outcomes:
            tally.ended(outcome)
        if todo.wanted:
            made, is_interrupted = carry_out(todo.wanted, tally, manifest, folder, request)
            outcomes += made
    if isinstance(folder, LocalFolder):
        outcomes = with_posters(outcomes, folder)
    folder.write(NAME, page(outcomes, request.title).encode())
    if request.style in ("auto", "plain"):
        _show_summary(outcomes, folder)
    return exit_code(outcomes, is_interrupted=is_interrupted)


def _show_plan(todo: Plan) -> None:
    for task in todo.wanted:
        for target in task.targets:
            click.echo(f"would make  {printable(target.name)}  of  {printable(task.source)}")
    for outcome in todo.settled:
        click.echo(described(outcome))
    settled = Counter(outcome.state for outcome in todo.settled)
    click.echo(
        f"{len(todo.wanted)} files to do, {settled['good']} good already, "
        f"{settled['failed']} refused"
    )


def _show_summary(outcomes: Sequence[Outcome], folder: Folder) -> None:
    counts = Counter(outcome.state for outcome in outcomes)
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    for outcome in failed[:MOST_NAMED]:
        click.echo(described(outcome))
    if len(failed) > MOST_NAMED:
        click.echo(f"and {len(failed) - MOST_NAMED} more")
    said = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    click.echo(f"{said}: {folder.root}/index.html")
