"""What the commands' options have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import click

from tpvideo.pipeline import config
from tpvideo.pipeline.errors import ConfigError


def parsed(parse: Callable[[str], object]) -> Callable[..., object]:
    """A click callback that turns an option's text into its value, or complains in one line."""

    def convert(ctx: click.Context, param: click.Parameter, text: str | None) -> object:
        try:
            return None if text is None else parse(text)
        except ConfigError as error:
            raise click.BadParameter(str(error), ctx, param) from error

    return convert


def parsed_each(parse: Callable[[str], object]) -> Callable[..., tuple[object, ...]]:
    """The same for an option that may be given several times."""

    def convert(
        ctx: click.Context, param: click.Parameter, texts: tuple[str, ...]
    ) -> tuple[object, ...]:
        one = parsed(parse)
        return tuple(one(ctx, param, text) for text in texts)

    return convert


def choice(kind: Any) -> click.Choice[str]:
    """The values of a Literal."""
    return click.Choice(get_args(kind))


def parse_face(text: str) -> str | int:
    """largest, center, or a number from the left."""
    return int(text) if text.isdecimal() else text


# Decorators for the settings that several commands take.
MODEL = click.option(
    "--model",
    default="default",
    metavar="NAME|PATH",
    show_default=True,
    help="default, ffhq512, or a model file.",
)
MATTING = click.option(
    "--matting",
    default="auto",
    metavar="NAME|PATH",
    show_default=True,
    help="auto, modnet, none, or an ONNX file with MODNet's contract.",
)
FACE_MODEL = click.option(
    "--face-model", type=choice(config.FaceModel), default="auto", show_default=True
)
FACE = click.option(
    "--face",
    metavar="largest|center|N",
    callback=parsed(parse_face),
    default="largest",
    show_default=True,
    help="Which face, when there are several; 1 is the leftmost.",
)
DETAIL = click.option(
    "--detail",
    type=choice(config.Detail),
    default="auto",
    show_default=True,
    help="Take visible detail from the source frame, or all of it from the model's volume; auto "
    "takes it except with published models.",
)
EDIT = click.option(
    "--edit",
    metavar="NAME=STRENGTH",
    multiple=True,
    callback=parsed_each(config.parse_edit),
    help="Change the face along a direction, such as smile=1.5; may be given several times.",
)
DIRECTIONS = click.option(
    "--directions",
    metavar="FILE",
    help="The directions that --edit names. [default: those that come with the model]",
)
DEVICE = click.option("--device", type=choice(config.Device), default="auto", show_default=True)
PRECISION = click.option(
    "--precision", type=choice(config.Precision), default="auto", show_default=True
)
