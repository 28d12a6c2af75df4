"""Reads frames with an installed FFmpeg, through ffmpeg-python, instead of PyAV.

For those whose own FFmpeg has a decoder that PyAV's lacks. ffprobe gives the times, ffmpeg the
stored pictures as full-range RGB; PyAV still says how they lie and what an untagged one means. What
this cannot do as well as the other decoder is an error that names the way out.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace

from tpvideo.pipeline.errors import InputError, MissingExtraError
from tpvideo.pipeline.frame import Image
from tpvideo.stages.colour import assumed_matrix
from tpvideo.stages.media import RESTRAINT, file_url, open_media, pick_video
from tpvideo.stages.upright import Upright

WAY_OUT = "use the decoder av"
MATRIX_NAMES = {Colorspace.ITU709: "bt709", Colorspace.ITU601: "bt601"}
"""What the filter `scale` calls them."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What is known of a stream before ffmpeg is asked for it."""

    index: int
    time_base: Fraction
    width: int
    height: int
    matrix: str | None
    upright: Upright


def ffmpeg_frames(path: Path) -> Generator[tuple[int | None, Callable[[], Image]], None, None]:
    """Every frame: its pts in the stream's time base, and how to get its picture.

    The generator owns a process, which ends with it: exhaust it or close it.

    Raises:
        InputError: FFmpeg is not installed, cannot read the file, or would distort frames.
        MissingExtraError: ffmpeg-python is not installed.
    """
    wrapper = _wrapper()
    for program in ("ffmpeg", "ffprobe"):
        if shutil.which(program) is None:
            reason = f"there is no program {program} on the PATH; install FFmpeg or {WAY_OUT}"
            raise InputError(path, reason)
    picture = _expectations(path)
    times = _presentation_times(wrapper, path, picture)
    shape = (picture.height, picture.width, 3)
    with _running(_command(wrapper, path, picture)) as (process, output):
        for number, pts in enumerate(times):
            stored = output.read(picture.height * picture.width * 3)
            if len(stored) < picture.height * picture.width * 3:
                reason = f"ffmpeg (it must be 5.1 or newer) fails at frame {number}; {WAY_OUT}"
                raise InputError(path, reason)
            yield pts, _finisher(np.frombuffer(stored, np.uint8).reshape(shape), picture.upright)
        if output.read(1) or process.wait():
            reason = f"ffmpeg fails after frame {len(times) - 1}, the last it promised; {WAY_OUT}"
            raise InputError(path, reason)


def _wrapper() -> Any:
    try:
        import ffmpeg
    except ImportError as error:
        raise MissingExtraError("ffmpeg-python", "ffmpeg", "the decoder ffmpeg") from error
    return ffmpeg


def _expectations(path: Path) -> Picture:
    with open_media(path) as container:
        stream = pick_video(container, path)
        try:
            first = next(container.decode(stream), None)
        except av.error.FFmpegError as error:
            raise InputError(path, f"its first frame is damaged; {WAY_OUT}") from error
        if first is None:
            raise InputError(path, "it has a video stream, but not one frame can be decoded")
        upright = Upright(first, stream.sample_aspect_ratio)
        if upright.grade.changes_pixels:
            raise InputError(path, f"the decoder ffmpeg keeps its wide colours; {WAY_OUT}")
        assumed = assumed_matrix(first)
        matrix = None if assumed is None else MATRIX_NAMES[assumed]
        time_base = Fraction(stream.time_base or Fraction(1, 1000))
        return Picture(stream.index, time_base, first.width, first.height, matrix, upright)


def _presentation_times(wrapper: Any, path: Path, picture: Picture) -> list[int | None]:
    try:
        facts = wrapper.probe(
            file_url(path),
            v="quiet",
            **RESTRAINT,
            select_streams=str(picture.index),
            show_entries="frame=best_effort_timestamp",
        )
    except wrapper.Error as error:
        raise InputError(path, f"ffprobe cannot read it; {WAY_OUT}") from error
    ticks = Fraction(facts["streams"][0]["time_base"]) / picture.time_base
    times = [frame.get("best_effort_timestamp") for frame in facts["frames"]]
    return [None if time is None else round(time * ticks) for time in times]


def _command(wrapper: Any, path: Path, picture: Picture) -> list[str]:
    """ffmpeg's arguments: the stored pictures, unturned, one after the other as RGB bytes."""
    source = wrapper.input(file_url(path), noautorotate=None, **RESTRAINT)
    colours = {} if picture.matrix is None else {"in_color_matrix": picture.matrix}
    scaled = source[str(picture.index)].filter(
        "scale", picture.width, picture.height, out_range="full", flags="bilinear", **colours
    )
    # Each frame once, whatever its time; and an end, not a guess, where one is damaged.
    output = scaled.output("pipe:", format="rawvideo", pix_fmt="rgb24", fps_mode="passthrough")
    command: list[str] = output.global_args("-v", "quiet", "-nostdin", "-xerror").compile()
    return command


@contextmanager
def _running(command: list[str]) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    """A process and its output, both gone afterwards.

    ffmpeg-python's own run_async would leave it in our process group, where Ctrl-C ends it before
    the frames under way are through.
    """
    apart: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        apart = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    quiet = subprocess.DEVNULL
    with subprocess.Popen(
        command, stdin=quiet, stdout=subprocess.PIPE, stderr=quiet, **apart
    ) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout
        finally:
            process.kill()


def _finisher(stored: Image, upright: Upright) -> Callable[[], Image]:
    return lambda: upright(VideoFrame.from_ndarray(stored, format="rgb24"))
