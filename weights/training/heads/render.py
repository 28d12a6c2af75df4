"""Pictures of a lit scene: colour, matte, depth and landmarks from any camera."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import ArrayLike

from tpvideo.stages.geometry import FOCAL
from tpvideo.weights.training.heads.blend import Veil, blend
from tpvideo.weights.training.heads.kernel import F32, U8
from tpvideo.weights.training.heads.layers import Layers, gather_layers, layer_vertices
from tpvideo.weights.training.heads.light import Light, LightPlan, tonemap
from tpvideo.weights.training.heads.materials import Looks, looks_of
from tpvideo.weights.training.heads.pack import Pack
from tpvideo.weights.training.heads.raster import fill_opaque, project
from tpvideo.weights.training.heads.sampling import Shadow, Vector
from tpvideo.weights.training.heads.scene import Scene
from tpvideo.weights.training.heads.shade import Samples, camera_position, shade
from tpvideo.weights.training.heads.shadow import cast_shadow, shaded_openness

_SUPERSAMPLING = 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LitScene:
    """A scene and everything about its light that no camera changes."""

    pack: Pack
    scene: Scene
    plan: LightPlan
    light: Light
    shadow: Shadow
    looks: Looks
    layers: Layers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Picture:
    """One view; head, hair and clothes are in front, nothing is behind."""

    colour: F32
    """[S, S, 3] sRGB 0..1, straight; of no meaning where alpha is 0."""
    alpha: F32
    """[S, S] 0..1."""
    depth: F32
    """[S, S] z-depth in world units at the pixel's centre, 0 where less than half is covered."""
    landmarks: F32
    """[68, 2] px, iBUG order; pixel centres at +0.5."""

    def rgba(self) -> U8:
        """[S, S, 4] bytes, colour premultiplied by alpha."""
        alpha = self.alpha[..., None]
        both = np.concatenate([np.clip(self.colour * alpha, 0, 1), alpha], axis=-1)
        return (both * 255 + 0.5).astype(np.uint8)

    def over(self, background: F32) -> U8:
        """[S, S, 3] bytes before a background [S, S, 3] of sRGB 0..1."""
        alpha = self.alpha[..., None]
        rgb = self.colour * alpha + background * (1 - alpha)
        return (np.clip(rgb, 0, 1) * 255 + 0.5).astype(np.uint8)


def light_scene(pack: Pack, scene: Scene, plan: LightPlan, light: Light) -> LitScene:
    """Cast the shadows of a scene."""
    mesh = scene.mesh._replace(openness=shaded_openness(scene))
    scene = replace(scene, mesh=mesh)
    return LitScene(
        pack=pack,
        scene=scene,
        plan=plan,
        light=light,
        shadow=cast_shadow(scene, light),
        looks=looks_of(pack, scene),
        layers=gather_layers(pack, scene),
    )


def render(
    lit: LitScene, world_from_camera: ArrayLike, side_px: int = 256, focal: float = FOCAL
) -> Picture:
    """Draw a scene.

    Args:
        lit: what is drawn.
        world_from_camera: [4, 4], OpenCV axes.
        side_px: side of the square picture.
        focal: in sides of the picture; the default is the crop's.
    """
    camera = np.asarray(world_from_camera, np.float64)
    view = np.linalg.inv(camera)[:3].astype(np.float32)
    position = camera_position(camera)
    fine_px = side_px * _SUPERSAMPLING
    samples = _draw_opaque(lit.scene, view, focal, fine_px)
    light = np.zeros((fine_px, fine_px, 3), np.float32)
    shade(samples, lit.scene.mesh, lit.looks, lit.light, lit.shadow, position, light)
    veil = _draw_layers(lit, view, position, focal, fine_px, samples.nearness)
    solid = (samples.hit >= 0).astype(np.float32)
    light = veil.light + veil.open_share[..., None] * light * solid[..., None]
    alpha = 1 - veil.open_share * (1 - solid)
    depth = _depth(samples.nearness, veil, alpha)
    light, alpha = _shrunk(light, side_px), _shrunk(alpha, side_px)
    landmarks = project(lit.scene.landmarks, view, focal, side_px)[:, :2]
    return Picture(
        colour=tonemap(light / np.maximum(alpha, 1e-4)[..., None], lit.plan),
        alpha=alpha,
        depth=depth,
        landmarks=landmarks,
    )


def _draw_opaque(scene: Scene, view: F32, focal: float, side_px: int) -> Samples:
    shape = (side_px, side_px)
    samples = Samples(
        nearness=np.zeros(shape, np.float32),
        hit=np.full(shape, -1, np.int32),
        second=np.zeros(shape, np.float32),
        third=np.zeros(shape, np.float32),
    )
    screen = project(scene.mesh.points, view, focal, side_px)
    fill_opaque(screen, scene.mesh.triangles, scene.culled, *samples)
    return samples


def _draw_layers(
    lit: LitScene, view: F32, position: Vector, focal: float, side_px: int, nearness: F32
) -> Veil:
    points, colours = layer_vertices(lit.pack, lit.scene, lit.light, lit.shadow, position)
    layers = lit.layers
    screen = project(points, view, focal, side_px)
    return blend(screen, layers.triangles, layers.uv, colours, layers.alpha, layers.atlas, nearness)


def _depth(nearness: F32, veil: Veil, alpha: F32) -> F32:
    """[S, S] from the samples right of and below each pixel's centre."""
    nearest = np.maximum(nearness, veil.half_nearness)
    nearest[alpha < 0.5] = 0
    depth = np.where(nearest > 0, 1 / np.maximum(nearest, 1e-6), 0)
    middle = slice(_SUPERSAMPLING // 2, None, _SUPERSAMPLING)
    return depth[middle, middle].astype(np.float32)


def _shrunk(samples: F32, side_px: int) -> F32:
    smaller = cv2.resize(samples, (side_px, side_px), interpolation=cv2.INTER_AREA)
    return np.asarray(smaller, np.float32)
