"""What the commands' options have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import click

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
