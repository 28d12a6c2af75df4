"""Where light does not reach: the key lamp's shadow map, and the shade of hair and hats."""

from __future__ import annotations

import numpy as np

from tpvideo.weights.training.heads.kernel import F32, F64
from tpvideo.weights.training.heads.light import Light
from tpvideo.weights.training.heads.pack import GUMS, HAT, MOUTH, TEETH, TONGUE
from tpvideo.weights.training.heads.raster import (
    FAR,
    fill_depth,
    fill_depth_textured,
    light_view,
    project_flat,
)
from tpvideo.weights.training.heads.sampling import Shadow
from tpvideo.weights.training.heads.scene import Scene

_SHADOW_PX, _SHADOW_REACH = 512, 0.62
_SHADE_PX, _SHADE_REACH = 192, 0.55
_SKY = (
    (0, 0.9, 0.45),
    (0.6, 0.6, 0.55),
    (-0.6, 0.6, 0.55),
    (0, 0.3, 0.95),
    (0.85, 0.2, 0.5),
    (-0.85, 0.2, 0.5),
    (0.9, 0.3, -0.2),
    (-0.9, 0.3, -0.2),
    (0.4, 0.1, 0.9),
    (-0.4, 0.1, 0.9),
    (0, 1, 0.0),
    (0, 0.5, -0.85),
)
"""Directions, from above and the sides, in which shade is looked for."""


def cast_shadow(scene: Scene, light: Light) -> Shadow:
    """The key lamp's view of the head and its hair; empty for no lamp."""
    direction = light.key.astype(np.float64)
    view = light_view(direction, _SHADOW_REACH, _SHADOW_PX, steep=0.95)
    depth = np.full((_SHADOW_PX, _SHADOW_PX), FAR, np.float32)
    if light.key_colour[1] > 0:
        outside = ~np.isin(scene.mesh.material, [GUMS, TEETH, MOUTH, TONGUE])
        triangles = np.ascontiguousarray(scene.mesh.triangles[outside])
        fill_depth(project_flat(scene.mesh.points, view), triangles, depth)
        _fill_hair(scene, direction, view, depth, threshold=110.0, kept=0.85)
    return Shadow(view, depth)


def shaded_openness(scene: Scene) -> F32:
    """[n] the mesh's openness with what hair and hat take away, from a few depth maps."""
    mesh = scene.mesh
    if not scene.hair:
        return mesh.openness
    hat = np.ascontiguousarray(mesh.triangles[mesh.material == HAT])
    received = np.zeros(len(mesh.points), np.float32)
    weights = np.full(len(mesh.points), 1e-4, np.float32)
    raised = mesh.points + mesh.normals * np.float32(0.006)
    for vector in _SKY:
        direction = np.array(vector) / np.linalg.norm(vector)
        view = light_view(direction, _SHADE_REACH, _SHADE_PX, steep=0.9)
        depth = np.full((_SHADE_PX, _SHADE_PX), FAR, np.float32)
        _fill_hair(scene, direction, view, depth, threshold=90.0, kept=0.7)
        seen = project_flat(raised, view)
        if len(hat):
            fill_depth(seen, hat, depth)
        x = np.clip(seen[:, 0].astype(int), 0, _SHADE_PX - 1)
        y = np.clip(seen[:, 1].astype(int), 0, _SHADE_PX - 1)
        weight = np.clip(mesh.normals @ direction, 0, None).astype(np.float32)
        received += weight * (depth[y, x] >= seen[:, 2] - 0.004)
        weights += weight
    share = received / weights
    share[weights < 0.01] = 1
    return mesh.openness * (0.25 + 0.75 * share)


def _fill_hair(
    scene: Scene, direction: F64, view: F32, depth: F32, *, threshold: float, kept: float
) -> None:
    for part in scene.hair:
        screen = project_flat(part.outline(direction, far=True), view)
        fill_depth_textured(
            screen, part.triangles, part.uv, part.alpha, part.texture, threshold, kept, depth
        )
