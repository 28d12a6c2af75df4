"""How large a source may be: a small file can unpack to more than any memory or any patience.

What is refused is known from headers alone, before a picture is unpacked.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tpvideo.pipeline.config import MOST_FRAMES, MOST_PIXELS
from tpvideo.pipeline.errors import InputError
from tpvideo.stages.media import open_media, pick_video

UNCOUNTED = frozenset({"gif", "apng", "jpegxl_anim"})
"""Animated pictures whose files do not say how many frames they have; counting is quick."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The most that a source may hold."""

    pixels: int = MOST_PIXELS
    """Of one picture, width times height as stored."""
    frames: int = MOST_FRAMES

    def expect_size(self, path: Path, width: int, height: int) -> None:
        """Raise InputError when pictures of this size are too large."""
        if width * height > self.pixels:
            reason = (
                f"{width}x{height} is more than {self.pixels / 1e6:.4g} million pixels; "
                "make it smaller, or raise --max-pixels if you trust it"
            )
            raise InputError(path, reason)

    def expect_frames(self, path: Path, frames: int) -> None:
        """Raise InputError when so many frames are too many."""
        if frames > self.frames:
            reason = (
                f"it has more than {self.frames} frames; --trim it, or raise --max-frames if you "
                "trust it"
            )
            raise InputError(path, reason)

    def expect_few_frames(self, path: Path, container_format: str) -> None:
        """Raise InputError when an animated picture has too many frames."""
        if container_format not in UNCOUNTED:
            return
        count = 0
        with open_media(path) as container:
            for packet in container.demux(pick_video(container, path)):
                count += packet.size > 0
                if count > self.frames:
                    break
        self.expect_frames(path, count)
