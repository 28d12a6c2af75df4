"""Similarities of space, and the one that lays some points on others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tpvideo.stages.geometry import Array


@dataclass(frozen=True, slots=True)
class Similarity:
    """Scale, then turn, then move."""

    scale: float
    rotation: Array
    """[3, 3]."""
    offset: Array
    """[3]."""

    @classmethod
    def between(cls, points: Array, others: Array) -> Similarity:
        """The one that lays points on others, [N, 3] each, with the least squared distances
        (Umeyama 1991)."""
        middle, other = points.mean(axis=0), others.mean(axis=0)
        u, stretch, v = np.linalg.svd((others - other).T @ (points - middle))
        signs = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ v))])
        rotation = (u * signs) @ v
        scale = float((stretch * signs).sum() / ((points - middle) ** 2).sum())
        return cls(scale, rotation, other - scale * rotation @ middle)

    def points(self, points: Array) -> Array:
        """[N, 3] moved."""
        return np.asarray(self.scale * points @ self.rotation.T + self.offset)
