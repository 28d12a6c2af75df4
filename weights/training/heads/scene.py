"""A head with an expression, standing in the world: the geometry that is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tpvideo.weights.training.heads.expression import Expression
from tpvideo.weights.training.heads.hair import HairPart
from tpvideo.weights.training.heads.head import Head
from tpvideo.weights.training.heads.kernel import F32, F64, I32, U8
from tpvideo.weights.training.heads.pack import (
    EYE_SHADE,
    FRAME,
    HAT,
    LASHES,
    SIDES,
    Pack,
)
from tpvideo.weights.training.heads.raster import vertex_normals

EYE_CENTRE, EYE_RADIUS = slice(0, 3), 3
EYE_X, EYE_Y, EYE_Z = slice(4, 7), slice(7, 10), slice(10, 13)
EYE_IRIS, EYE_PUPIL = 13, 14
"""Columns of Scene.eyes."""


class Mesh(NamedTuple):
    """The opaque triangles as kernels take them."""

    triangles: I32
    """[m, 3]."""
    uv_triangles: I32
    """[m, 3]."""
    material: I32
    """[m]."""
    points: F32
    """[n, 3] world."""
    normals: F32
    """[n, 3]."""
    uv: F32
    """[u, 2]."""
    openness: F32
    """[n] share of the surroundings that reaches the vertex, 0..1."""
    above_collar: F32
    """[n] below 0 is cloth."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scene:
    """What stands before the cameras."""

    head: Head
    mesh: Mesh
    culled: U8
    """[m] 1 for triangles of closed surfaces."""
    eyes: F32
    """[2, 16] for each eye: centre, radius, axes x, y, z, and iris and pupil radii."""
    hair: list[HairPart]
    jaw: float
    """0 shut .. 1 wide open."""
    landmarks: F64
    """[68, 3] world."""


def pose(pack: Pack, head: Head, expression: Expression) -> Scene:
    """Give a head an expression and put it into the world."""
    points = _expressed(pack, head, expression)
    jaw = min(expression.get("jawOpen", 0.0), 1.0)
    landmarks = head.to_world.points(points[pack.landmarks]).astype(np.float64)
    eyes = np.stack([_turn_eye(pack, head, points, expression, eye) for eye in range(2)])
    world = head.to_world.points(points)
    _lift_cloth(pack, head, world)
    mesh = _assemble(pack, head, world, _openness(pack, jaw))
    displacement = points - head.points
    closed = ~np.isin(mesh.material, [EYE_SHADE, LASHES, FRAME, HAT])
    return Scene(
        head=head,
        mesh=mesh,
        culled=closed.astype(np.uint8),
        eyes=eyes,
        hair=[part.placed(head.to_world, displacement) for part in head.hair],
        jaw=jaw,
        landmarks=landmarks,
    )


def _expressed(pack: Pack, head: Head, expression: Expression) -> F32:
    """[n, 3] vertices in the head's own units."""
    points = head.points.copy()
    if not expression:
        return points
    modes = [pack.expression_index[name] for name in expression]
    weights = np.array(list(expression.values()), np.float32)
    for i, name in enumerate(expression):
        if name.startswith("eyeBlink"):
            weights[i] *= 1 + (head.eye_opening[name[-2:]] - 1) * min(weights[i], 1)
    stretch = head.person.shape.stretch.astype(np.float32)
    points += (weights @ pack.expression_modes[modes]).reshape(-1, 3) * stretch
    for eye, side in zip(pack.eyes, SIDES, strict=True):
        blink = expression.get("eyeBlink" + side, 0.0)
        if blink > 0.3:  # a shut lid is flatter than the eyeball: draw the ball back a little
            ball = points[eye.all]
            centre = ball.mean(0)
            shrink = np.float32(1 - 0.05 * (blink - 0.3) / 0.7)
            back = np.array([0, 0, 0.06 * blink], np.float32)
            points[eye.all] = centre + (ball - centre) * shrink - back
    return points


