"""How far one surface is from another: the paper's table 6 and figure 12.

The surface is laid on the reference by five landmarks alone, "to analyze the shape correctness of
the parts not fully visible in the frontal image" (appendix E); then each of its points in the face
is as wrong as its distance from the reference is long.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from tpvideo.stages.geometry import Array
from tpvideo.weights.evaluation.mesh import Triangles
from tpvideo.weights.evaluation.similarity import Similarity

FINEST = 0.02
"""Farthest that samples of the reference stand apart, in distances between the eyes."""
NEAREST = 12
"""Samples about a point whose triangles are looked at exactly."""
REGION_RADII = np.array([1.15, 1.45, 1.2])
"""Half axes of the face's ellipsoid across, up and in depth, in distances between the eyes: from
cheek to cheek without the ears, from chin to hairline."""
REGION_BEHIND = 0.55
"""How far its middle is behind that of the landmarks."""


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """A surface that is held to be true."""

    points: Array
    """[N, 3] in units of its own."""
    triangles: Triangles
    """[M, 3]."""
    landmarks: Array
    """[5, 3] in the order of geometry.MEAN_LANDMARKS."""

    @property
    def eyes_apart(self) -> float:
        """The unit that distances are told in."""
        return float(np.linalg.norm(self.landmarks[1] - self.landmarks[0]))

    def region(self, points: Array) -> NDArray[np.bool_]:
        """[N] which points [N, 3] are in the face: in an ellipsoid that stands on the reference's
        landmarks, so that it is the same whatever is measured."""
        left, right, _, *mouth = self.landmarks
        across = (right - left) / self.eyes_apart
        up = (left + right) / 2 - np.mean(mouth, axis=0)
        up -= across * (across @ up)
        up /= np.linalg.norm(up)
        forward = np.cross(across, up)
        middle = self.landmarks.mean(axis=0) - REGION_BEHIND * self.eyes_apart * forward
        local = (points - middle) @ np.stack([across, up, forward], axis=1) / self.eyes_apart
        return np.asarray(((local / REGION_RADII) ** 2).sum(axis=1) < 1)

    def distances(self, points: Array) -> Array:
        """[N] from each point [N, 3] to the nearest of the surface, in distances between the eyes.

        Samples of the surface say which triangles may be nearest; to those it is exact.
        """
        corners = self.points[self.triangles]  # [M, 3, 3]
        samples, owners = _samples(corners, FINEST * self.eyes_apart)
        count = min(NEAREST, len(samples))
        _, near = cKDTree(samples).query(points, k=[*range(1, count + 1)])
        best = np.full(len(points), np.inf)
        for candidates in owners[near].T:
            best = np.minimum(best, to_triangles(points, corners[candidates]))
        return best / self.eyes_apart


@dataclass(frozen=True, slots=True, eq=False)
class Errors:
    """Of a surface against a reference."""

    distances: Array
    """[N] of each vertex, in distances between the reference's eyes."""
    region: NDArray[np.bool_]
    """[N] which vertices are in the face."""
    weights: Array
    """[N] area of each vertex."""
    fit: float
    """Root mean square distance of the five landmarks after the fit."""

    @classmethod
    def of(cls, points: Array, areas: Array, landmarks: Array, reference: Reference) -> Errors:
        """
        Args:
            points: [N, 3] vertices.
            areas: [N] of the surface at each.
            landmarks: [5, 3] of the surface.
        """
        fit = Similarity.between(landmarks, reference.landmarks)
        moved = fit.points(points)
        region = reference.region(moved)
        distances = np.full(len(points), np.nan)
        distances[region] = reference.distances(moved[region])
        apart = np.linalg.norm(fit.points(landmarks) - reference.landmarks, axis=1)
        rms = float(np.sqrt((apart**2).mean())) / reference.eyes_apart
        return cls(distances, region, areas, rms)

    @property
    def mean(self) -> float:
        """Average distance over the area of the face: the paper's AD."""
        inside = self.region
        return float(np.average(self.distances[inside], weights=self.weights[inside]))

    def quantile(self, share: float) -> float:
        """The distance that this share of the face's area stays below."""
        inside = self.region
        order = np.argsort(self.distances[inside])
        summed = self.weights[inside][order].cumsum()
        place = np.searchsorted(summed, share * summed[-1])
        return float(self.distances[inside][order][place])


def _samples(corners: Array, apart: float) -> tuple[Array, NDArray[np.int64]]:
    """[K, 3] points of triangles [M, 3, 3], at most about `apart` from each other, and [K] whose
    they are."""
    edges = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(axis=1)
    steps = 2 ** np.ceil(np.log2((edges / apart).clip(1, 256))).astype(int)
    found, owners = [], []
    for count in np.unique(steps):
        own = np.flatnonzero(steps == count)
        a, b = np.meshgrid(np.arange(count + 1), np.arange(count + 1))
        first, second = (part[a + b <= count] / count for part in (a, b))
        shares = np.stack([first, second, 1 - first - second], axis=1)
        found.append(np.einsum("sk,mkc->msc", shares, corners[own]).reshape(-1, 3))
        owners.append(own.repeat(len(shares)))
    return np.concatenate(found), np.concatenate(owners)


def to_triangles(points: Array, corners: Array) -> Array:
    """[N] distance of each point [N, 3] from its own triangle [N, 3, 3].

    The nearest point is in the plane where the foot of the perpendicular is inside, else on one
    of the edges.
    """
    a, b, c = corners.transpose(1, 0, 2)
    normal = np.cross(b - a, c - a)
    size = (normal**2).sum(axis=1).clip(1e-30)
    height = ((points - a) * normal).sum(axis=1) / np.sqrt(size)
    inside = np.ones(len(points), bool)
    nearest = np.full(len(points), np.inf)
    for start, end in ((a, b), (b, c), (c, a)):
        edge, from_start = end - start, points - start
        inside &= (np.cross(edge, from_start) * normal).sum(axis=1) >= 0
        length = (edge**2).sum(axis=1).clip(1e-30)
        along = ((from_start * edge).sum(axis=1) / length).clip(0, 1)
        nearest = np.minimum(nearest, np.linalg.norm(from_start - along[:, None] * edge, axis=1))
    return np.where(inside & (size > 1e-29), np.abs(height), nearest)
