"""`tpvideo live`: options, what is said meanwhile, and a table at the end."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tpvideo.pipeline import config, progress
from tpvideo.pipeline.live.controls import ZOOMS, Controls
from tpvideo.pipeline.live.wishes import parse_delay, parse_size
from tpvideo.pipeline.options import (
    DETAIL,
    DEVICE,
    DIRECTIONS,
    EDIT,
    FACE,
    FACE_MODEL,
    MATTING,
    MODEL,
    PRECISION,
    choice,
    parsed,
)

if TYPE_CHECKING:
    from tpvideo.pipeline.live.session import Session
    from tpvideo.stages.live import LiveSource

LINE_S = 5.0
"""How often a line says how it goes."""


@click.command(
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
    epilog="Without --page, --window, --virtual-cam or --record, the page is what you get. On "
    "another machine, use the page through 'ssh -L 8765:localhost:8765 MACHINE'.",
)
@click.option(
    "--camera",
    metavar="auto|N|NAME|PATH|URL",
    default="auto",
    help="A camera, by number or part of its name; a stream; or a film, at its own pace.",
)
@click.option("--list-cameras", is_flag=True, help="Show the cameras there are, and end.")
@click.option("--page-camera", is_flag=True, help="Take the camera of the browser on the page.")
@click.option(
    "--camera-size",
    metavar="WxH",
    callback=parsed(parse_size),
    default="1280x720",
    help="What to ask of the camera.",
)
@click.option("--camera-rate", type=int, default=30, help="Pictures a second, likewise.")
@click.option("--loop", is_flag=True, help="Play a film again and again.")
@click.option(
    "--yaw",
    "yaw_rad",
    metavar="ANGLE",
    callback=parsed(config.parse_angle),
    default="0",
    help="Turn the camera about the vertical: radians, or 17deg.",
)
@click.option(
    "--pitch",
    "pitch_rad",
    metavar="ANGLE",
    callback=parsed(config.parse_angle),
    default="0",
    help="Move the camera up.",
)
@click.option("--zoom", type=click.FloatRange(*ZOOMS), default=1.0)
@click.option("--mirror", is_flag=True, help="Flip the picture, as a mirror does.")
@click.option("--view", type=choice(config.View), default="fixed")
@click.option(
    "--background", metavar="COLOUR", default="black", help="black, white, #rrggbb, blur or source."
)
@click.option(
    "--smooth", metavar="auto|off|0..1", callback=parsed(config.parse_smooth), default="auto"
)
@click.option(
    "--preset",
    type=choice(config.Preset),
    default="balanced",
    help="fast: 256 pixels without the source's detail; balanced: 512; quality: 1024.",
)
@click.option(
    "--size",
    type=int,
    default=0,
    show_default="by the preset",
    help="Side of the picture in pixels; cheaper presets are enlarged to it.",
)
@click.option(
    "--max-latency",
    "max_latency_s",
    metavar="150ms|2s",
    callback=parsed(parse_delay),
    help="Lower the preset when more than 5 % of the pictures come later.",
)
@click.option("--in-flight", type=click.IntRange(1, 16), help="Most frames worked on at once.")
@click.option(
    "--on-lost",
    type=click.Choice(["blank", "source", "hold"]),
    default="blank",
    help="What to fade to when the face is gone: the background, the camera's picture, nothing.",
)
@click.option("--page", is_flag=True, help="A page with picture, knobs and figures.")
@click.option("--host", default="127.0.0.1", help="Another address needs the token of the link.")
@click.option("--port", type=click.IntRange(0, 65535), default=8765, help="0 takes a free one.")
@click.option("--window", is_flag=True, help="A window on this machine.")
@click.option(
    "--virtual-cam",
    metavar="[DEVICE]",
    is_flag=False,
    flag_value="auto",
    help="A camera for other programs; the first there is, or the named one.",
)
@click.option("--record", metavar="OUT", type=click.Path(path_type=Path), help="A film of it all.")
@click.option(
    "--mic",
    metavar="[NAME]",
    is_flag=False,
    flag_value="auto",
    help="Record sound as well: the system's microphone, the named one, or the film's own.",
)
@click.option("--overwrite", is_flag=True, help="Replace the film if it exists.")
@click.option("--seconds", type=click.FloatRange(min=0.1), help="End after so long.")
@MODEL
@EDIT
@DIRECTIONS
@MATTING
@FACE_MODEL
@FACE
@DETAIL
@DEVICE
@PRECISION
@click.option(
    "--provenance/--no-provenance",
    default=True,
    help="Note in recordings and snapshots that they are synthetic views.",
)
@click.option("--quiet", is_flag=True, help="Say nothing but errors and the page's address.")
def live(list_cameras: bool, quiet: bool, **options: Any) -> int:
    """Turn the speaker in front of a camera, as it happens.

    \b
    tpvideo live --yaw -0.3
    tpvideo live --yaw -0.3 --virtual-cam --window
    tpvideo live --camera talk.mp4 --loop --page
    """
    if list_cameras:
        return _list_cameras()
    with progress.notices(shown=not quiet), ExitStack() as stack:
        session = make_session(options)
        if not quiet:
            say = lambda: click.echo(session.line(), err=True)  # noqa: E731
            stack.enter_context(progress.every(LINE_S, say))
        report = session.run()
    if not quiet:
        progress.show_table(report)
        click.echo(session.account(report))
    return 0


def make_session(options: dict[str, Any]) -> Session:
    """The session that options ask for, not yet running."""
    from tpvideo.pipeline.live.page.camera import PageCamera
    from tpvideo.pipeline.live.session import Session, Wanted
    from tpvideo.stages.camera import open_live
    from tpvideo.stages.devices import Wish

    def chosen(kind: Any) -> dict[str, Any]:
        return {field.name: options[field.name] for field in fields(kind) if field.name in options}

    controls, settings = Controls(**chosen(Controls)), config.Settings(**chosen(config.Settings))
    wanted = Wanted(**chosen(Wanted) | {"page": wants_page(options)})
    source: LiveSource
    if options["page_camera"]:
        source = PageCamera()
    else:
        width, height = options["camera_size"]
        wish = Wish(width=width, height=height, rate=options["camera_rate"])
        source = open_live(options["camera"], wish, loop=options["loop"])
    return Session(source, settings, controls, wanted, on_ready=_say_where)


def wants_page(options: dict[str, Any]) -> bool:
    """Asked for, needed by the page's camera, or wanted for want of anything else."""
    others = ("window", "virtual_cam", "record")
    return options["page"] or options["page_camera"] or not any(options[name] for name in others)


def _say_where(url: str) -> None:
    click.echo(f"the page is at {url}")


def _list_cameras() -> int:
    from tpvideo.stages.devices import list_cameras

    cameras = list_cameras()
    for number, camera in enumerate(cameras):
        click.echo(f"{number}  {camera.name}  {camera.description}")
    if not cameras:
        click.echo("no camera found; --camera film.mp4 works without one")
    return 0 if cameras else 1
