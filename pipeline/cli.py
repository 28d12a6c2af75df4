"""The command `tpvideo`: arguments, progress, exit codes, and no other logic.

Exit codes: see tpvideo.pipeline.exits.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from tpvideo.pipeline import config, progress
from tpvideo.pipeline.batch.command import batch_command
from tpvideo.pipeline.benchmark.command import bench_command
from tpvideo.pipeline.doctor import doctor
from tpvideo.pipeline.editing.command import edit_command
from tpvideo.pipeline.errors import ConfigError, TpvideoError, in_one_line, printable
from tpvideo.pipeline.evaluation.command import evaluate
from tpvideo.pipeline.exits import INTERRUPTED, exit_code
from tpvideo.pipeline.invert_command import invert
from tpvideo.pipeline.live.command import live
from tpvideo.pipeline.mesh.command import mesh
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
from tpvideo.pipeline.resume import how_to_go_on, resumable
from tpvideo.pipeline.signals import Terminated, endings_raise
from tpvideo.pipeline.verify import verify
from tpvideo.weights.cli import weights

NOTHING = "nothing was written"


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit; an error is one line on standard error."""
    # Waiting OpenMP threads that spin would steal the cores from the other stages; torch reads
    # this once, when it is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        with endings_raise():
            code = program.main(arguments, prog_name="tpvideo", standalone_mode=False)
    except Terminated as error:
        _complain(f"ended by {error.signal}; {_kept(error, arguments) or NOTHING}")
        raise
    except (click.Abort, KeyboardInterrupt) as error:
        _complain(f"interrupted; {_kept(error, arguments) or NOTHING}")
        sys.exit(INTERRUPTED)
    except click.ClickException as error:
        _complain(f"error: {error.format_message()}")
        sys.exit(error.exit_code)
    except TpvideoError as error:
        _complain(f"error: {in_one_line(error)}")
        if kept := _kept(error, arguments):
            _complain(kept)
        sys.exit(exit_code(error))
    sys.exit(code)


