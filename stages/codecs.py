"""Which encoder writes a film into which container, and with what settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tpvideo.pipeline.errors import OutputError

MOVIE_FORMATS = {
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".mkv": "matroska",
    ".webm": "webm",
}
"""FFmpeg's name of the container, by suffix."""
ALPHA_SUFFIXES = (".mov", ".webm", ".mkv")
PHOTO_SUFFIXES = {".jpeg": ".jpg", ".jpg": ".jpg", ".png": ".png", ".webp": ".webp"}
"""What a photograph becomes when no target is named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """An encoder and how it is set up."""

    name: str
    """What the user calls it."""
    encoder: str
    """What FFmpeg calls it."""
    pixels: str = "yuv420p"
    alpha_pixels: str | None = None
    """Pixel format with transparency, None when there is none."""
    has_crf: bool = True
    suffixes: tuple[str, ...] = tuple(MOVIE_FORMATS)
    options: dict[str, str] = field(default_factory=dict)
    tag: str | None = None
    """Four-letter name that players expect in .mp4 and .mov."""


CODECS = {
    codec.name: codec
    for codec in (
        Codec(
            name="h264",
            encoder="libx264",
            suffixes=(".mp4", ".m4v", ".mov", ".mkv"),
            # Else x264's vector code reads past the end where a row is no whole number of vectors,
            # and the same pictures become another film each time.
            options={"preset": "fast", "x264-params": "cpu-independent=1"},
        ),
        Codec(
            name="hevc",
            encoder="libx265",
            suffixes=(".mp4", ".m4v", ".mov", ".mkv"),
            options={"preset": "fast", "x265-params": "log-level=error"},
            tag="hvc1",
        ),
        Codec(
            name="vp9",
            encoder="libvpx-vp9",
            suffixes=(".mp4", ".mkv", ".webm"),
            alpha_pixels="yuva420p",
            options={"b": "0", "cpu-used": "4", "row-mt": "1", "auto-alt-ref": "0"},
        ),
        Codec(
            name="prores",
            encoder="prores_ks",
            suffixes=(".mov",),
            pixels="yuv422p10le",
            alpha_pixels="yuva444p10le",
            has_crf=False,
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """A codec with the pixel format that was decided on."""

    codec: Codec
    pixels: str
    has_alpha: bool


def pick_codec(target: Path, name: str | None, transparent: bool) -> Recipe:
    """The codec for a film of this name.

    Raises:
        OutputError: the codec is not known, does not fit the container, or lacks transparency.
    """
    suffix = target.suffix.lower()
    if name is None:
        if transparent:
            name = "prores" if suffix == ".mov" else "vp9"
        else:
            name = "vp9" if suffix == ".webm" else "h264"
    codec = CODECS.get(name)
    if codec is None:
        raise OutputError(target, f"no codec called {name}; there are {', '.join(CODECS)}")
    if suffix not in codec.suffixes:
        fitting = " ".join(codec.suffixes)
        raise OutputError(target, f"{name} does not go into {suffix}; use one of {fitting}")
    if transparent and codec.alpha_pixels is None:
        raise OutputError(target, f"{name} has no transparency; use prores in .mov or vp9 in .webm")
    pixels = codec.alpha_pixels if transparent and codec.alpha_pixels else codec.pixels
    return Recipe(codec, pixels, transparent)


def default_suffix(suffix: str, transparent: bool) -> str:
    """What a result's name ends in when the source's ends in `suffix`, lower-case."""
    if suffix in PHOTO_SUFFIXES:
        return ".png" if transparent else PHOTO_SUFFIXES[suffix]
    if transparent:
        return suffix if suffix in ALPHA_SUFFIXES else ".mov"
    return suffix if suffix in MOVIE_FORMATS else ".mp4"
