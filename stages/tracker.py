"""Keep to one face from picture to picture, and notice where another scene begins."""

from __future__ import annotations

import logging
import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tpvideo.pipeline.checkpoint import State
from tpvideo.pipeline.frame import Image
from tpvideo.stages.facefinder import FaceBox, FaceReading, Finder

log = logging.getLogger(__name__)

Choice = Literal["largest", "center"] | int

KEEP_SCORE = 0.7
"""A followed face is lost below this score."""

CUT_LEVELS = 30.0
"""Mean change of a thumbnail, in levels of 255, beyond which the scene is another."""


class Tracker:
    """Keeps to one face from picture to picture."""

    def __init__(self, finder: Finder, choose: Choice, *, is_one_shot: bool = False) -> None:
        self.finder = finder
        self.choose = choose
        self.is_one_shot = is_one_shot
        self.reset()

    def reset(self) -> None:
        """Forget the face and the scene."""
        self.is_new = False
        self._box: FaceBox | None = None  # where the face was last seen
        self._is_lost = True
        self._thumbnail: NDArray[np.float32] | None = None

    def state(self) -> State:
        """The face and the scene; see Stage.state."""
        box = self._box
        return {
            "is_new": self.is_new,
            "is_lost": self._is_lost,
            "box": None if box is None else [*map(float, (*box.centre, *box[1:]))],
            "thumbnail": self._thumbnail,
        }

    def restore(self, state: State) -> None:
        """Go on from an earlier `state`."""
        self.is_new, self._is_lost = state["is_new"], state["is_lost"]
        self._thumbnail = state["thumbnail"]
        self._box = None
        if state["box"] is not None:
            x, y, side_px, roll_rad, score = state["box"]
            self._box = FaceBox(np.array([x, y]), side_px, roll_rad, score)

    def follow(self, rgb: Image) -> FaceReading | None:
        """The followed face in the next picture [H, W, 3]; `is_new` tells whether it was found
        anew, after a loss or a cut."""
        if not self.is_one_shot and self._is_cut(rgb):
            log.debug("the scene changed")
            self._box, self._is_lost = None, True
        reading = None
        if self._box is not None and not self._is_lost:
            reading = self._read(rgb, self._box)
        self.is_new = reading is None
        if reading is None:
            boxes = self.finder.find(rgb)
            if boxes:
                reading = self._read(rgb, self._chosen(boxes, rgb))
        self._is_lost = reading is None
        if reading is None:
            self.is_new = False
        else:
            self._box = reading.box()
        return reading

    def _read(self, rgb: Image, box: FaceBox) -> FaceReading | None:
        reading = self.finder.read(rgb, box)
        if reading.score < KEEP_SCORE:
            return None
        found = reading.box()
        height, width = rgb.shape[:2]
        inside = 0 <= found.centre[0] <= width and 0 <= found.centre[1] <= height
        return reading if inside and 8 <= found.side_px <= 3 * max(height, width) else None

    def _chosen(self, boxes: list[FaceBox], rgb: Image) -> FaceBox:
        """The face that was followed until it was lost, if it may be among these."""
        last = self._box
        if last is not None:
            nearest = min(boxes, key=lambda box: math.dist(box.centre, last.centre))
            if math.dist(nearest.centre, last.centre) < last.side_px:
                return nearest
        if self.choose == "largest":
            return max(boxes, key=lambda box: box.side_px)
        if self.choose == "center":
            middle = (rgb.shape[1] / 2, rgb.shape[0] / 2)
            return min(boxes, key=lambda box: math.dist(box.centre, middle))
        from_left = sorted(boxes, key=lambda box: float(box.centre[0]))
        return from_left[min(int(self.choose), len(boxes)) - 1]

    def _is_cut(self, rgb: Image) -> bool:
        height, width = rgb.shape[:2]
        thumbnail = rgb[:: max(1, height // 36), :: max(1, width // 64)].astype(np.float32)
        last, self._thumbnail = self._thumbnail, thumbnail
        if last is None or last.shape != thumbnail.shape:
            return False
        return float(np.abs(thumbnail - last).mean()) > CUT_LEVELS