class Program(click.Group):
    """Runs the sub-command that the first argument names, else `fallback` with all arguments.

    `tpvideo talk.mp4` and `tpvideo weights list` both work; a file called weights is ./weights.
    """

    def __init__(self, fallback: click.Command, commands: Sequence[click.Command]) -> None:
        super().__init__(fallback.name, commands)
        self._fallback = fallback

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """The context of the sub-command's group, or of the fallback, under the program's name."""
        if args and args[0] in self.commands:
            return super().make_context(info_name, args, parent, **extra)
        return self._fallback.make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Call what make_context chose."""
        return super().invoke(ctx) if ctx.command is self else ctx.command.invoke(ctx)


def _count(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdecimal():
        raise ConfigError(f"must be auto or a number, got {text!r}")
    return int(text)


@click.command(
    epilog="Commands: 'tpvideo weights list' shows the model files there are, 'tpvideo doctor' "
    "checks this machine and runs each of them, 'tpvideo verify SOURCE OUT' holds a result to its "
    "source. A source with the name of a command is given as ./name. Exit codes: 0 done, 1 failed, "
    "2 wrong usage, 3 done with losses (such as frames without a face), 130 interrupted.",
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
)
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--target",
    metavar="OUT",
    type=click.Path(path_type=Path),
    help="What to write, its kind by its suffix: .mp4 .mov .mkv .webm, a picture, or a "
    "folder for a sequence. Left out, it is named after the source and the angles.",
)
@click.option(
    "--yaw",
    "yaw_rad",
    metavar="ANGLE",
    callback=parsed(config.parse_angle),
    default="0",
    help="Turn the camera about the vertical: radians, or 17deg. At most 1.2 rad.",
)
@click.option(
    "--pitch",
    "pitch_rad",
    metavar="ANGLE",
    callback=parsed(config.parse_angle),
    default="0",
    help="Move the camera up. At most 0.8 rad.",
)
@click.option(
    "--view",
    type=choice(config.View),
    default="fixed",
    help="fixed: the head stays in place; follow: the speaker's own motion stays.",
)
@click.option(
    "--background",
    metavar="COLOUR",
    default="black",
    help="black, white, #rrggbb, blur, source or transparent.",
)
@click.option(
    "--preset",
    type=choice(config.Preset),
    default="balanced",
    help="fast: 256 pixels, volume and surface coarser; balanced: 512; quality: 1024.",
)
@click.option(
    "--size",
    type=int,
    default=0,
    show_default="by the preset",
    help="Side of the picture in pixels.",
)
@DETAIL
@click.option(
    "--output",
    "layout",
    type=choice(config.Layout),
    default="crop",
    help="The novel view alone, or beside the source's crop, or put back into the source's whole "
    "frame.",
)
@click.option("--crf", type=int, default=18, help="0 is best, 51 smallest.")
@click.option("--codec", metavar="NAME", help="h264, hevc, vp9 or prores. [default: by the suffix]")
@click.option("--audio", type=choice(config.Audio), default="copy")
@MODEL
@EDIT
@DIRECTIONS
@MATTING
@FACE_MODEL
@FACE
@click.option(
    "--on-lost",
    type=choice(config.OnLost),
    default="hold",
    help="What to show while no face is in sight.",
)
@click.option(
    "--min-confidence",
    metavar="0..1",
    type=float,
    default=0.0,
    help="Take frames whose head is less sure than this for frames without a face.",
)
@click.option(
    "--smooth",
    metavar="auto|off|0..1",
    callback=parsed(config.parse_smooth),
    default="auto",
    help="All smoothing in time.",
)
@click.option("--decoder", type=choice(config.Decoder), default="av")
@click.option(
    "--trim",
    metavar="FROM-TO",
    callback=parsed(config.parse_trim),
    help="Only this part of the source, such as 0:05-0:20.",
)
@click.option(
    "--queue",
    type=int,
    default=4,
    help="Most frames waiting between two stages.",
)
@click.option(
    "--batch-size",
    metavar="auto|N",
    callback=parsed(_count),
    default="auto",
    help="Most frames inverted at once.",
)
@click.option(
    "--stall-timeout",
    "stall_timeout_s",
    metavar="SECONDS|off",
    callback=parsed(config.parse_timeout),
    default="120",
    help="Fail when the source gives no frame for so long.",
)
@click.option(
    "--max-pixels",
    metavar="N",
    callback=parsed(config.parse_count),
    default="100M",
    help="Refuse sources whose pictures are larger.",
)
@click.option(
    "--max-frames",
    metavar="N",
    callback=parsed(config.parse_count),
    default="900k",
    help="Refuse sources with more frames.",
)
@DEVICE
@PRECISION
@click.option("--overwrite", is_flag=True, help="Replace the target if it exists.")
@click.option("--resume", is_flag=True, help="Go on where an interrupted run stopped.")
@click.option(
    "--provenance/--no-provenance",
    default=True,
    help="Say in the result's metadata that it is a synthetic view, and how it was made.",
)
@click.option(
    "--report",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write what was done and what was lost as JSON, also when the run fails.",
)
@click.option(
    "--progress",
    "style",
    type=choice(progress.Style),
    default="auto",
    help="A bar on a terminal, lines elsewhere.",
)
@click.option("--quiet", is_flag=True, help="Say nothing but errors.")
@click.version_option(package_name="tpvideo", message="%(prog)s %(version)s")
def render(
    source: Path,
    target: Path | None,
    report: Path | None,
    style: progress.Style,
    quiet: bool,
    **settings: Any,
) -> int:
    """Re-render a talking head in SOURCE, a video or photograph, from another side.

    \b
    tpvideo talk.mp4 --yaw -0.3
    tpvideo talk.mp4 --yaw 17deg --background blur -o turned.mp4
    """
    chosen = config.Settings(**settings)
    from tpvideo.pipeline import app, recorded  # load torch, so only when there is work for them

    target = target or app.default_target(source, chosen)
    with (
        progress.notices(shown=not quiet),
        recorded.recorded(report, source, target, chosen) as recording,
    ):
        pipeline = recording.pipeline = app.assemble(source, target, chosen)
        with resumable(target), progress.shown(pipeline, "none" if quiet else style):
            account = pipeline.run()
    if not quiet:
        progress.show_outcome(account, target)
    return exit_code(account)


program = Program(
    render,
    [
        batch_command(render),
        live,
        edit_command,
        invert,
        mesh,
        verify,
        bench_command(render),
        evaluate,
        weights,
        doctor,
    ],
)


def _kept(error: BaseException, arguments: Sequence[str] | None) -> str | None:
    return how_to_go_on(error, sys.argv[1:] if arguments is None else arguments)


def _complain(text: str) -> None:
    click.echo(f"tpvideo: {printable(text)}", err=True)
