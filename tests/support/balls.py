"""Head views whose surface is known in closed form: a ball, as the head generator would file it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tpvideo.stages import geometry
from tpvideo.stages.geometry import Array

CENTRE = np.array([0.04, -0.02, 0.12])
RADIUS = 0.2
ANGLES = [(0.0, 0.0), (0.25, 0.1), (-0.3, 0.0), (0.6, -0.2)]


def colour(points: Array) -> Array:
    """[..., 3] colour, 0..1, of [..., 3] world points on the ball."""
    return np.asarray(0.5 + 2.0 * (points - CENTRE))


def hit(origin: Array, directions: Array) -> Array:
    """[N] distances from `origin` along [N, 3] directions to the ball; 0 for a miss."""
    b = directions @ (origin - CENTRE)
    a = (directions**2).sum(axis=-1)
    inside = b**2 - a * (((origin - CENTRE) ** 2).sum() - RADIUS**2)
    return np.asarray(np.where(inside > 0, (-b - np.sqrt(np.maximum(inside, 0))) / a, 0.0))


def view(yaw: float, pitch: float, side: int) -> tuple[Array, Array, Array]:
    """Camera [4, 4], picture [side, side, 4] (premultiplied, 0..1), and z-depth [side, side]."""
    camera = geometry.label_camera(yaw, pitch)
    middles = ((np.arange(side) + 0.5) / side - 0.5) / geometry.FOCAL
    x, y = np.meshgrid(middles, middles)
    directions = np.stack([x, y, np.ones_like(x)], axis=-1).reshape(-1, 3) @ camera[:3, :3].T
    depth = hit(camera[:3, 3], directions)  # along rays whose z component is 1
    solid = depth > 0
    rgb = colour(camera[:3, 3] + depth[:, None] * directions) * solid[:, None]
    picture = np.concatenate([rgb, solid[:, None]], axis=1).reshape(side, side, 4)
    return camera, picture, depth.reshape(side, side)


def save_balls(folder: Path, count: int, side: int = 64) -> Path:
    """`count` npz files of four views; one ball is like the other but for its brightness."""
    folder.mkdir(exist_ok=True)
    views = [view(yaw, pitch, side) for yaw, pitch in ANGLES]
    rgba = np.stack([picture for _, picture, _ in views])
    depth = np.stack([view(yaw, pitch, side // 2)[2] for yaw, pitch in ANGLES])
    cameras = np.stack([camera for camera, _, _ in views]).astype(np.float32)
    for number in range(count):
        lit = rgba * [*[1 - number / (2 * count)] * 3, 1.0]
        np.savez(
            folder / f"{number:07d}.npz",
            rgba=np.round(255 * lit).astype(np.uint8),
            depth=depth.astype(np.float16),
            c2w=cameras,
        )
    return folder
