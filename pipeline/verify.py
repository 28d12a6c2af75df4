"""`tpvideo verify SOURCE OUT`: hold a result to its source, rule by rule."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import click

from tpvideo.pipeline import config
from tpvideo.pipeline.errors import ConfigError, InputError
from tpvideo.pipeline.record import read_record, sha256_of


def _trim(ctx: click.Context, param: click.Parameter, text: str | None) -> config.Trim | None:
    try:
        return None if text is None else config.parse_trim(text)
    except ConfigError as error:
        raise click.BadParameter(str(error), ctx, param) from error


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--trim", metavar="FROM-TO", callback=_trim, help="OUT shows only this part of SOURCE."
)
@click.option(
    "--audio",
    type=click.Choice(["copy", "none"]),
    help="Whether OUT is meant to have the sound of SOURCE.",
)
@click.option(
    "--report",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The report of the run that made OUT: both files must still be those it tells of.",
)
def verify(
    source: Path,
    out: Path,
    trim: config.Trim | None,
    audio: Literal["copy", "none"] | None,
    report: Path | None,
) -> int:
    """Hold OUT to SOURCE: every frame there, at its time, with the same sound.

    OUT is a film, a picture, a folder of pictures or a numbered name such as view_%05d.png. What a
    run left out on purpose is read from its report or from the note in OUT's metadata, unless
    --trim and --audio say it.

    Exit codes: 0 every rule holds, 1 one is broken or a file cannot be read, 2 wrong usage.
    """
    from tpvideo.stages.compare import Plan, compare, plan_of

    plan = plan_of(out)
    record = None if report is None else read_record(report)
    if record is not None:
        has_sound = record.settings.get("audio") != "none"
        plan = Plan(trim=_trim_of(record.settings, report), has_sound=has_sound)
        _expect_same(source, record.source, report)
        _expect_same(out, record.target, report)
    plan = Plan(
        trim=plan.trim if trim is None else trim,
        has_sound=plan.has_sound if audio is None else audio == "copy",
    )
    verdicts = compare(source, out, plan)
    for verdict in verdicts:
        click.echo(f"{'ok' if verdict.holds else 'BROKEN':7} {verdict.rule:10} {verdict.said}")
    broken = [verdict.rule for verdict in verdicts if not verdict.holds]
    click.echo(f"{out}: broken: {', '.join(broken)}" if broken else f"{out}: every rule holds")
    return 1 if broken else 0


def _trim_of(settings: Mapping[str, Any], report: Path | None) -> config.Trim | None:
    trim = settings.get("trim")
    try:
        begin, end = (None if at is None else Fraction(at) for at in trim or (None, None))
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise InputError(report, f"the trim in the report is no trim: {trim}") from error
    return None if trim is None else (begin, end)


def _expect_same(path: Path, told: Mapping[str, Any], report: Path | None) -> None:
    """Refuse a file that is not the one the report tells of; folders have no digest."""
    if path.is_file() and told.get("sha256") != sha256_of(path):
        raise InputError(path, f"it is not the file that {report} tells of, or was changed since")
