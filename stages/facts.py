"""What is inside a media file, as plain values for a report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
from av.audio.stream import AudioStream
from av.stream import Stream
from av.video.stream import VideoStream
from PIL import Image as Pillow

from tpvideo.pipeline.errors import InputError
from tpvideo.stages.media import open_media
from tpvideo.stages.still import FORMATS, NEVER_MOVING


def media_facts(path: Path) -> dict[str, Any]:
    """Kind, length and streams of a file, as its headers tell; {} where they cannot be read.

    A folder or a numbered sequence of pictures is no file: {}.
    """
    if not path.is_file():
        return {}
    return _still_facts(path) or _film_facts(path)


def _still_facts(path: Path) -> dict[str, Any]:
    try:
        with Pillow.open(path, formats=FORMATS) as photo:
            if photo.format not in NEVER_MOVING and getattr(photo, "is_animated", False):
                return {}
            return {"format": photo.format, "width": photo.width, "height": photo.height}
    except (OSError, ValueError, SyntaxError, Pillow.DecompressionBombError):
        return {}


def _film_facts(path: Path) -> dict[str, Any]:
    try:
        with open_media(path) as container:
            length = container.duration
            return {
                "format": container.format.name,
                "length_s": None if length is None else length / av.time_base,
                "streams": [_stream_facts(stream) for stream in container.streams],
            }
    except (InputError, av.error.FFmpegError):
        return {}


def _stream_facts(stream: Stream) -> dict[str, Any]:
    context = stream.codec_context
    facts: dict[str, Any] = {
        "kind": stream.type,
        "codec": None if context is None else context.codec.canonical_name,
        "time_base": str(stream.time_base),
        "frames": stream.frames or None,
    }
    if context is None:
        return facts
    if isinstance(stream, VideoStream):
        facts |= {
            "width": stream.codec_context.width,
            "height": stream.codec_context.height,
            "rate": None if stream.average_rate is None else str(stream.average_rate),
            "pixels": stream.codec_context.pix_fmt,
            "aspect": str(stream.sample_aspect_ratio or 1),
        } | colour_tags(stream)
    if isinstance(stream, AudioStream):
        sound = stream.codec_context
        facts |= {"samples_a_second": sound.sample_rate, "channels": sound.channels}
    return facts


def colour_tags(stream: VideoStream) -> dict[str, int]:
    """Primaries, transfer, matrix and range by their numbers in ITU-T H.273; 2 is unspecified.

    The range is FFmpeg's: 0 unspecified, 1 limited, 2 full.
    """
    context = stream.codec_context
    return {
        "primaries": int(context.color_primaries),
        "transfer": int(context.color_trc),
        "matrix": int(context.colorspace),
        "range": int(context.color_range),
    }
