"""Cameras in EG3D's world, and the crop that belongs to them.

World: y up, a frontal face looks along +z, x to the right as the front camera sees it. Camera:
OpenCV axes (x right, y down, z forward). Matrices are named target first:
`world_from_camera` maps camera coordinates to world coordinates. Yaw > 0 stands toward +x,
pitch > 0 stands higher; both are true angles in radians.

A label is EG3D's 25 numbers: the row-major camera-to-world 4x4, whose position has length 2.7
about the origin, then the row-major intrinsics 3x3 normalised by the image side.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

RADIUS = 2.7
"""Length of every label camera's position, scene units."""

FOCAL = 2985.29 / 700
"""Normalised focal length of EG3D's face crop (parity spec, section 7)."""

LOOK_AT = np.array([0.0, 0.0, 0.2])
"""Where EG3D's look-at cameras aim."""

# The pre-processing puts a frontal camera 2.7 in front of the reconstructed face, whose origin
# stands at (0, 0.006, 0.161), and then rescales the position to length 2.7. The same picture
# from the rescaled camera shows a world scaled by this factor (parity spec, section 7).
HEAD_SCALE = RADIUS / math.hypot(0.006, RADIUS + 0.161)

HEAD_CENTRE = HEAD_SCALE * np.array([0.0, 0.006, 0.161])
"""The point that the crop is centred on."""

_STANDARD_LANDMARKS = np.array(
    [
        [-0.31148657, 0.29036078, 0.13377953],
        [0.30979887, 0.28972036, 0.13179526],
        [0.0032535, -0.04617932, 0.55244243],
        [-0.25216928, -0.38133916, 0.22405732],
        [0.2484662, -0.38128236, 0.22235769],
    ]
)
_MIRRORED = _STANDARD_LANDMARKS[[1, 0, 2, 4, 3]] * [-1.0, 1.0, 1.0]
MEAN_LANDMARKS = HEAD_SCALE * 0.27 * 0.5 * (_STANDARD_LANDMARKS + _MIRRORED) + HEAD_CENTRE
"""[5, 3] world positions of the mean face's alignment landmarks: the eye that stands left in a
frontal picture, the other eye, tip of the nose, left and right corner of the mouth."""


def direction(yaw_rad: float, pitch_rad: float) -> Array:
    """[3] unit vector from the head toward a camera at these angles."""
    return np.array(
        [
            math.sin(yaw_rad) * math.cos(pitch_rad),
            math.sin(pitch_rad),
            math.cos(yaw_rad) * math.cos(pitch_rad),
        ]
    )


def angles(world_from_camera: ArrayLike) -> tuple[float, float]:
    """Yaw and pitch (radians) of the direction that a camera looks from: the reverse of
    `direction`, read off the forward axis."""
    toward_camera = -np.asarray(world_from_camera, np.float64)[:3, 2]
    x, y, z = toward_camera / np.linalg.norm(toward_camera)
    return math.atan2(x, z), math.asin(max(-1.0, min(1.0, y)))


def roll(world_from_camera: ArrayLike) -> float:
    """Turn of a camera about its own axis, radians; 0 where its x axis is level."""
    rotation = np.asarray(world_from_camera, np.float64)[:3, :3]
    upright = _upright(rotation[:, 2])
    return math.atan2(float(rotation[:, 0] @ upright[:, 1]), float(rotation[:, 0] @ upright[:, 0]))


def _upright(forward: Array) -> Array:
    """[3, 3] rotation (columns right, down, forward) with a level x axis."""
    x, y, z = (float(v) for v in forward)
    level = math.hypot(x, z)
    right_x, right_z = -z / level, x / level  # forward x (0, 1, 0)
    down = y * right_z, z * right_x - x * right_z, -y * right_x  # forward x right
    return np.array([[right_x, down[0], x], [0.0, down[1], y], [right_z, down[2], z]])


def aimed_camera(position: ArrayLike, target: ArrayLike, *, roll_rad: float = 0.0) -> Array:
    """[4, 4] world_from_camera at `position` looking at `target`.

    A positive roll turns the camera so that the picture's content turns counter-clockwise.
    """
    eye = np.asarray(position, np.float64)
    forward = np.asarray(target, np.float64) - eye
    rotation = _upright(forward / np.linalg.norm(forward))
    cos, sin = math.cos(roll_rad), math.sin(roll_rad)
    rolled = rotation @ np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    camera = np.eye(4)
    camera[:3, :3] = rolled
    camera[:3, 3] = eye
    return camera


def label_camera(
    yaw_rad: float, pitch_rad: float, *, roll_rad: float = 0.0, aim: ArrayLike = HEAD_CENTRE
) -> Array:
    """[4, 4] world_from_camera of the crop of a head seen from these angles.

    It stands on the sphere of radius 2.7 about the origin, in the given direction from `aim`,
    which it has in the middle of its picture.
    """
    target = np.asarray(aim, np.float64)
    toward = direction(yaw_rad, pitch_rad)
    along = float(target @ toward)
    distance = -along + math.sqrt(along * along - float(target @ target) + RADIUS**2)
    return aimed_camera(target + distance * toward, target, roll_rad=roll_rad)


