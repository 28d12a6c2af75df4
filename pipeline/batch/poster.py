"""The strip on the summary page: a frame of the source beside the same frame of each result."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from tpvideo.pipeline.frame import Image, Rendered, StreamInfo, Views
from tpvideo.stages.decode import FileSource
from tpvideo.stages.encode import FileSink
from tpvideo.stages.views import EachFile

HEIGHT_PX = 144
MOST_WIDE_PX = 4 * HEIGHT_PX
BEHIND_PX = 8
"""Side of the squares that show through a transparent picture."""


class PosterSink(EachFile):
    """Passes every view on to its sink, and keeps a frame from the first third for the poster."""

    def __init__(self, sinks: Sequence[FileSink]) -> None:
        super().__init__(sinks)
        self._number = 0
        self._pictures: list[Image] = []

    def open(self, info: StreamInfo) -> None:
        """Open every sink."""
        super().open(info)
        self._number = (info.frames or 0) // 3

    def consume(self, item: Views) -> None:
        """Hand each sink its picture."""
        super().consume(item)
        if item.stamp.index <= self._number and (
            item.stamp.index == self._number or not self._pictures
        ):
            self._pictures = [item.rgb, *(_opaque(picture) for picture in item.pictures)]

    def poster(self) -> bytes:
        """The strip as JPEG; empty when no frame came."""
        return strip(self._pictures)


def of_source(path: Path) -> bytes:
    """The strip of a source that gave no result: its first frame, or nothing."""
    source = FileSource(path)
    try:
        source.open()
        return strip([next(iter(source)).rgb])
    except Exception:  # of whatever library; a picture on a page is worth no failure
        return b""
    finally:
        source.close()


def strip(pictures: Sequence[Image]) -> bytes:
    """Pictures side by side at one height, as JPEG; empty for none.

    Args:
        pictures: [H, W, 3] each, of any sizes.
    """
    if not pictures:
        return b""
    small = [_small(picture) for picture in pictures]
    buffer = io.BytesIO()
    Pillow.fromarray(np.concatenate(small, axis=1)).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def _small(picture: Image) -> Image:
    height, width = picture.shape[:2]
    wide = min(MOST_WIDE_PX, max(1, round(width * HEIGHT_PX / height)))
    return np.asarray(
        Pillow.fromarray(np.ascontiguousarray(picture)).resize((wide, HEIGHT_PX), reducing_gap=2.0)
    )


def _opaque(picture: Rendered) -> Image:
    """A picture on a chequered ground where it is transparent."""
    if picture.alpha is None:
        return picture.rgb
    rows, columns = np.indices(picture.alpha.shape) // BEHIND_PX
    ground = np.where((rows + columns) % 2, 170, 220)[..., None]
    alpha = picture.alpha[..., None] / 255
    return np.rint(picture.rgb * alpha + ground * (1 - alpha)).astype(np.uint8)
