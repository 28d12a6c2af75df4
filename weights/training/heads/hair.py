"""Hair on one head: modelled cards and grown strands, ready to be lit and drawn.

Both kinds are transparent triangles. Cards are a mesh; strands are ribbons that turn toward
whoever looks at them, so their vertices are made for each view.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from scipy.spatial import cKDTree

from tpvideo.weights.training.heads.beards import beard_strands
from tpvideo.weights.training.heads.growth import Strands
from tpvideo.weights.training.heads.kernel import F32, F64, I32, U8, Array
from tpvideo.weights.training.heads.pack import HairMesh, Pack
from tpvideo.weights.training.heads.person import Colour, Person
from tpvideo.weights.training.heads.strands import ATLAS_COLUMNS, edges, unit
from tpvideo.weights.training.heads.styles import flyaways, hair_strands

_MIDDLE = np.array([0, 3.5, -0.5])
"""Middle of the skull, mean head."""
_CLOTH_EDGE, _UNSEEN = 7.6, 9.0
"""Where a hat's cloth begins, and above which it hides whatever lies under it; `hat_height`."""
_UNDER_CLOTH = 0.12
"""Thickness of hair under the cloth, units of the mean head."""
_FLARE = 0.45
"""By how much it grows for each unit below."""


class ShadePoints(NamedTuple):
    """Where hair is lit; each [k, 3] but `openness` [k]."""

    points: F32
    normals: F32
    tangents: F32
    openness: F32
    colour: F32
    """Linear, before light."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cards:
    """A modelled style: a mesh of textured cards."""

    points: F32
    """[n, 3]."""
    triangles: I32
    uv: F32
    alpha: F32
    """[n]."""
    texture: U8
    shading: ShadePoints
    """At the n vertices."""

    def outline(self, toward: Array, *, far: bool) -> F32:
        """[n, 3] vertices as seen from anywhere."""
        return self.points

    def coloured(self, lit: F32) -> F32:
        """[n, 3] vertex colours from the lit shade points."""
        return lit

    def placed(self, to_world: Transform, displacement: F32) -> Cards:
        """Carried into the world; a style does not follow the expression."""
        points = to_world.points(self.points)
        return replace(self, points=points, shading=_placed(self.shading, points, to_world))

    def pressed(self, skin: F32, normals: F32) -> Cards:
        """As it lies under a hat: close to the head where the cloth is, free again below it, and
        gone where nobody could see it.

        Args:
            skin, normals: [s, 3] vertices of the head's skin and its normals there.
        """
        near = cKDTree(skin).query(self.points)[1]
        away = ((self.points - skin[near]) * normals[near]).sum(1)
        below = np.maximum(_CLOTH_EDGE - hat_height(self.points), 0)
        room = _UNDER_CLOTH + _FLARE * below
        points = self.points - normals[near] * np.maximum(away - room, 0)[:, None]
        points = points.astype(np.float32)
        shown = (hat_height(points) < _UNSEEN)[self.triangles].any(1)
        return replace(
            self,
            points=points,
            triangles=np.ascontiguousarray(self.triangles[shown]),
            shading=self.shading._replace(points=points),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ribbons:
    """Grown strands: n spines of K points, drawn as ribbons."""

    spines: F32
    """[n, K, 3]."""
    widths: F32
    """[n]."""
    skin: Array
    """[n, 3] vertices of the skin that each follows."""
    weights: F32
    """[n, 3]."""
    triangles: I32
    uv: F32
    """[n K 2, 2]."""
    alpha: F32
    """[n K 2]."""
    texture: U8
    shading: ShadePoints
    """At the n K spine points."""

    def outline(self, toward: Array, *, far: bool) -> F32:
        """[n K 2, 3] vertices of ribbons that face a camera at `toward`, or, if `far`, whoever
        looks from that direction."""
        ribbons = np.empty((2 * len(self.shading.tangents), 3), np.float32)
        eye = np.asarray(toward, np.float32)
        edges(self.spines, self.shading.tangents, self.widths, eye, far, ribbons)
        return ribbons

    def coloured(self, lit: F32) -> F32:
        """[n K 2, 3] vertex colours from the lit shade points."""
        return np.repeat(lit, 2, axis=0)

    def placed(self, to_world: Transform, displacement: F32) -> Ribbons:
        """Carried into the world, roots following the expression's `displacement` [vertices, 3]."""
        shift = (displacement[self.skin] * self.weights[..., None]).sum(1)
        spines = to_world.points((self.spines + shift[:, None]).reshape(-1, 3))
        return replace(
            self,
            spines=spines.reshape(self.spines.shape),
            widths=self.widths * np.float32(to_world.scale),
            shading=_placed(self.shading, spines, to_world),
        )

    def without(self, hidden_above: float) -> Ribbons:
        """Without what reaches under a hat."""
        hidden = np.repeat(hat_height(self.spines).ravel() > hidden_above, 2)
        return replace(self, triangles=self.triangles[~hidden[self.triangles].any(1)])


HairPart = Cards | Ribbons


class Transform(NamedTuple):
    """A similarity from a head's own units to the world."""

    scale: float
    rotation: F64
    """[3, 3]."""
    offset: F64
    """[3]."""

    def points(self, points: Array) -> F32:
        """[..., 3] carried over."""
        moved = points @ (self.scale * self.rotation).T + self.offset
        return np.asarray(moved, np.float32)

    def directions(self, directions: Array) -> F32:
        """[..., 3] turned only."""
        return (directions @ self.rotation.T).astype(np.float32)


