"""The surface of a head's volume as triangles."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from tpvideo.pipeline.errors import ConfigError, MissingExtraError
from tpvideo.stages.geometry import Array
from tpvideo.stages.networks.density_grid import density_grid, even_points
from tpvideo.stages.networks.generator import Generator

RIM_STEPS = 16
"""How often a rim is smoothed; each step reaches one vertex farther."""

Triangles = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Mesh:
    """Triangles in EG3D's world; see geometry."""

    points: Array
    """[N, 3] scene units."""
    triangles: Triangles
    """[M, 3] vertex numbers, counter-clockwise seen from outside."""
    colours: NDArray[np.uint8] | None = None
    """[N, 3] sRGB of the vertices."""

    def normals(self) -> Array:
        """[N, 3] unit vectors outward, triangles weighted by area; 0 for vertices in none."""
        summed, across = np.zeros_like(self.points), self._across()
        for corner in self.triangles.T:
            np.add.at(summed, corner, across)
        return np.asarray(summed / np.linalg.norm(summed, axis=1, keepdims=True).clip(1e-20))

    def areas(self) -> Array:
        """[N] a third of the area of the triangles at each vertex, scene units squared."""
        third = np.linalg.norm(self._across(), axis=1) / 6
        summed = np.bincount(self.triangles.ravel(), third.repeat(3), len(self.points))
        return summed.astype(np.float64)

    def part(self, kept: NDArray[np.bool_]) -> Mesh:
        """The triangles all of whose vertices are kept, and their vertices.

        Args:
            kept: [N].
        """
        triangles = self.triangles[kept[self.triangles].all(axis=1)]
        used = np.zeros(len(self.points), bool)
        used[triangles] = True
        number = used.cumsum() - 1
        colours = None if self.colours is None else self.colours[used]
        return replace(self, points=self.points[used], triangles=number[triangles], colours=colours)

    def _across(self) -> Array:
        """[M, 3] vectors outward, twice as long as the triangles are large."""
        a, b, c = (self.points[corner] for corner in self.triangles.T)
        return np.cross(b - a, c - a)


def surface(generator: Generator, planes: Tensor, level: float, side: int = 256) -> Mesh:
    """Where a volume's raw density passes a level: its largest connected piece, without colours.

    It is open where it meets the border of the box.

    Args:
        planes: [1, 3 C, H, W].
        level: raw density, before softplus, as EG3D's shape extraction counts it; more is inside.
        side: samples of the density along each axis of the box.

    Raises:
        MissingExtraError: scikit-image is not installed.
        ConfigError: the density passes the level nowhere.
    """
    measure = load_marching_cubes()
    densities = density_grid(generator, planes, side, points=even_points).cpu().numpy()
    low, high = float(densities.min()), float(densities.max())
    if not low < level < high:
        raise ConfigError(
            f"the volume's density runs from {low:.3g} to {high:.3g} and has no surface at "
            f"{level:g}; --level takes a value between"
        )
    cells, triangles, _, _ = measure(densities, level, gradient_direction="ascent")
    points = cells.astype(np.float64) * (generator.box / (side - 1)) - generator.box / 2
    return largest_piece(Mesh(points, triangles.astype(np.int64)))


def load_marching_cubes() -> Any:
    """scikit-image's function.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return import_module("skimage.measure").marching_cubes
    except ImportError as error:
        raise MissingExtraError("scikit-image", "mesh", "a mesh") from error


def largest_piece(mesh: Mesh) -> Mesh:
    """The connected piece with the most triangles."""
    graph = import_module("scipy.sparse.csgraph")
    _, piece = graph.connected_components(_neighbours(mesh), directed=False)
    largest = np.bincount(piece[mesh.triangles[:, 0]]).argmax()
    return mesh.part(piece == largest)


def with_even_rim(mesh: Mesh, kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """[N] what is kept, its ragged border evened out along the surface; specks and pinholes go."""
    neighbours = _neighbours(mesh)
    count = np.asarray(neighbours.sum(axis=1)).ravel() + 1.0
    share = kept.astype(np.float64)
    for _ in range(RIM_STEPS):
        share = (neighbours @ share + share) / count
    return np.asarray(share > 0.5)


def _neighbours(mesh: Mesh) -> Any:
    """[N, N] sparse matrix, 1 where an edge joins two vertices."""
    a, b, c = mesh.triangles.T
    rows, columns = np.concatenate([a, b, c, b, c, a]), np.concatenate([b, c, a, a, b, c])
    size = len(mesh.points)
    edges = (np.ones(len(rows)), (rows, columns))
    matrix = import_module("scipy.sparse").csr_matrix(edges, (size, size))
    matrix.data[:] = 1
    return matrix
