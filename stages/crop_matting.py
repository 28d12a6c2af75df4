"""Which part of a head's crop is the person, for matting networks that learnt on crops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tpvideo.pipeline.checkpoint import State
from tpvideo.pipeline.frame import Face, Posed, StreamInfo
from tpvideo.pipeline.stage import Stage
from tpvideo.stages.matting import Matting
from tpvideo.stages.pixels import resampled


class CropMatting(Stage[Posed, Posed]):
    """Narrow the matte of every face's crop; a frame without a face costs nothing.

    A head in a crop is always about as large and about in the middle, so a network that knows
    only crops is far better than one of its size that must find people anywhere. The crop stands
    still about the head, so the filter in time works on the head and not on the frame.
    """

    def __init__(self, matting: Matting) -> None:
        self.matting = matting
        self._before: tuple[Face, Face] | None = None  # the last one as it came and as it went

    @property
    def name(self) -> str:
        """The word in tables and messages."""
        return "matting"

    def open(self, info: StreamInfo) -> StreamInfo:
        """Load and check the network."""
        self._before = None
        return self.matting.open(info)

    def process(self, items: Sequence[Posed]) -> list[Posed]:
        """The same packets; a face's alpha is at most what the network takes for the person."""
        return [self._matted(item) for item in items]

    def state(self) -> State:
        """The matte that the next one is steadied with."""
        return self.matting.state()

    def restore(self, state: State) -> None:
        """Steady the next matte with an earlier one."""
        self.matting.restore(state)

    def close(self) -> None:
        """Let the network go."""
        self.matting.close()

    def _matted(self, item: Posed) -> Posed:
        if item.face is None:
            return item
        if self._before is None or self._before[0] is not item.face:
            if item.cut:
                self.matting.forget()
            side = item.face.crop.shape[0]
            matte = resampled(self.matting(item.face.crop), side, side, "bicubic")
            alpha = np.minimum(item.face.alpha, matte)
            self._before = item.face, replace(item.face, alpha=alpha)
        return replace(item, face=self._before[1])