def make_hair(pack: Pack, person: Person, points: F32, rng: Generator) -> list[HairPart]:
    """Hair and beard of a person whose head has these vertices [n, 3]."""
    hair = person.hair
    displacement = points - pack.points
    parts: list[HairPart] = []
    if hair.kind == "mesh":
        parts.append(_cards(pack, pack.hair[hair.style], displacement, person, rng))
        loose = flyaways(pack, rng)
        parts.append(_ribbons(pack, loose, displacement, hair.colour, rng, alpha=0.4))
    elif hair.kind == "strand":
        parts.extend(
            _ribbons(pack, tuft, displacement, hair.colour, rng)
            for tuft in hair_strands(pack, hair.style, hair.mirrored, rng)
        )
    if hair.beard != "none":
        darker = np.array(hair.colour) * 0.75 + 0.002
        beard = beard_strands(pack, hair.beard, rng)
        parts.append(_ribbons(pack, beard, displacement, darker, rng))
    return parts


def _cards(pack: Pack, mesh: HairMesh, displacement: F32, person: Person, rng: Generator) -> Cards:
    points = mesh.points
    normals, tangents, triangles = mesh.normals, mesh.tangents, mesh.triangles
    if person.hair.mirrored:
        flip = np.array([-1, 1, 1], np.float32)
        points = points * flip
        near = cKDTree(pack.points[pack.skin_vertices]).query(points.astype(np.float64), k=4)[1]
        points = points + displacement[pack.skin_vertices][near].mean(1)
        normals, tangents = normals * flip, tangents * flip
        triangles = np.ascontiguousarray(triangles[:, [0, 2, 1]])
    else:
        follow = displacement[mesh.skin_vertices] * mesh.skin_weights[..., None]
        points = points + follow.sum(1)
    # a card's own normal would show its edges; lean it toward the direction from the skull
    away = points - _MIDDLE.astype(np.float32)
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    tips = np.clip((14 - points[:, 1]) / 20, 0, 1)[:, None]
    shade = np.exp(rng.normal(0, 0.06)) * (0.8 + 0.35 * tips)
    colour = (np.array(person.hair.colour) * shade).astype(np.float32)
    normals = unit(normals * 0.5 + away * 0.7).astype(np.float32)
    openness = np.clip(mesh.openness, 0.15, 1)
    return Cards(
        points=points,
        triangles=triangles,
        uv=mesh.uv,
        alpha=np.ones(len(points), np.float32),
        texture=mesh.texture,
        shading=ShadePoints(points, normals, tangents, openness, colour),
    )


def _ribbons(
    pack: Pack,
    strands: Strands,
    displacement: F32,
    colour: Colour | Array,
    rng: Generator,
    alpha: float = 1.0,
) -> Ribbons:
    count, length = strands.points.shape[:2]
    shift = (displacement[strands.skin] * strands.weights[..., None]).sum(1)
    spines = strands.points + shift[:, None]
    tangents = unit(np.gradient(spines, axis=1))
    away = spines - _MIDDLE
    away /= np.linalg.norm(away, axis=2, keepdims=True)
    # bent normals: away from the skull, half way to perpendicular to the strand
    normals = unit(away - 0.6 * (away * tangents).sum(2, keepdims=True) * tangents)
    tip = np.linspace(0, 1, length)[None].repeat(count, 0)
    thick = max(np.percentile(strands.heights, 85), 0.25)
    inside = np.clip(strands.heights / thick, 0, 1.2)
    openness = np.clip(0.42 + 0.45 * inside + 0.22 * tip, 0.3, 1)
    variety = np.exp(rng.normal(0, 0.16, (count, 1, 1)) + rng.normal(0, 0.03, (count, 1, 3)))
    base = np.asarray(colour) * variety * (0.78 + 0.4 * tip[..., None])
    columns = rng.integers(0, ATLAS_COLUMNS, size=(count,))
    return Ribbons(
        spines=spines.astype(np.float32),
        widths=strands.widths.astype(np.float32),
        skin=strands.skin,
        weights=strands.weights.astype(np.float32),
        triangles=_ribbon_triangles(count, length),
        uv=_ribbon_uv(columns, length),
        alpha=np.full(count * length * 2, alpha, np.float32),
        texture=pack.strand_texture,
        shading=ShadePoints(
            points=spines.astype(np.float32).reshape(-1, 3),
            normals=normals.astype(np.float32).reshape(-1, 3),
            tangents=tangents.astype(np.float32).reshape(-1, 3),
            openness=openness.astype(np.float32).ravel(),
            colour=base.astype(np.float32).reshape(-1, 3),
        ),
    )


def _ribbon_triangles(count: int, length: int) -> I32:
    """[2 n (K - 1), 3] two for each step along a ribbon."""
    first = ((np.arange(count)[:, None] * length + np.arange(length - 1)[None]) * 2).ravel()
    near = np.stack([first, first + 1, first + 3], axis=1)
    far = np.stack([first, first + 3, first + 2], axis=1)
    return np.stack([near, far], axis=1).reshape(-1, 3).astype(np.int32)


def _ribbon_uv(columns: Array, length: int) -> F32:
    """[n K 2, 2] each ribbon in its column of the strand texture, roots at v = 0.99."""
    uv = np.empty((len(columns), length, 2, 2), np.float32)
    left = (columns / ATLAS_COLUMNS)[:, None]
    uv[:, :, 0, 0] = left + 0.004
    uv[:, :, 1, 0] = left + 0.121
    uv[..., 1] = (1 - np.linspace(0.01, 0.99, length))[None, :, None]
    return uv.reshape(-1, 2)


def _placed(shading: ShadePoints, points: F32, to_world: Transform) -> ShadePoints:
    return shading._replace(
        points=points,
        normals=to_world.directions(shading.normals),
        tangents=to_world.directions(shading.tangents),
    )


def hat_height(points: Array) -> Array:
    """[...] height above the brim of a hat that sits tilted back."""
    height: Array = points[..., 1] - 0.25 * points[..., 2]
    return height
