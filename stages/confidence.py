"""How far a frame can be trusted to look right when it is turned: docs/frame.md has the measure."""

from __future__ import annotations

import math

import numpy as np

from tpvideo.pipeline.frame import Face
from tpvideo.stages import geometry

LOW = 0.5
"""Below it frames are placed one by one in the account of a run."""

SURE_RAD, LOST_RAD = 0.5, 2.0
"""Angle between the camera and the front of the face up to which it costs nothing, and from which
on nothing is left."""

SURE_ERROR, LOST_ERROR = 0.05, 0.2
"""The same of the first branch's error in the same view, levels of 1."""

SURE_SHARE, LOST_SHARE = 0.3, 0.05
"""The same of the part of the crop that the matte takes for the person; heads cover half."""


def confidence(face: Face, error: float) -> float:
    """0..1, the product of what the camera, the reconstruction and the matte leave.

    Args:
        face: with its camera and its matte.
        error: of the first branch in the same view; triplanenet.first_error.
    """
    yaw, pitch = geometry.angles(face.camera[:16].reshape(4, 4))
    angle = math.acos(math.cos(yaw) * math.cos(pitch))
    share = float(face.alpha.mean()) / 255
    return (
        _left(angle, SURE_RAD, LOST_RAD)
        * _left(error, SURE_ERROR, LOST_ERROR)
        * _left(share, SURE_SHARE, LOST_SHARE)
    )


def _left(value: float, sure: float, lost: float) -> float:
    """1 at `sure` and on its side, 0 at `lost` and beyond, straight between them."""
    return float(np.clip((lost - value) / (lost - sure), 0.0, 1.0))
