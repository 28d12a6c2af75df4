"""Cameras for a head that turns on its neck while the body, and what is above the crop, stay.

Turning a head by an angle looks like turning the camera the other way about the head. A camera
for each height of the picture turns each height by its own angle: the face by all of it, the neck
by less and less, the shoulders not at all. So the turned head still fits the body in its picture.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tpvideo.stages import geometry

ROWS = 64
"""Cameras down a picture."""

SKULL = (0.0, 0.1)
"""Heights in the crop, from the top, between which the turn comes in: hair goes on above the crop,
and stays."""

NECK = (0.82, 0.94)
"""Heights between which it goes again: below the chin, above the crop's edge."""


def turned_labels(
    source: NDArray[np.float32], turn_rad: tuple[float, float], focal: float = geometry.FOCAL
) -> NDArray[np.float32]:
    """[ROWS, 25] the cameras, from the top of the picture to its bottom, by which a head looks
    turned on its neck, about the world's origin, which is where the neck carries it.

    Args:
        source: [25] the camera that saw the head.
        turn_rad: how much further than this one the cameras stand in yaw and in pitch.
        focal: length of their lens.
    """
    camera = source[:16].reshape(4, 4).astype(np.float64)
    yaw, _ = geometry.angles(camera)
    cameras = []
    for share in turn_shares((np.arange(ROWS) + 0.5) / ROWS):
        turned = np.eye(4)
        turned[:3, :3] = _rotation(yaw, share * turn_rad[0], share * turn_rad[1])
        cameras.append(geometry.label(turned @ camera, focal))
    return np.stack(cameras)


def turn_shares(heights: geometry.Array) -> geometry.Array:
    """Share of the whole turn, 0..1, at heights in the crop, 0 (top) to 1."""
    return eased((heights - SKULL[0]) / (SKULL[1] - SKULL[0])) * eased(
        (NECK[1] - heights) / (NECK[1] - NECK[0])
    )


def eased(share: geometry.Array) -> geometry.Array:
    """0 below 0, 1 above 1, gentle at both ends."""
    inside = share.clip(0, 1)
    eased: geometry.Array = inside * inside * (3 - 2 * inside)
    return eased


def _rotation(yaw: float, more_yaw: float, more_pitch: float) -> geometry.Array:
    """[3, 3] of the world, that takes a camera at `yaw` so much further to the side and up."""
    return _about_y(yaw + more_yaw) @ _about_x(-more_pitch) @ _about_y(-yaw)


def _about_y(angle: float) -> geometry.Array:
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([[cos, 0.0, sin], [0.0, 1.0, 0.0], [-sin, 0.0, cos]])


def _about_x(angle: float) -> geometry.Array:
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([[1.0, 0.0, 0.0], [0.0, cos, -sin], [0.0, sin, cos]])