def _openness(pack: Pack, jaw: float) -> F32:
    """[n] ambient share, the mouth's inside by its depth and how far the jaw is open."""
    openness = pack.openness * (1 - jaw) + pack.openness_jaw * jaw
    depth = np.clip((pack.points[pack.mouth_vertices, 2] - 5.5) / 5.2, 0.03, 1)
    openness[pack.mouth_vertices] = depth**1.6 * (0.62 + 0.38 * jaw)
    return openness.astype(np.float32)


def _gaze(expression: Expression, eye: int) -> F64:
    """[3, 3] turn of an eye; 0 is the person's left."""
    side, weight = SIDES[eye], expression.get
    outward = weight("eyeLookOut" + side, 0) - weight("eyeLookIn" + side, 0)
    yaw = 0.6 * (outward if eye == 0 else -outward)
    pitch = 0.5 * (weight("eyeLookUp" + side, 0) - weight("eyeLookDown" + side, 0))
    cos, sin = np.cos(yaw), np.sin(yaw)
    across = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    cos, sin = np.cos(pitch), np.sin(pitch)
    return np.asarray(across @ np.array([[1, 0, 0], [0, cos, sin], [0, -sin, cos]]))


def _turn_eye(pack: Pack, head: Head, points: F32, expression: Expression, eye: int) -> F32:
    """Turn one eyeball's vertices in place; returns its row of Scene.eyes."""
    vertices = pack.eyes[eye]
    centre = points[vertices.all].mean(0)

    def axis(positions: F32) -> F32:
        long = positions[vertices.front].mean(0) - positions[vertices.back].mean(0)
        return np.asarray(long / np.linalg.norm(long), np.float32)

    # the mean head's eyeball looks straight ahead, whatever the axis of its vertices
    forward = axis(points) - (axis(pack.points) - np.array([0, 0, 1.0]))
    forward /= np.linalg.norm(forward)
    turn = _gaze(expression, eye)
    ball = (points[vertices.all] - centre) @ turn.T
    points[vertices.all] = (ball + centre).astype(np.float32)
    z = head.to_world.rotation @ (turn @ forward)
    x = np.cross([0, 1.0, 0], z)
    x /= np.linalg.norm(x)
    row = np.zeros(16, np.float32)
    row[EYE_CENTRE] = head.to_world.points(centre[None])[0]
    row[EYE_RADIUS] = np.linalg.norm(ball, axis=1).mean() * head.to_world.scale
    row[EYE_X], row[EYE_Y], row[EYE_Z] = x, np.cross(z, x), z
    row[EYE_IRIS], row[EYE_PUPIL] = head.person.eyes.iris, head.person.eyes.pupil
    return row


def _lift_cloth(pack: Pack, head: Head, world: F32) -> None:
    """Move clothed vertices outward, in place: cloth has a thickness."""
    if len(head.clothed):
        normals = vertex_normals(world, pack.skin)[head.clothed]
        thickness = np.clip(0.3 - head.above_collar[head.clothed], 0, 0.35)
        world[head.clothed] += normals * (thickness * np.float32(head.to_world.scale))[:, None]


def _assemble(pack: Pack, head: Head, world: F32, openness: F32) -> Mesh:
    """Head and what is worn, as one mesh."""
    added = head.addition
    points = np.concatenate([world, head.to_world.points(added.points)])
    triangles = np.concatenate([pack.mesh.corners, added.triangles + np.int32(len(world))])
    bare = np.full(len(added.points), 9, np.float32)
    return Mesh(
        triangles=triangles,
        uv_triangles=np.concatenate([pack.mesh.uv_corners, np.zeros_like(added.triangles)]),
        material=np.concatenate([pack.mesh.material, added.material]).astype(np.int32),
        points=points,
        normals=vertex_normals(points, triangles),
        uv=pack.uv,
        openness=np.concatenate([openness, np.ones(len(added.points), np.float32)]),
        above_collar=np.concatenate([head.above_collar, bare]),
    )
