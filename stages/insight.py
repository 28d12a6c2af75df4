"""InsightFace's detector and 68-point model behind the same interface as our own networks.

The models are not ours to ship (non-commercial research use only) and are never downloaded here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tpvideo.pipeline.errors import MissingExtraError, WeightsError
from tpvideo.pipeline.frame import Image
from tpvideo.stages import geometry
from tpvideo.stages.cut import cut
from tpvideo.stages.facefinder import FaceBox, FaceReading, wrapped

DETECTOR, LANDMARKS = "det_10g.onnx", "1k3d68.onnx"
"""The files of the pack buffalo_l that are used."""

SEARCH_PX, NEAR_PX = 640, 320
"""Sides at which the detector sees a whole picture and the surroundings of a known face."""


class InsightFaceFinder:
    """Finds faces with InsightFace.

    Args:
        folder: where det_10g.onnx and 1k3d68.onnx lie.
        providers: ONNX Runtime's execution providers, the preferred first.

    Raises:
        MissingExtraError: insightface is not installed.
        WeightsError: a file is missing or is another model.
    """

    def __init__(self, folder: Path, providers: Sequence[str] = ("CPUExecutionProvider",)) -> None:
        try:
            from insightface.app.common import Face
            from insightface.model_zoo import get_model
        except ImportError as error:
            raise MissingExtraError(
                "insightface", "insightface", "--face-model insightface"
            ) from error
        for name in (DETECTOR, LANDMARKS):
            if not (folder / name).is_file():
                raise WeightsError(
                    f"no {name} in {folder}; unpack InsightFace's buffalo_l there (its licence "
                    f"allows non-commercial research only), or use --face-model small"
                )
        self._face = Face
        device = -1 if providers[0] == "CPUExecutionProvider" else 0
        self._detector, self._landmarks = (
            get_model(str(folder / name), providers=list(providers))
            for name in (DETECTOR, LANDMARKS)
        )
        if not hasattr(self._detector, "detect") or not hasattr(self._landmarks, "mean_lmk"):
            raise WeightsError(
                f"{folder} holds other models than InsightFace's {DETECTOR} and {LANDMARKS}"
            )
        self._detector.prepare(device, input_size=(SEARCH_PX, SEARCH_PX), det_thresh=0.5)
        self._landmarks.prepare(device)

    def find(self, rgb: Image) -> list[FaceBox]:
        """Every face in a picture [H, W, 3], the largest first."""
        boxes = [reading.box() for reading in self._readings(rgb, SEARCH_PX)]
        return sorted(boxes, key=lambda box: -box.side_px)

    def read(self, rgb: Image, box: FaceBox) -> FaceReading:
        """The face at about this place; score 0 where there is none."""
        fit = geometry.CropFit(box.centre, 1.6 * box.side_px, box.roll_rad)
        rgb_from_near = geometry.image_from_crop(fit, NEAR_PX)
        found = self._readings(cut(rgb, rgb_from_near, NEAR_PX), NEAR_PX)
        middle = (NEAR_PX / 2, NEAR_PX / 2)
        near = [face for face in found if math.dist(face.box().centre, middle) < NEAR_PX / 4]
        if not near:
            none = np.tile(box.centre, (5, 1)) + geometry.MEAN_LANDMARKS[:, :2] * box.side_px
            return FaceReading(none, 0.0, 0.0, box.roll_rad, 0.0)
        face = min(near, key=lambda face: math.dist(face.box().centre, middle))
        return FaceReading(
            face.points @ rgb_from_near[:, :2].T + rgb_from_near[:, 2],
            face.yaw_rad,
            face.pitch_rad,
            wrapped(face.roll_rad + box.roll_rad),
            face.score,
        )

    def _readings(self, rgb: Image, search_px: int) -> list[FaceReading]:
        bgr = np.ascontiguousarray(rgb[..., ::-1])
        detections, points = self._detector.detect(bgr, input_size=(search_px, search_px))
        return [
            self._reading(bgr, detection, five)
            for detection, five in zip(detections, points, strict=True)
        ]

    def _reading(self, bgr: Image, detection: Any, five: Any) -> FaceReading:
        """InsightFace's pose is in degrees: pitch > 0 nose up, yaw > 0 nose to image right,
        roll > 0 clockwise. Ours is the camera's: both first signs turn."""
        face = self._face(bbox=detection[:4], kps=five, det_score=detection[4])
        self._landmarks.get(bgr, face)
        pitch, yaw, roll = np.radians(np.asarray(face.pose, np.float64))
        return FaceReading(
            np.asarray(five, np.float64) + 0.5,  # its pixel centres are at whole numbers
            -float(yaw),
            -float(pitch),
            float(roll),
            float(detection[4]),
        )
