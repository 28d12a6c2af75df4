"""The transparent layers of a scene: eye shade, lashes, lenses and hair, in one texture atlas.

Triangles, texture places and opacity are the same from every camera; positions and colours of
the vertices are made for each view.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tpvideo.weights.training.heads.hairshade import light_hair
from tpvideo.weights.training.heads.kernel import F32, I32, U8, Array
from tpvideo.weights.training.heads.light import Light
from tpvideo.weights.training.heads.pack import Cards, Pack
from tpvideo.weights.training.heads.sampling import Shadow, Vector
from tpvideo.weights.training.heads.scene import Scene

_FLAT = np.full((4, 4, 2), (128, 255), np.uint8)
"""A texture without any pattern."""
_LIFT = 0.0012
"""World units by which lashes and eye shade stand before the eye."""
_LENS_OPACITY = 0.05
_SHADE_COLOUR = np.float32(0.012) * np.array([1.6, 1, 0.9], np.float32)
_LASH_COLOUR = np.full(3, 0.006, np.float32)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layers:
    """All transparent triangles of a scene."""

    triangles: I32
    """[m, 3]."""
    uv: F32
    """[n, 2] in the atlas."""
    alpha: F32
    """[n]."""
    atlas: U8
    """[h, w, 2] luminance and alpha."""


def gather_layers(pack: Pack, scene: Scene) -> Layers:
    """What does not depend on the camera, in the order of `layer_vertices`."""
    textures: list[U8] = [_FLAT, pack.lash_texture]
    parts: list[tuple[I32, F32, F32]] = [
        (pack.eye_shade.triangles, pack.eye_shade.uv, _shade_alpha(pack.eye_shade)),
        (pack.lashes.triangles, pack.lashes.uv, _lash_alpha(pack, scene)),
    ]
    head = scene.head
    if head.lenses is not None:
        count = len(head.lenses.points)
        opacity = np.full(count, head.person.glasses.tint + _LENS_OPACITY, np.float32)
        textures.append(_FLAT)
        parts.append((head.lenses.triangles, np.full((count, 2), 0.5, np.float32), opacity))
    for hair in scene.hair:
        textures.append(hair.texture)
        parts.append((hair.triangles, hair.uv, hair.alpha))
    atlas, rows = _stack(textures)
    starts = np.cumsum([0] + [len(uv) for _, uv, _ in parts])
    places = [
        _in_atlas(uv, texture, row, atlas)
        for (_, uv, _), texture, row in zip(parts, textures, rows, strict=True)
    ]
    triangles = [t + np.int32(start) for (t, _, _), start in zip(parts, starts[:-1], strict=True)]
    return Layers(
        triangles=np.concatenate(triangles),
        uv=np.concatenate(places),
        alpha=np.concatenate([alpha for _, _, alpha in parts]),
        atlas=atlas,
    )


def layer_vertices(
    pack: Pack, scene: Scene, light: Light, shadow: Shadow, camera: Vector
) -> tuple[F32, F32]:
    """World positions and linear colours [n, 3] of all layers' vertices, from one camera."""
    eye = np.array(camera, np.float32)
    positions = [_lifted(scene, cards, eye) for cards in (pack.eye_shade, pack.lashes)]
    colours = [
        np.tile(colour, (len(points), 1))
        for colour, points in zip((_SHADE_COLOUR, _LASH_COLOUR), positions, strict=True)
    ]
    if scene.head.lenses is not None:
        points = scene.head.to_world.points(scene.head.lenses.points)
        positions.append(points)
        colours.append(_lens_colour(points, eye, light, scene.head.person.glasses.tint))
    for hair in scene.hair:
        lit = light_hair(hair.shading, light, shadow, camera, scene.head.person.finish.gloss)
        positions.append(hair.outline(eye, far=False))
        colours.append(hair.coloured(lit))
    return np.concatenate(positions), np.concatenate(colours)


def _shade_alpha(cards: Cards) -> F32:
    """Dark toward the lids, light in the middle."""
    edge = np.clip(np.abs(cards.uv[:, 1] - 0.5) * 2, 0, 1)
    return np.asarray(0.08 + 0.62 * np.clip((edge - 0.25) / 0.5, 0, 1), np.float32)


def _lash_alpha(pack: Pack, scene: Scene) -> F32:
    """The upper lashes, and fainter lower ones."""
    upper = pack.points[pack.lashes.vertices, 1] > 3.45
    return (scene.head.person.lashes * np.where(upper, 1.0, 0.3)).astype(np.float32)


def _lifted(scene: Scene, cards: Cards, eye: F32) -> F32:
    points = scene.mesh.points[cards.vertices]
    view = eye - points
    view /= np.linalg.norm(view, axis=1, keepdims=True)
    return np.asarray(points + view * np.float32(_LIFT), np.float32)


def _lens_colour(points: F32, eye: F32, light: Light, tint: float) -> F32:
    """The surroundings mirrored in slightly bulging lenses."""
    view = eye - points
    view /= np.linalg.norm(view, axis=1, keepdims=True)
    normals = np.zeros_like(points)
    normals[:, 2] = 1
    normals[:, 0] = points[:, 0] * 0.8
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    mirrored = 2 * (normals * view).sum(1, keepdims=True) * normals - view
    rows, columns = light.sharp.shape[:2]
    azimuth = np.arctan2(mirrored[:, 0], mirrored[:, 2])
    column = ((azimuth / (2 * np.pi) + 0.5) * columns).astype(int) % columns
    row = (np.arccos(np.clip(mirrored[:, 1], -1, 1)) / np.pi * rows).astype(int)
    seen = light.sharp[np.clip(row, 0, rows - 1), column]
    return np.asarray(np.minimum(seen * (0.06 / max(tint + 0.05, 0.06)), 1.5), np.float32)


def _stack(textures: list[U8]) -> tuple[U8, list[int]]:
    """Textures above each other with a gap of four rows, and the first row of each."""
    heights = [texture.shape[0] + 4 for texture in textures]
    width = max(64, *(texture.shape[1] for texture in textures))
    atlas = np.zeros((sum(heights), width, 2), np.uint8)
    rows = [int(row) for row in np.cumsum([0, *heights[:-1]])]
    for texture, row in zip(textures, rows, strict=True):
        atlas[row : row + texture.shape[0], : texture.shape[1]] = texture
    return atlas, rows


def _in_atlas(uv: F32, texture: Array, row: int, atlas: U8) -> F32:
    """Texture coordinates of one texture as coordinates of the atlas."""
    height, width = texture.shape[:2]
    if uv.max() > 1.0 or uv.min() < 0:
        uv = uv - np.floor(uv)
    x = np.clip(uv[:, 0], 0.5 / width, 1 - 0.5 / width) * width
    y = row + np.clip(1 - uv[:, 1], 0.5 / height, 1 - 0.5 / height) * height
    return np.stack([x / atlas.shape[1], 1 - y / atlas.shape[0]], axis=1).astype(np.float32)
