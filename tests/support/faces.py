"""Faces with known places, and a finder that reads them off a script."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tpvideo.pipeline.frame import Image
from tpvideo.stages import geometry
from tpvideo.stages.facefinder import FaceBox, FaceReading


def known_face(
    x: float,
    y: float,
    side_px: float,
    *,
    yaw: float = 0.0,
    pitch: float = 0.0,
    roll: float = 0.0,
    score: float = 0.9,
) -> FaceReading:
    """The mean face, seen from these angles, in a square with this centre and side."""
    camera = geometry.label_camera(yaw, pitch)
    seen = (geometry.MEAN_LANDMARKS - camera[:3, 3]) @ camera[:3, :3]
    flat = geometry.FOCAL * seen[:, :2] / seen[:, 2:] + 0.5
    fit = geometry.CropFit(np.array([x, y]), side_px, roll)
    image_from_unit = geometry.image_from_crop(fit, 1)
    points = flat @ image_from_unit[:, :2].T + image_from_unit[:, 2]
    return FaceReading(points, yaw, pitch, roll, score)


def numbered(frame: int, height: int = 120, width: int = 160, level: int = 100) -> Image:
    """[height, width, 3] plain picture whose first pixel is the frame's number."""
    rgb = np.full((height, width, 3), level, np.uint8)
    rgb[0, 0] = frame
    return rgb


class ScriptedFinder:
    """Sees in `numbered` picture n exactly the faces that the script lists for it."""

    def __init__(self, script: Sequence[Sequence[FaceReading]]) -> None:
        self.script = script
        self.searched: list[int] = []

    def find(self, rgb: Image) -> list[FaceBox]:
        frame = int(rgb[0, 0, 0])
        self.searched.append(frame)
        boxes = [face.box() for face in self.script[frame]]
        return sorted(boxes, key=lambda box: -box.side_px)

    def read(self, rgb: Image, box: FaceBox) -> FaceReading:
        for face in self.script[int(rgb[0, 0, 0])]:
            if math.dist(face.box().centre, box.centre) < 0.3 * box.side_px:
                return face
        x, y = box.centre.tolist()
        return known_face(x, y, box.side_px, score=0.01)
