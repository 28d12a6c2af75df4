"""Strands over the mean head: where they are rooted, which way they lie, how they grow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from tpvideo.weights.training.heads.kernel import F64, Array
from tpvideo.weights.training.heads.pack import Pack
from tpvideo.weights.training.heads.strands import clump, curl, grow

_CROWN = np.array([0.0, 14.2, -2.5])
_KNOT = np.array([0.0, 7.5, -9.8])


class Strands(NamedTuple):
    """n strands of K points on the mean head."""

    points: Array
    """[n, K, 3]."""
    heights: Array
    """[n, K] distance from the skin."""
    skin: Array
    """[n, 3] vertices of the triangle that each is rooted in."""
    weights: Array
    """[n, 3] place in that triangle."""
    widths: Array
    """[n] of the ribbons."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """How a tuft of strands grows; lengths in the mean head's units."""

    count: int
    length: tuple[float, float]
    flow: str
    """Which way strands lie: a name of `_flow`."""
    clearance: tuple[float, float]
    """Distance kept from the skin."""
    points: int
    width: float
    lift: float = 0.4
    """0 lies on the skin .. 1 stands up."""
    gravity: float = 0.05
    frizz: float = 0.05
    jitter: float = 0.15
    stiffness: float = 0.0
    adhesion: float = 0.0
    parting: float = 0.0
    """x of the parting."""
    turn_rad: float = 0.0
    """Of the flow about the skin's normal."""
    clumps: tuple[int, float] | None = None
    """Guides and strength."""
    curls: tuple[float, float] | None = None
    """Radius and length of one turn."""
    length_at: Callable[[F64], F64] | None = None
    """[n] factor on the length at roots [n, 3]."""


def grow_strands(pack: Pack, rng: Generator, density: Array, growth: Growth) -> Strands:
    """Root strands where `density` [vertices], 0..1, says and let them grow."""
    n = growth.count
    roots, normals, skin, weights = _roots(pack, rng, density, n)
    flow = _tangent(_flow(roots, growth, rng), normals)
    if growth.turn_rad:
        aside = np.cross(normals, flow)
        flow = flow * np.cos(growth.turn_rad) + aside * np.sin(growth.turn_rad)
    flow = _tangent(flow + rng.normal(0, growth.jitter, roots.shape), normals)
    directions = normals * growth.lift + flow * (1 - growth.lift)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    lengths = rng.uniform(*growth.length, n) * np.clip(density[skin].mean(1) * 1.4, 0.35, 1)
    if growth.length_at is not None:
        lengths = lengths * growth.length_at(roots)
    clearances = rng.uniform(*growth.clearance, n)
    gravity = np.full(n, growth.gravity) * rng.uniform(0.7, 1.3, n)
    wander = rng.normal(size=(n, growth.points, 3))
    points = np.empty((n, growth.points, 3))
    heights = np.empty((n, growth.points))
    grow(
        roots,
        directions,
        lengths,
        clearances,
        gravity,
        wander,
        growth.frizz,
        growth.stiffness,
        growth.adhesion,
        pack.distance,
        pack.distance_low,
        pack.distance_step,
        points,
        heights,
    )
    if growth.clumps:
        points = clump(points, *growth.clumps, rng)
    if growth.curls:
        radius, turn = growth.curls
        radii = rng.uniform(0.6, 1.3, n) * radius
        points = curl(points, radii, lengths / turn, rng.uniform(0, 6.28, n))
    keep = lengths > 0.15
    widths = growth.width * rng.uniform(0.7, 1.3, int(keep.sum()))
    return Strands(points[keep], heights[keep], skin[keep], weights[keep], widths)


def _roots(pack: Pack, rng: Generator, density: Array, count: int) -> tuple[F64, F64, Array, F64]:
    """Random places on the skin: points, normals, triangles [n, 3] and weights [n, 3]."""
    area = pack.skin_area * np.clip(density[pack.skin].mean(1), 0, 1) ** 1.5
    total = np.cumsum(area)
    chosen = np.searchsorted(total, rng.random(count) * total[-1])
    skin = pack.skin[np.minimum(chosen, len(pack.skin) - 1)]
    pair = rng.random((count, 2))
    outside = pair.sum(1) > 1
    pair[outside] = 1 - pair[outside]
    weights = np.column_stack([1 - pair.sum(1), pair])
    points = (pack.points[skin] * weights[..., None]).sum(1)
    normals = (pack.normals[skin] * weights[..., None]).sum(1)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-9
    return points, normals, skin, weights


def _tangent(directions: Array, normals: Array) -> Array:
    along = directions - (directions * normals).sum(1, keepdims=True) * normals
    result: Array = along / (np.linalg.norm(along, axis=1, keepdims=True) + 1e-6)
    return result


def _flow(roots: F64, growth: Growth, rng: Generator) -> Array:
    """[n, 3] which way hair lies at the roots, before it is bent into the skin."""
    x, z = roots[:, 0], roots[:, 2]
    even = np.ones(len(roots))
    outward = np.where(x > growth.parting, 1.0, -1.0)
    if growth.flow == "down":
        return np.asarray(roots - _CROWN)
    if growth.flow == "knot":
        return _KNOT - roots
    if growth.flow == "random":
        return rng.normal(size=roots.shape)
    columns = {
        "part": (outward, -0.05 * even, np.where(z > 2, -0.75, -0.3)),
        "side": (outward, -0.25 * even, 0.25 * even),
        "back": (0.12 * x / 8, 0.05 * even, -even),
        "forward": (0.1 * x / 8, -0.2 * even, even),
        "beard": (-0.12 * np.sign(x), -even, 0.1 * even),
    }
    flow: Array = np.stack(columns[growth.flow], axis=1)
    return flow
