"""Turns decoder frames into what the pipeline works on: upright, square pixels, BT.709 RGB."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import numpy as np
from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

from tpvideo.pipeline.frame import Image
from tpvideo.stages.colour import Grade, assumed_matrix


@dataclass(frozen=True, slots=True)
class Turn:
    """One of the eight ways to lay a stored picture: first swap its axes, then mirror them."""

    is_transposed: bool = False
    mirrors_x: bool = False
    mirrors_y: bool = False

    @classmethod
    def of(cls, frame: VideoFrame) -> Turn:
        """Read the display matrix of a frame, to the nearest quarter turn.

        The matrix maps stored (x, y) to shown (a x + c y, b x + d y); ISO 14496-12, 6.2.2.
        """
        matrix = frame.side_data.get("DISPLAYMATRIX")
        if matrix is None:
            return cls()
        a, b, _, c, d = struct.unpack("=5i", bytes(cast(SideData, matrix))[:20])
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(False, mirrors_x=a < 0, mirrors_y=d < 0)
        return cls(True, mirrors_x=c < 0, mirrors_y=b < 0)

    def apply(self, picture: Image) -> Image:
        """[H, W, 3] as stored to [H, W, 3] (or [W, H, 3]) as shown, contiguous."""
        if self.is_transposed:
            picture = picture.swapaxes(0, 1)
        step_y, step_x = (-1 if self.mirrors_y else 1), (-1 if self.mirrors_x else 1)
        return np.ascontiguousarray(picture[::step_y, ::step_x])


class Upright:
    """Converts the frames of one stream, all to the size and the turn of the first.

    The same VideoReformatters serve them all; one for each frame would leak a scaler each.
    """

    def __init__(self, first: VideoFrame, aspect: Fraction | None) -> None:
        """`aspect` is width over height of one stored pixel; None or nonsense counts as 1."""
        self._turn = Turn.of(first)
        stretch = aspect if aspect and Fraction(1, 8) <= aspect <= 8 else Fraction(1)
        self._width = max(1, round(first.width * stretch))
        self._height = first.height
        self._reformatter, self._planar = VideoReformatter(), VideoReformatter()
        self.grade = Grade(first.color_trc, first.color_primaries)
        shown = (self._width, self._height)
        self.width, self.height = shown[::-1] if self._turn.is_transposed else shown

    def __call__(self, frame: VideoFrame) -> Image:
        """The frame as [height, width, 3] uint8."""
        wide = self.grade.changes_pixels
        matrix = assumed_matrix(frame)
        if frame.format.name == "nv12":  # a GPU's; it would be enlarged by another routine
            frame = self._planar.reformat(frame, format="yuv420p", threads=1)
        resized = (frame.width, frame.height) != (self._width, self._height)
        converted = self._reformatter.reformat(
            frame,
            width=self._width,
            height=self._height,
            format="rgb48le" if wide else "rgb24",
            src_colorspace=matrix,
            interpolation=Interpolation.BICUBIC if resized else Interpolation.BILINEAR,
            threads=1,
        )
        stored = converted.to_ndarray()
        picture = self.grade(stored.astype(np.uint16, copy=False)) if wide else stored
        return self._turn.apply(picture.astype(np.uint8, copy=False))
