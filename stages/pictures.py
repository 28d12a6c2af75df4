"""Writes photographs and numbered picture sequences."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow
from PIL.PngImagePlugin import PngInfo

from tpvideo.pipeline.errors import OutputError
from tpvideo.pipeline.frame import Rendered, StreamInfo
from tpvideo.pipeline.losses import Losses

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    ".png": {"compress_level": 4},
    ".jpg": {"quality": 95, "subsampling": 0},
    ".jpeg": {"quality": 95, "subsampling": 0},
    ".webp": {"quality": 95},
}
SEQUENCE_NAME = "%05d.png"
"""Of the pictures in a folder."""
PNG_XMP = "XML:com.adobe.xmp"
"""Where a PNG keeps XMP."""


def part_of(target: Path) -> Path:
    """Where a target is written until it is whole: hidden, beside it, with its suffix."""
    return target.with_name(f".{target.stem}.part{target.suffix}")


@contextmanager
def output_errors(target: Path) -> Iterator[None]:
    """Let what goes wrong with the file system be an OutputError about the target."""
    try:
        yield
    except OSError as error:
        raise OutputError(target, error.strerror or str(error)) from error


class StillWriter:
    """The one picture of a photograph."""

    def __init__(self, target: Path, xmp: bytes | None = None) -> None:
        """`xmp` is a packet of metadata to put into the picture."""
        self.notices: list[str] = []
        self.losses = Losses()
        self._target = target
        self._xmp = xmp
        self._part = part_of(target)

    def open(self, info: StreamInfo) -> None:
        """Raises OutputError when more than one frame will come."""
        if not info.still:
            reason = "one picture cannot hold a video; use a name like view_%05d.png, or .mp4"
            raise OutputError(self._target, reason)
        with output_errors(self._target):
            self._part.touch()

    def consume(self, item: Rendered) -> None:
        """Write the picture beside its name."""
        with output_errors(self._target):
            save_picture(item, self._part, self._xmp)

    def finish(self) -> None:
        """Give the picture its name."""
        if self._part.stat().st_size == 0:
            raise OutputError(self._target, "no frame came to be written")
        with output_errors(self._target):
            os.replace(self._part, self._target)

    def close(self) -> None:
        """Remove what was not finished."""
        with suppress(OSError):  # not there, or its folder is gone
            self._part.unlink()


class SequenceWriter:
    """Every frame a picture of its own, numbered from 0; PNG when the target is a folder."""

    def __init__(self, target: Path, xmp: bytes | None = None) -> None:
        """`xmp` goes into every picture.

        Raises:
            OutputError: the name does not hold exactly one number like %05d.
        """
        self.notices: list[str] = []
        self.losses = Losses()
        self._target = target
        self._xmp = xmp
        self._is_folder = target.suffix.lower() not in PICTURE_SUFFIXES or target.is_dir()
        self._pattern = SEQUENCE_NAME if self._is_folder else target.name
        try:
            named = self._pattern % 0
        except (TypeError, ValueError) as error:
            raise OutputError(target, "the name needs one number, like view_%05d.png") from error
        if Path(named).suffix.lower() not in PICTURE_SUFFIXES or named == self._pattern:
            raise OutputError(target, "the name needs one number, like view_%05d.png")
        label = target.name if self._is_folder else target.name.replace("%", "")
        self._part = target.with_name(f".{label}.part")
        self._finished = False

    def open(self, info: StreamInfo) -> None:
        """Make the hidden folder that collects the pictures."""
        with output_errors(self._target):
            shutil.rmtree(self._part, ignore_errors=True)
            self._part.mkdir()

    def consume(self, item: Rendered) -> None:
        """Write one picture, numbered by its place in the stream."""
        with output_errors(self._target):
            save_picture(item, self._part / (self._pattern % item.stamp.index), self._xmp)

    def finish(self) -> None:
        """Move the pictures to where they belong."""
        folder = self._target if self._is_folder else self._target.parent
        with output_errors(self._target):
            folder.mkdir(exist_ok=True)
            for picture in sorted(self._part.iterdir()):
                os.replace(picture, folder / picture.name)

    def close(self) -> None:
        """Remove what was not finished."""
        shutil.rmtree(self._part, ignore_errors=True)


def save_picture(item: Rendered, path: Path, xmp: bytes | None = None) -> None:
    """Write one frame, with its alpha when it has one, and with its metadata."""
    pixels = item.rgb if item.alpha is None else np.dstack([item.rgb, item.alpha])
    suffix = path.suffix.lower()
    options = dict(SAVE_OPTIONS[suffix])
    if xmp is not None and suffix == ".png":
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_itxt(PNG_XMP, xmp.decode())
    elif xmp is not None:
        options["xmp"] = xmp
    Pillow.fromarray(np.ascontiguousarray(pixels)).save(path, **options)
