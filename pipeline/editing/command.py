"""`tpvideo edit`: find directions, name them, and show what they do; arguments and messages."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tpvideo.pipeline import config, progress
from tpvideo.pipeline.errors import ConfigError, OutputError
from tpvideo.pipeline.options import (
    DETAIL,
    DEVICE,
    FACE_MODEL,
    MATTING,
    MODEL,
    PRECISION,
    parsed,
)

if TYPE_CHECKING:
    from tpvideo.pipeline.editing.faces import Studio
    from tpvideo.pipeline.editing.sheet import Look
    from tpvideo.weights.directions import Directions

LEARNT_FROM = 20
"""Faces of each file that a direction is learnt from, where --most does not say."""


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"{text!r} are no numbers with commas between, such as -2,0,2") from None


def _angles(text: str) -> tuple[float, ...]:
    return tuple(config.parse_angle(part) for part in text.split(","))


def _layers(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    if match is None:
        raise ConfigError(f"{text!r} are no layers; write 0-5, or 3")
    return int(match[1]), int(match[2] or match[1])


@click.command("edit", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("paths", nargs=-1, metavar="[FACE]...", type=click.Path(path_type=Path))
@click.option(
    "--discover", is_flag=True, help="Find the ways in which FACEs differ most (GANSpace)."
)
@click.option(
    "--from",
    "with_it",
    metavar="FACES",
    type=click.Path(path_type=Path),
    help="Learn a direction from faces with something,",
)
@click.option(
    "--against",
    "without",
    metavar="FACES",
    type=click.Path(path_type=Path),
    help="and faces without it.",
)
@click.option("--direction", metavar="NAME", help="Show what a direction makes of FACEs.")
@click.option("--rename", metavar="OLD=NEW", help="Give a direction of --directions another name.")
@click.option(
    "-o",
    "--target",
    metavar="OUT",
    type=click.Path(path_type=Path),
    help="The directions file, which keeps its other directions; or the sheet, a picture.",
)
@click.option("--name", help="What the direction of --from and --against is called.")
@click.option(
    "--space",
    type=click.Choice(["latents", "planes"]),
    default="latents",
    show_default=True,
    help="What --from and --against compare: W, as in the paper, or the planes themselves.",
)
@click.option(
    "--layers", metavar="A-B", callback=parsed(_layers), help="Latents to change. [default: all]"
)
@click.option(
    "--ridge",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="Regress the label on the latents; 0 takes the difference of means.",
)
@click.option(
    "--mirror/--no-mirror",
    default=True,
    show_default=True,
    help="Learn from each face mirrored as well.",
)
@click.option(
    "--components",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    help="How many --discover finds.",
)
@click.option(
    "--samples",
    type=click.IntRange(min=2),
    default=10_000,
    show_default=True,
    help="Faces that a generator with a mapping network draws where none is named.",
)
@click.option(
    "--most",
    type=click.IntRange(min=1),
    help=f"Faces taken of each file. [default: {LEARNT_FROM}; one for a sheet]",
)
@click.option(
    "--sheet",
    metavar="PICTURE",
    type=click.Path(path_type=Path),
    help="Where --discover shows what it found. [default: beside OUT]",
)
@click.option(
    "--strengths",
    metavar="X,...",
    callback=parsed(_numbers),
    default="-2,0,2",
    show_default=True,
    help="Columns of a sheet.",
)
@click.option(
    "--yaws",
    "yaws_rad",
    metavar="ANGLE,...",
    callback=parsed(_angles),
    help="Cameras of a sheet. [default: 0,0.4; 0 for --discover]",
)
@click.option(
    "--inverter",
    "method",
    default="encoder",
    show_default=True,
    metavar="METHOD",
    help="How faces of a sheet are put into 3D: encoder; w:offsets, as in the paper.",
)
@click.option("--steps", type=click.IntRange(min=1), help="Of an optimising inverter.")
@click.option("--directions", metavar="FILE", help="The directions to show or rename.")
@click.option(
    "--side",
    "side_px",
    type=click.IntRange(32, 1024),
    default=256,
    show_default=True,
    help="Of the pictures on a sheet.",
)
@MODEL
@DETAIL
@MATTING
@FACE_MODEL
@DEVICE
@PRECISION
def edit_command(
    paths: tuple[Path, ...],
    target: Path | None,
    discover: bool,
    with_it: Path | None,
    without: Path | None,
    direction: str | None,
    rename: str | None,
    directions: str | None,
    **options: Any,
) -> None:
    """Find directions for --edit, and show what they do.

    \b
    tpvideo edit faces/ --discover -o found.safetensors
    tpvideo edit --rename c3=smile --directions found.safetensors
    tpvideo edit --from smiling/ --against serious/ --name smile -o found.safetensors
    tpvideo edit a.jpg b.jpg --direction smile --strengths -2,0,2 -o sheet.png

    A FACE is a photograph, a clip, a file of synthetic heads (.npz), or a folder of such.
    Without a task, the directions of the model, or of --directions, are listed.
    """
    learns = bool(with_it or without)
    if [discover, learns, direction is not None, rename is not None].count(True) > 1:
        raise click.UsageError("--discover, --from, --direction and --rename are different tasks")
    names = {"matting", "face_model", "device", "precision", "model", "detail"}
    settings = config.Settings(
        directions=directions, **{name: options[name] for name in options.keys() & names}
    )
    with progress.notices(shown=True):
        if discover:
            _discover(paths, _expect(target, "-o"), settings, options)
        elif learns:
            _learn(
                _expect(with_it, "--from"),
                _expect(without, "--against"),
                _expect(target, "-o"),
                settings,
                options,
            )
        elif direction is not None:
            _show(paths, direction, _expect(target, "-o"), settings, options)
        elif rename is not None:
            _rename(rename, settings)
        else:
            _list(settings)


def _expect(path: Path | None, option: str) -> Path:
    if path is None:
        raise click.UsageError(f"this task needs {option}")
    return path


def _discover(
    paths: tuple[Path, ...], target: Path, settings: config.Settings, options: dict[str, Any]
) -> None:
    from tpvideo.pipeline.editing import find, sheet
    from tpvideo.pipeline.editing.faces import Studio, every_face
    from tpvideo.stages.networks.inverters_by_steps import inverter

    find.check_target(target, settings.model)
    studio = Studio.load(settings)
    found = find.discovered(
        studio,
        paths,
        options["components"],
        options["layers"],
        most=options["most"] or LEARNT_FROM,
        samples=options["samples"],
    )
    kept = find.keep(target, found, settings.model)
    _say(kept, found)
    if not paths:
        click.echo("name a FACE with --direction to see what a component does")
        return
    sitter = sheet.inverted(studio, *next(every_face(studio, paths, 1)), inverter("encoder"))
    path = options["sheet"] or target.with_suffix(".png")
    shown = find.only(kept, found)
    sheet.save(sheet.components_sheet(studio, sitter, shown, _look(studio, options, (0.0,))), path)
    click.echo(f"{path} shows them; name them with --rename c0=NAME --directions {target}")


def _learn(
    with_it: Path, without: Path, target: Path, settings: config.Settings, options: dict[str, Any]
) -> None:
    from tpvideo.pipeline.editing import find
    from tpvideo.pipeline.editing.faces import Studio

    name = options["name"]
    if not name:
        raise click.UsageError("this task needs --name")
    config.Settings(edit=((name, 1.0),))  # refused here when it is no name
    find.check_target(target, settings.model)
    found = find.told_apart(
        Studio.load(settings),
        with_it,
        without,
        options["space"],
        options["layers"],
        ridge=options["ridge"],
        most=options["most"] or LEARNT_FROM,
        mirrored=options["mirror"],
    )
    _say(find.keep(target, {name: found}, settings.model), [name])


def _show(
    paths: tuple[Path, ...],
    direction: str,
    target: Path,
    settings: config.Settings,
    options: dict[str, Any],
) -> None:
    from tpvideo.pipeline.editing import sheet
    from tpvideo.pipeline.editing.faces import Studio, every_face
    from tpvideo.stages.networks.inverters_by_steps import inverter
    from tpvideo.weights import directions

    if not paths:
        raise click.UsageError("name the faces to edit")
    try:
        invert = inverter(options["method"], steps=options["steps"])
    except ValueError as error:
        raise ConfigError(str(error)) from error
    path = directions.locate(settings.directions, settings.model)
    known = directions.read(path, settings.model)
    known.shift([(direction, 1.0)], path)  # refused here when there is none
    if not target.parent.is_dir():
        raise OutputError(target, "its folder does not exist")
    studio = Studio.load(settings, is_lean=options["method"] == "encoder")
    sitters = [
        sheet.inverted(studio, name, seen, invert)
        for name, seen in every_face(studio, paths, options["most"] or 1)
    ]
    look = _look(studio, options, (0.0, 0.4))
    sheet.save(sheet.edits_sheet(studio, sitters, known, direction, look), target)


def _look(studio: Studio, options: dict[str, Any], yaws_rad: tuple[float, ...]) -> Look:
    from tpvideo.pipeline import app
    from tpvideo.pipeline.editing.sheet import Look

    return Look(
        strengths=options["strengths"],
        yaws_rad=options["yaws_rad"] or yaws_rad,
        side_px=options["side_px"],
        detail=app.takes_detail(studio.settings.detail, studio.networks.triplane),
    )


def _rename(text: str, settings: config.Settings) -> None:
    from tpvideo.weights import directions

    old, equals, new = text.partition("=")
    if not equals:
        raise ConfigError(f"{text!r} renames nothing; write OLD=NEW, such as c3=smile")
    config.Settings(edit=((new, 1.0),))
    path = directions.locate(settings.directions, settings.model)
    known = directions.read(path, settings.model)
    known.shift([(old, 1.0)], path)
    if new in known.by_name:
        raise ConfigError(f"{path} already has a direction {new}")
    renamed = {new if name == old else name: each for name, each in known.by_name.items()}
    directions.write(path, directions.Directions(known.generator, known.model, renamed))


def _list(settings: config.Settings) -> None:
    from tpvideo.weights import directions

    path = directions.locate(settings.directions, settings.model)
    known = directions.read(path, settings.model)
    click.echo(str(path))
    _say(known, known.by_name)


def _say(known: Directions, names: Iterable[str]) -> None:
    for name in names:
        each = known.by_name[name]
        where = "planes" if each.layers is None else "layers {}-{}".format(*each.layers)
        click.echo(f"{name:12} {where:12} {each.about}")
