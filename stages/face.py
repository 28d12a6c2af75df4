"""Follow one face through a video and cut it out in EG3D's framing, with its camera."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property

import numpy as np

from tpvideo.pipeline.checkpoint import State
from tpvideo.pipeline.errors import ConfigError
from tpvideo.pipeline.frame import Decoded, Face, Image, Matted, Posed, Stamp, StreamInfo
from tpvideo.pipeline.stage import Stage
from tpvideo.stages import geometry
from tpvideo.stages.cut import cut
from tpvideo.stages.facefinder import FaceReading, Finder
from tpvideo.stages.pose_smoothing import Array, PoseFitter, PoseSmoother, numbers_of
from tpvideo.stages.tracker import Choice, Tracker

CROP_PX = 256
"""Side of a crop: as much as the networks look at."""

LOOK_AHEAD = 4
"""Pictures that a film is looked ahead in: with as many behind, three times what the smoothing
remembers at its usual strength, and at 1080p 25 MB."""

ALL_PERSON = np.full((32, 32), 255, np.uint8)
"""The matte of a picture that nobody has matted."""


@dataclass(frozen=True)
class _Held:
    """A picture, and what was read in it."""

    item: Decoded | Matted
    reading: FaceReading | None
    is_new: bool = False
    """The face was found anew here."""
    repeats: bool = False
    """It is the picture before, and so is the reading."""

    @cached_property
    def numbers(self) -> Array:
        """See numbers_of; each reading is needed for all pictures around it."""
        assert self.reading is not None
        return numbers_of(self.reading)

    def state(self) -> State:
        """See Stage.state."""
        item = self.item
        return {
            "stamp": [item.stamp.index, item.stamp.pts],
            "rgb": item.rgb,
            "alpha": item.alpha if isinstance(item, Matted) else None,
            "reading": self.reading and self.reading.numbers(),
            "is_new": self.is_new,
            "repeats": self.repeats,
        }

    @classmethod
    def restored(cls, state: State) -> _Held:
        """The one whose `state` this is."""
        stamp, rgb, alpha = Stamp(*state["stamp"]), state["rgb"], state["alpha"]
        item = Decoded(stamp, rgb) if alpha is None else Matted(stamp, rgb, alpha)
        reading = state["reading"] and FaceReading.of_numbers(state["reading"])
        return cls(item, reading, state["is_new"], state["repeats"])


class FaceCrop(Stage[Decoded | Matted, Posed]):
    """Find a face, follow it, and cut it out upright with its label camera.

    A picture that comes without a matte is all person, as far as it goes.

    Args:
        finder: the face model.
        crop_px: side of the crops; detail is fetched from the frames themselves.
        choose: which face when there are several: the largest, the one nearest the middle of
            the picture, or the n-th from the left, counted from 1.
        smooth: 0 (off) to 1 (steadiest), of crop and camera over time.
        ahead: pictures that are held back so that the smoothing sees what comes; 0, as live
            pictures need it, smooths causally.
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
        ahead: int = 0,
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
        self.smoother: PoseSmoother | PoseFitter
        if ahead and smooth:
            self.smoother = PoseFitter(smooth, reach=ahead)
        else:
            self.smoother = PoseSmoother(smooth)
        self.ahead = ahead if smooth else 0
        self.time_base = Fraction(1)
        self._held: deque[_Held] = deque()
        self._last: _Held | None = None  # the one handed on last
        self._before: Posed | None = None

    @property
    def name(self) -> str:
        return "face"

    @property
    def held(self) -> int:
        """How many pictures are held back."""
        return len(self._held)

    def open(self, info: StreamInfo) -> StreamInfo:
        """Start anew: nothing is remembered of an earlier stream."""
        self.time_base = info.time_base
        self.tracker.reset()
        self.smoother.reset()
        self._held.clear()
        self._last = None
        self._before = None
        return info

    def process(self, items: Sequence[Decoded | Matted]) -> list[Posed]:
        """Every picture with its face, or with None, `ahead` pictures later. A picture that repeats
        the one before it keeps the very same Face, by which later stages know that there is nothing
        to do."""
        posed: list[Posed] = []
        for item in items:
            self._held.append(self._read(item))
            if len(self._held) > self.ahead:
                posed.append(self._next())
        return posed

    def flush(self) -> list[Posed]:
        """The last pictures, for which nothing comes any more."""
        return [self._next() for _ in range(len(self._held))]

    def state(self) -> State:
        """Which face is followed, how its pose has been smoothed, and the pictures held back."""
        return {
            "tracker": self.tracker.state(),
            "smoother": self.smoother.state(),
            "held": {str(number): held.state() for number, held in enumerate(self._held)},
        }

    def restore(self, state: State) -> None:
        """Follow the same face on."""
        self.tracker.restore(state["tracker"])
        self.smoother.restore(state["smoother"])
        self._held = deque(_Held.restored(each) for each in state["held"].values())

    def _read(self, item: Decoded | Matted) -> _Held:
        last = self._held[-1] if self._held else self._last
        if last is not None and last.reading and same_picture(item.rgb, last.item.rgb):
            return _Held(item, last.reading, repeats=True)
        reading = self.tracker.follow(item.rgb)
        return _Held(item, reading, is_new=reading is not None and self.tracker.is_new)

    def _next(self) -> Posed:
        """The picture held longest, with its face."""
        held = self._last = self._held.popleft()
        self._before = self._again(held) or self._posed(held)
        return self._before

    def _again(self, held: _Held) -> Posed | None:
        before = self._before
        if not held.repeats or before is None or before.face is None:
            return None
        return replace(before, stamp=held.item.stamp, cut=False)

    def _posed(self, held: _Held) -> Posed:
        item = held.item
        if held.reading is None or held.is_new:
            self.smoother.reset()
        if held.reading is None:
            return Posed(item.stamp, item.rgb, None)
        if isinstance(self.smoother, PoseFitter):
            fit, yaw, pitch = self.smoother(held.numbers, self._time_s(held), self._coming())
        else:
            fit, yaw, pitch = self.smoother(held.reading, self._time_s(held))
        alpha = item.alpha if isinstance(item, Matted) else ALL_PERSON
        confidence = _usable(held.reading)
        face = cut_face(item.rgb, alpha, fit, yaw, pitch, self.crop_px, confidence)
        return Posed(item.stamp, item.rgb, face, cut=held.is_new)

    def _coming(self) -> list[tuple[Array, float]]:
        """What is read of the same shot in the pictures held back, and when."""
        coming = []
        for held in self._held:
            if held.reading is None or held.is_new:
                break
            if not held.repeats:
                coming.append((held.numbers, self._time_s(held)))
        return coming

    def _time_s(self, held: _Held) -> float:
        return float(held.item.stamp.pts * self.time_base)


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