def look_at_camera(yaw_rad: float, pitch_rad: float = 0.0) -> Array:
    """[4, 4] world_from_camera of EG3D's look-at pose: on the sphere of radius 2.7 about the
    origin at these angles, aimed at (0, 0, 0.2).

    EG3D's own vertical argument runs the other way and on another scale (parity spec,
    section 7): its height is -2.7 * 2 v / pi. `look_at_eg3d` takes that argument.
    """
    return aimed_camera(RADIUS * direction(yaw_rad, pitch_rad), LOOK_AT)


def look_at_eg3d(
    horizontal: float, vertical: float, *, target: ArrayLike = LOOK_AT, radius: float = RADIUS
) -> Array:
    """[4, 4] EG3D's LookAt pose from its own arguments, pi/2 + yaw and pi/2 + pitch, where
    `vertical` is not a polar angle: cos(phi) = 1 - 2 vertical / pi (parity spec, section 7)."""
    v = min(max(vertical, 1e-5), math.pi - 1e-5)
    phi = math.acos(1 - 2 * v / math.pi)
    turned = math.pi - horizontal
    position = radius * np.array(
        [math.sin(phi) * math.cos(turned), math.cos(phi), math.sin(phi) * math.sin(turned)]
    )
    return aimed_camera(position, target)


def intrinsics(focal: float = FOCAL) -> Array:
    """[3, 3] normalised intrinsics with the centre in the middle."""
    return np.array([[focal, 0.0, 0.5], [0.0, focal, 0.5], [0.0, 0.0, 1.0]])


def focal_from_fov(fov_deg: float) -> float:
    """Normalised focal length of EG3D's field-of-view argument, with its literal constants."""
    return 1 / (math.tan(fov_deg * 3.14159 / 360) * 1.414)


def label(world_from_camera: ArrayLike, focal: float = FOCAL) -> NDArray[np.float32]:
    """[25] EG3D label of a camera."""
    camera = np.asarray(world_from_camera, np.float64)
    return np.concatenate([camera.reshape(16), intrinsics(focal).reshape(9)]).astype(np.float32)


def mirror_label(labels: NDArray[np.float32]) -> NDArray[np.float32]:
    """[..., 25] labels of the mirrored pictures: x of the world and of the camera negated."""
    sign = np.ones(25, np.float32)
    sign[[1, 2, 3, 4, 8]] = -1.0
    return labels * sign


def head_angles(camera_from_world: ArrayLike) -> tuple[float, float, float]:
    """Yaw, pitch and roll (radians) at which a head is seen, from a rotation [3, 3]; roll > 0 is
    clockwise as seen."""
    rotation = np.asarray(camera_from_world, np.float64)
    right, forward = rotation[0], rotation[2]
    x, y, z = (-forward / np.linalg.norm(forward)).tolist()
    upright = _upright(forward)
    roll_rad = -math.atan2(float(right @ upright[:, 1]), float(right @ upright[:, 0]))
    return math.atan2(x, z), math.asin(max(-1.0, min(1.0, y))), roll_rad


def alignment_landmarks(points: Array) -> Array:
    """[5, 2] of 68 landmarks [68, 2] (iBUG order): eye centres, tip of the nose, mouth corners."""
    eyes = (points[[36, 42]] + points[[39, 45]]) / 2
    return np.concatenate([eyes, points[[30, 48, 54]]])


class CropFit(NamedTuple):
    """Where the crop lies in the picture."""

    centre: Array
    """[2] pixel coordinates of the crop's centre."""
    side_px: float
    """Side of the crop, in pixels of the picture."""
    roll_rad: float
    """Turn of the crop in the picture; > 0 is clockwise as seen."""


def crop_from_landmarks(
    landmarks: ArrayLike, yaw_rad: float, pitch_rad: float, roll_rad: float
) -> CropFit:
    """The upright square crop in which the mean face, seen from these angles, lies on
    five landmarks.

    Scale and translation minimise the squared distances under the weak perspective of the
    label camera, so that label and crop agree (EG3D's alignment, parity spec, section 7, with
    the roll taken out of the picture instead of put into the label).

    Args:
        landmarks: [5, 2] pixels, in the order of MEAN_LANDMARKS.
        yaw_rad, pitch_rad: where the camera stands, seen from the head.
        roll_rad: turn of the head in the picture, > 0 clockwise as seen.
    """
    points = np.asarray(landmarks, np.float64)
    camera = label_camera(yaw_rad, pitch_rad)
    seen = (MEAN_LANDMARKS - camera[:3, 3]) @ camera[:3, :3]  # [5, 3] camera coordinates
    flat = FOCAL * seen[:, :2] / seen[:, 2:]  # [5, 2] in sides of the crop, centre 0
    cos, sin = math.cos(roll_rad), math.sin(roll_rad)
    flat = flat @ np.array([[cos, sin], [-sin, cos]])
    spread = flat - flat.mean(axis=0)
    side = float((spread * (points - points.mean(axis=0))).sum() / (spread**2).sum())
    return CropFit(points.mean(axis=0) - side * flat.mean(axis=0), side, roll_rad)


def image_from_crop(fit: CropFit, crop_px: int) -> Array:
    """[2, 3] similarity that maps crop pixels to picture pixels (centres at half-integers)."""
    scale = fit.side_px / crop_px
    cos, sin = scale * math.cos(fit.roll_rad), scale * math.sin(fit.roll_rad)
    turn = np.array([[cos, -sin], [sin, cos]])
    offset = np.asarray(fit.centre) - turn @ np.array([crop_px / 2, crop_px / 2])
    return np.concatenate([turn, offset[:, None]], axis=1)
