"""Pictures of a lit scene: colour, matte, depth and landmarks from any camera."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from tpvideo.stages.geometry import FOCAL
from tpvideo.weights.training.heads.blend import Veil, blend
from tpvideo.weights.training.heads.kernel import F32, U8, compiled
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
    premultiplied = np.empty((side_px, side_px, 3), np.float32)
    alpha, depth = (np.empty((side_px, side_px), np.float32) for _ in range(2))
    compose(samples, veil, light, premultiplied, alpha, depth)
    landmarks = project(lit.scene.landmarks, view, focal, side_px)[:, :2]
    return Picture(
        colour=tonemap(premultiplied / np.maximum(alpha, 1e-4)[..., None], lit.plan),
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


@compiled
def compose(
    samples: Samples, veil: Veil, light: F32, premultiplied: F32, alpha: F32, depth: F32
) -> None:
    """The layers before the opaque surface, and each pixel the mean of its samples.

    Args:
        samples, veil, light: of the samples' size; light [.., .., 3] of the opaque surface.
        premultiplied: [S, S, 3] linear, result.
        alpha: [S, S] result.
        depth: [S, S] of the sample right of and below the pixel's centre, result.
    """
    share = np.float32(1 / _SUPERSAMPLING**2)
    for y in range(alpha.shape[0]):
        for x in range(alpha.shape[1]):
            red = green = blue = covered = np.float32(0)
            for k in range(_SUPERSAMPLING**2):
                j = y * _SUPERSAMPLING + k // _SUPERSAMPLING
                i = x * _SUPERSAMPLING + k % _SUPERSAMPLING
                behind = veil.open_share[j, i]
                red += veil.light[j, i, 0]
                green += veil.light[j, i, 1]
                blue += veil.light[j, i, 2]
                covered += 1 - behind
                if samples.hit[j, i] >= 0:
                    red += behind * light[j, i, 0]
                    green += behind * light[j, i, 1]
                    blue += behind * light[j, i, 2]
                    covered += behind
            premultiplied[y, x, 0] = red * share
            premultiplied[y, x, 1] = green * share
            premultiplied[y, x, 2] = blue * share
            alpha[y, x] = covered * share
            j, i = (2 * y + 1) * _SUPERSAMPLING // 2, (2 * x + 1) * _SUPERSAMPLING // 2
            nearest = max(samples.nearness[j, i], veil.half_nearness[j, i])
            solid = samples.hit[j, i] >= 0 or veil.open_share[j, i] <= 0.5
            depth[y, x] = 1 / nearest if solid and nearest > 0 else 0
