"""The browser's own camera as the source of a live run."""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
from PIL import Image as Pillow

from tpvideo.pipeline.frame import Decoded, Image, Stamp, StreamInfo
from tpvideo.stages.live import PATIENCE_S, TIME_BASE, LiveSource, age_s, now

log = logging.getLogger(__name__)

SILENT_S = 3.0
"""After so long without a picture the page's camera is taken to be off."""

LARGEST_PX = 1920 * 1088
WIDTH, HEIGHT = 640, 480
"""Nominal: a browser sends what it likes, and every picture tells its own size."""


class PageCamera(LiveSource):
    """Pictures that a browser sends, the newest first; a slot of one, so that none is ever late."""

    def __init__(self) -> None:
        super().__init__()
        self.state = "waiting for the page's camera"
        self.overwritten = 0
        """Pictures that came before the last one was taken."""
        self.sent_ms: dict[int, float] = {}
        """The browser's own times of the newest captures, by pts."""
        self._changed = threading.Condition()
        self._newest: tuple[int, bytes] | None = None

    def open(self) -> StreamInfo:
        """The size is not known before the first picture."""
        return StreamInfo(WIDTH, HEIGHT, Fraction(30), TIME_BASE, frames=None)

    def __iter__(self) -> Iterator[Decoded]:
        index = 0
        last = now()
        while not self.is_over():
            with self._changed:
                self._changed.wait_for(lambda: self._newest is not None, PATIENCE_S)
                taken, self._newest = self._newest, None
            if taken is None:
                if age_s(last) > SILENT_S:
                    self.state = "waiting for the page's camera"
                continue
            last = now()
            picture = decoded(taken[1])
            if picture is None:
                self.state = "the page sends what is no picture"
                continue
            self.state = f"the page's camera: {picture.shape[1]}x{picture.shape[0]}"
            yield Decoded(Stamp(index, taken[0]), picture)
            index += 1

    def close(self) -> None:
        """Nothing is held."""

    def give(self, sent_ms: float, data: bytes) -> None:
        """Take a JPEG that has just arrived; from any thread."""
        with self._changed:
            self.overwritten += self._newest is not None
            pts = now()
            self._newest = (pts, data)
            self.sent_ms[pts] = sent_ms
            while len(self.sent_ms) > 100:
                del self.sent_ms[next(iter(self.sent_ms))]
            self._changed.notify()


def decoded(data: bytes) -> Image | None:
    """[H, W, 3] of a JPEG of sane size; None of anything else."""
    try:
        with Pillow.open(io.BytesIO(data), formats=("JPEG",)) as picture:
            if not 16 * 16 <= picture.width * picture.height <= LARGEST_PX:
                return None
            return np.array(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        log.debug("the page sent no picture: %s", error)
        return None
