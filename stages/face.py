"""Follow one face through a video and cut it out in EG3D's framing, with its camera."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tpvideo.pipeline.checkpoint import State
from tpvideo.pipeline.errors import ConfigError
from tpvideo.pipeline.frame import Decoded, Face, Image, Matted, Posed, StreamInfo
from tpvideo.pipeline.stage import Stage
from tpvideo.stages import geometry
from tpvideo.stages.cut import cut
from tpvideo.stages.facefinder import FaceBox, FaceReading, Finder
from tpvideo.stages.one_euro import OneEuro

log = logging.getLogger(__name__)

Choice = Literal["largest", "center"] | int

CROP_PX = 256
"""Side of a crop: as much as the networks look at."""

KEEP_SCORE = 0.7
"""A followed face is lost below this score."""

CUT_LEVELS = 30.0
"""Mean change of a thumbnail, in levels of 255, beyond which the scene is another."""

STEADIEST_HZ, QUICKEST_HZ = 0.4, 8.0
"""Cutoff of the smoothing at rest for smooth = 1 and for smooth near 0."""

SPEED_GAINS = (8.0, 8.0, 8.0, 5.0, 5.0, 5.0)
"""Hertz per unit a second: centre (in sides of the crop), logarithm of the side, three angles."""


ALL_PERSON = np.full((32, 32), 255, np.uint8)
"""The matte of a picture that nobody has matted."""


class FaceCrop(Stage[Decoded | Matted, Posed]):
    """Find a face, follow it, and cut it out upright with its label camera.

    A picture that comes without a matte is all person, as far as it goes.

    Args:
        finder: the face model.
        crop_px: side of the crops; detail is fetched from the frames themselves.
        choose: which face when there are several: the largest, the one nearest the middle of
            the picture, or the n-th from the left, counted from 1.
        smooth: 0 (off) to 1 (steadiest), of crop and camera over time.
        is_one_shot: the pictures are one camera's, without cuts: what changes them all at once is
            the light or a hand before the lens, and the face to follow stays the same.

    Raises:
        ConfigError: a setting out of range.
    """

    def __init__(
        self,
        finder: Finder,
        *,
        crop_px: int = CROP_PX,
        choose: Choice = "largest",
        smooth: float = 0.5,
        is_one_shot: bool = False,
    ) -> None:
        if crop_px < 16:
            raise ConfigError(f"the crop must be at least 16 pixels wide, got {crop_px}")
        if choose not in ("largest", "center") and (isinstance(choose, str) or choose < 1):
            raise ConfigError(
                f"the face must be 'largest', 'center' or a number from 1, got {choose!r}"
            )
        if not 0 <= smooth <= 1:
            raise ConfigError(f"smoothing must be between 0 and 1, got {smooth}")
        self.crop_px = crop_px
        self.tracker = Tracker(finder, choose, is_one_shot=is_one_shot)
        self.smoother = PoseSmoother(smooth)
        self.time_base = Fraction(1)
        self._before: Posed | None = None

    @property
    def name(self) -> str:
        return "face"

    def open(self, info: StreamInfo) -> StreamInfo:
        """Start anew: nothing is remembered of an earlier stream."""
        self.time_base = info.time_base
        self.tracker.reset()
        self.smoother.reset()
        self._before = None
        return info

    def process(self, items: Sequence[Decoded | Matted]) -> list[Posed]:
        """Every picture with its face, or with None. A picture that repeats the one before it
        keeps the very same Face, by which later stages know that there is nothing to do."""
        posed: list[Posed] = []
        for item in items:
            self._before = self._again(item) or self._posed(item)
            posed.append(self._before)
        return posed

    def state(self) -> State:
        """Which face is followed, and how its pose has been smoothed."""
        return {"tracker": self.tracker.state(), "smoother": self.smoother.state()}

    def restore(self, state: State) -> None:
        """Follow the same face on."""
        self.tracker.restore(state["tracker"])
        self.smoother.restore(state["smoother"])

    def _again(self, item: Decoded | Matted) -> Posed | None:
        before = self._before
        if before is None or before.face is None or not same_picture(item.rgb, before.rgb):
            return None
        return replace(before, stamp=item.stamp, cut=False)

    def _posed(self, item: Decoded | Matted) -> Posed:
        reading = self.tracker.follow(item.rgb)
        if reading is None:
            self.smoother.reset()
            return Posed(item.stamp, item.rgb, None)
        if self.tracker.is_new:
            self.smoother.reset()
        fit, yaw, pitch = self.smoother(reading, float(item.stamp.pts * self.time_base))
        alpha = item.alpha if isinstance(item, Matted) else ALL_PERSON
        face = cut_face(item.rgb, alpha, fit, yaw, pitch, self.crop_px, _usable(reading))
        return Posed(item.stamp, item.rgb, face, cut=self.tracker.is_new)


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


class PoseSmoother:
    """One-Euro smoothing of the crop's square and of the camera's angles."""

    def __init__(self, smooth: float) -> None:
        self.smooth = smooth
        cutoff = QUICKEST_HZ * (STEADIEST_HZ / QUICKEST_HZ) ** smooth
        self._filter = OneEuro(cutoff, SPEED_GAINS)
        self.reset()

    def reset(self) -> None:
        """Let the next pose pass unchanged."""
        self._filter.reset()
        self._unit_px = 1.0
        self._roll = 0.0

    def state(self) -> State:
        """The pose so far; see Stage.state."""
        return {
            "filter": self._filter.state(),
            "unit_px": float(self._unit_px),
            "roll_rad": float(self._roll),
        }

    def restore(self, state: State) -> None:
        """Go on from an earlier `state`."""
        self._filter.restore(state["filter"])
        self._unit_px, self._roll = state["unit_px"], state["roll_rad"]

    def __call__(
        self, reading: FaceReading, time_s: float
    ) -> tuple[geometry.CropFit, float, float]:
        """The smoothed square, yaw and pitch of a face at a time."""
        box = reading.box()
        if self.smooth == 0:
            fit = geometry.CropFit(box.centre, box.side_px, box.roll_rad)
            return fit, reading.yaw_rad, reading.pitch_rad
        if self._filter.is_fresh:
            self._unit_px, self._roll = box.side_px, box.roll_rad
        # roll goes on past half a turn, so that 179 and -179 degrees are neighbours
        self._roll += math.remainder(box.roll_rad - self._roll, 2 * math.pi)
        x, y, log_side, roll, yaw, pitch = self._filter(
            [
                *(box.centre / self._unit_px),
                math.log(box.side_px),
                self._roll,
                reading.yaw_rad,
                reading.pitch_rad,
            ],
            time_s,
        )
        centre = np.array([x, y]) * self._unit_px
        return geometry.CropFit(centre, math.exp(log_side), float(roll)), float(yaw), float(pitch)


def cut_face(
    rgb: Image,
    alpha: Image,
    fit: geometry.CropFit,
    yaw_rad: float,
    pitch_rad: float,
    crop_px: int,
    confidence: float,
) -> Face:
    """A head cut out of its picture.

    Args:
        rgb: [H, W, 3].
        alpha: [h, w] matte of the same picture, often coarser.
        fit: the square.
        yaw_rad, pitch_rad: the label camera.
        crop_px: side of the crop.
        confidence: 0..1.
    """
    image_from_crop = geometry.image_from_crop(fit, crop_px)
    per_pixel = np.array([alpha.shape[1] / rgb.shape[1], alpha.shape[0] / rgb.shape[0]])
    return Face(
        crop=cut(rgb, image_from_crop, crop_px),
        alpha=cut(alpha, image_from_crop * per_pixel[:, None], crop_px, "matte"),
        camera=geometry.label(geometry.label_camera(yaw_rad, pitch_rad)),
        image_from_crop=image_from_crop,
        confidence=confidence,
    )


def same_picture(one: Image, other: Image) -> bool:
    """Whether two pictures [H, W, 3] are equal; a few rows tell most that are not."""
    if one.shape != other.shape or not np.array_equal(one[::61], other[::61]):
        return False
    return np.array_equal(one, other)


def _usable(reading: FaceReading) -> float:
    """The score, falling to 0 where a face is seen from the side or from behind."""
    return reading.score * float(np.clip((1.7 - abs(reading.yaw_rad)) / 0.5, 0, 1))
