"""A clothed torso under a head, for pictures that show more than the pack's bust."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tpvideo.weights.training.heads.accessories import Addition
from tpvideo.weights.training.heads.head import Head
from tpvideo.weights.training.heads.kernel import F32, F64
from tpvideo.weights.training.heads.pack import CLOTH, Pack
from tpvideo.weights.training.heads.raster import vertex_normals
from tpvideo.weights.training.heads.scene import Scene

_PROFILE = np.array(
    [  # height, half width, back, front; units of the mean head (about cm)
        [-12.6, 7.6, -6.6, 3.0],
        [-13.4, 10.4, -7.9, 3.5],
        [-14.2, 12.9, -9.0, 4.1],
        [-15.2, 15.6, -9.7, 4.5],
        [-16.6, 18.0, -10.3, 4.9],
        [-18.4, 19.9, -10.8, 5.7],
        [-20.6, 21.2, -11.1, 6.8],
        [-24.0, 22.2, -11.4, 8.2],
        [-30.0, 22.9, -11.5, 9.4],
        [-40.0, 23.4, -11.5, 9.6],
        [-55.0, 23.8, -11.5, 9.6],
    ]
)
_ROWS, _COLUMNS = 60, 96
_SQUARENESS = 2.6
_BUST_TOP, _BUST_END = -11.5, -14.0
_ROOM_TO_MOVE = 1.03
_NECK = np.array([0.0, -0.22, -0.08])
"""About which a head turns, world."""


def torso_mesh(pack: Pack, head: Head) -> Addition:
    """Shoulders, chest and upper arms as one surface around a head's bust, in its own units."""
    at = np.linspace(0, len(_PROFILE) - 1, _ROWS)
    rows = np.stack(
        [np.interp(at, np.arange(len(_PROFILE)), column) for column in _PROFILE.T], axis=1
    )
    height, width, back, front = rows.T[:, :, None]
    theta = np.linspace(0, 2 * np.pi, _COLUMNS + 1)[None, :-1]
    cos, sin = np.cos(theta), np.sin(theta)
    power = 2 / _SQUARENESS
    x = width * np.sign(sin) * np.abs(sin) ** power
    z = (front + back) / 2 + (front - back) / 2 * np.sign(cos) * np.abs(cos) ** power
    # shoulders slope: the middle of a row stands a little higher than its ends
    y = height + 0 * theta - 1.2 * (x / 23) ** 2
    points = _fitted(pack, head, np.stack([x, y, z], axis=-1).reshape(-1, 3))
    first = np.arange(_ROWS - 1)[:, None] * _COLUMNS + np.arange(_COLUMNS)[None]
    after = np.arange(_ROWS - 1)[:, None] * _COLUMNS + (np.arange(_COLUMNS)[None] + 1) % _COLUMNS
    upper = np.stack([first, first + _COLUMNS, after + _COLUMNS], axis=-1)
    lower = np.stack([first, after + _COLUMNS, after], axis=-1)
    triangles = np.concatenate([upper, lower]).reshape(-1, 3).astype(np.int32)
    return Addition(points, triangles, np.full(len(triangles), CLOTH, np.uint8))


def _fitted(pack: Pack, head: Head, points: F64) -> F32:
    """Points [n, 3] about the mean bust, carried to a head's: the best scale and shift for each
    axis, and a little room."""
    bust = pack.skin_vertices[pack.points[pack.skin_vertices, 1] < _BUST_TOP]
    carried = np.empty(points.shape, np.float32)
    for axis in range(3):
        scale, shift = np.polyfit(pack.points[bust, axis], head.points[bust, axis], 1)
        carried[:, axis] = points[:, axis] * scale + shift
    carried[:, [0, 2]] *= _ROOM_TO_MOVE
    return carried


def add_torso(pack: Pack, scene: Scene, torso: Addition, world_from_torso: F64) -> Scene:
    """The scene with a torso in it.

    Args:
        pack, scene: a posed head; of its bust only the neckline stays.
        torso: from `torso_mesh`.
        world_from_torso: [4, 4] rigid motion after the head's own placement; where the head
            turns and the body does not, the turn undone.
    """
    mesh = scene.mesh
    placed = scene.head.to_world.points(torso.points)
    points: F32 = np.asarray(
        placed @ world_from_torso[:3, :3].T + world_from_torso[:3, 3], np.float32
    )
    count = len(points)
    heights = np.full(len(mesh.points), np.inf)  # in the mean head; what is worn stays
    heights[: len(pack.points)] = pack.points[:, 1]
    shown = heights[mesh.triangles].max(1) > _BUST_END
    kept = mesh.triangles[shown]
    joined = mesh._replace(
        triangles=np.concatenate([kept, torso.triangles + np.int32(len(mesh.points))]),
        uv_triangles=np.concatenate([mesh.uv_triangles[shown], np.zeros_like(torso.triangles)]),
        material=np.concatenate([mesh.material[shown], torso.material.astype(np.int32)]),
        points=np.concatenate([mesh.points, points]),
        normals=np.concatenate([mesh.normals, vertex_normals(points, torso.triangles)]),
        openness=np.concatenate([mesh.openness, np.ones(count, np.float32)]),
        above_collar=np.concatenate([mesh.above_collar, np.full(count, -1, np.float32)]),
    )
    closed = np.ones(len(torso.triangles), np.uint8)
    return replace(scene, mesh=joined, culled=np.concatenate([scene.culled[shown], closed]))


def turn_undone(yaw_rad: float, pitch_rad: float, roll_rad: float) -> F64:
    """[4, 4] head_from_room of a head that turned about its neck: what stays behind, a torso or the
    room, has the turn undone. Yaw > 0 toward +x, pitch > 0 upward, radians."""
    cos, sin = np.cos([yaw_rad, pitch_rad, roll_rad]), np.sin([yaw_rad, pitch_rad, roll_rad])
    about_y = np.array([[cos[0], 0, sin[0]], [0, 1, 0], [-sin[0], 0, cos[0]]])
    about_x = np.array([[1, 0, 0], [0, cos[1], sin[1]], [0, -sin[1], cos[1]]])
    about_z = np.array([[cos[2], -sin[2], 0], [sin[2], cos[2], 0], [0, 0, 1]])
    turn = (about_y @ about_x @ about_z).T
    motion = np.eye(4)
    motion[:3, :3] = turn
    motion[:3, 3] = _NECK - turn @ _NECK
    return motion
