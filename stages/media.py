"""Opens media files, with our errors, and finds in them what the two ends of a run agree on.

The decoder and the encoder both read the source: one its pictures, the other its sound. Which
stream is the picture and which moment is time zero is therefore decided here, once.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
from av.codec.hwaccel import HWAccel
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from tpvideo.pipeline.config import MOST_PIXELS
from tpvideo.pipeline.errors import ConfigError, InputError

Trim = tuple[Fraction | float | None, Fraction | float | None]
"""Seconds from the source's start, half-open: [from, to); None is the source's own end."""

INDEXED = frozenset({"mp4", "matroska"})
"""Containers with an index to seek by; in others a search may land anywhere."""
PICTURE_CODECS = frozenset({"mjpeg", "png", "bmp", "tiff", "webp", "gif"})
FORMATS = (
    "mov", "matroska", "mpegts", "mpeg", "avi", "flv", "asf", "ogg", "mxf", "gxf", "nut", "rm",
    "wtv", "dv", "ivf", "yuv4mpegpipe", "h264", "hevc", "vvc", "av1", "obu", "mpegvideo", "m4v",
    "vc1", "mjpeg", "gif", "apng", "jpegxl_anim", "png_pipe", "jpeg_pipe", "bmp_pipe", "tiff_pipe",
    "webp_pipe", "jpegxl_pipe", "j2k_pipe", "mp3", "wav", "flac", "aac",
)  # fmt: skip
"""The only kinds of files that are read: each is whole in itself. Playlists, session descriptions
and patterns of names, which would have FFmpeg open what they name, are not among them."""

RESTRAINT = {"protocol_whitelist": "file", "format_whitelist": ",".join(FORMATS)}
"""Options of FFmpeg that keep it to the one file it was given."""


def check_trim(trim: Trim | None) -> tuple[Fraction | None, Fraction | None]:
    """The trim as exact seconds.

    Raises:
        ConfigError: an end is negative or not after the beginning.
    """
    begin, end = (
        None if end is None else Fraction(end).limit_denominator(1_000_000)
        for end in trim or (None, None)
    )
    if (begin or 0) < 0 or (end is not None and end <= (begin or 0)):
        raise ConfigError(f"trim must run forward from 0 s or later, got {begin} to {end}")
    return begin, end


def open_media(
    path: Path, *, most_pixels: int = MOST_PIXELS, hwaccel: HWAccel | None = None
) -> InputContainer:
    """Open a file for demuxing; only that one file is ever read, whatever it refers to.

    Args:
        path: of the file.
        most_pixels: no larger picture is unpacked while FFmpeg looks at what is inside.
        hwaccel: what decodes in place of the processor; a failure to open it is an InputError too.

    Raises:
        InputError: the file is missing, no file, empty, unreadable or of no known kind.
    """
    expect_file(path)
    try:
        options = {**RESTRAINT, "max_pixels": str(most_pixels)}
        return av.open(file_url(path), options=options, hwaccel=hwaccel)
    except PermissionError as error:
        raise InputError(path, "permission denied") from error
    except av.error.ArgumentError as error:
        reason = "is text, a playlist or another kind of file that is not read"
        raise InputError(path, f"{reason}; pass one video or picture") from error
    except (av.error.FFmpegError, ValueError) as error:
        reason = "not a video or picture, or cut short before its index; export it again"
        raise InputError(path, reason) from error


def expect_file(path: Path) -> None:
    """Raise InputError unless `path` is a regular file with something in it."""
    try:
        if not path.exists():
            raise InputError(path, "no such file; check the name")
        if path.is_dir():
            raise InputError(path, "is a folder; pass one video or picture")
        if not path.is_file():
            raise InputError(path, "is not a regular file")
        if path.stat().st_size == 0:
            raise InputError(path, "the file is empty")
    except OSError as error:
        raise InputError(path, error.strerror or str(error)) from error


def file_url(path: Path) -> str:
    """A name FFmpeg takes literally: no protocol, option or pattern is read into it."""
    return f"file:{path.absolute()}"


def pick_video(container: InputContainer, path: Path) -> VideoStream:
    """The real video stream: not cover art, rather default than not, rather large than small.

    Raises:
        InputError: there are no moving pictures, or no decoder for them.
    """
    cover = Disposition.attached_pic | Disposition.timed_thumbnails
    streams = [stream for stream in container.streams.video if not stream.disposition & cover]
    if not streams:
        kinds = sorted({stream.type for stream in container.streams})
        found = f"only {' and '.join(kinds)}" if kinds else "no stream at all"
        raise InputError(path, f"no video stream, {found}; pass a file with pictures in it")
    playable = [stream for stream in streams if stream.codec_context is not None]
    if not playable:
        raise InputError(path, "its video codec has no decoder here; convert it to H.264 first")
    return max(playable, key=_preference)  # the first of equals


def _preference(stream: VideoStream) -> tuple[bool, bool, int]:
    context = stream.codec_context
    moving = context.name not in PICTURE_CODECS
    default = bool(stream.disposition & Disposition.default)
    return moving, default, context.width * context.height


def start_of(container: InputContainer, video: VideoStream) -> Fraction:
    """Time zero of a file, in seconds on its own clock: where its picture or sound begins.

    The earliest of them, so that what a player shows first is at zero. Samples that a sound codec
    only needs to warm up lie before it.
    """
    starts = [
        stream.start_time * stream.time_base
        for stream in (video, *container.streams.audio)
        if stream.start_time is not None and stream.time_base is not None
    ]
    return min(starts, default=Fraction(0))
