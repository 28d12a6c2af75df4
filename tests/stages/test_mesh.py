from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tpvideo.pipeline.errors import ConfigError, MissingExtraError
from tpvideo.stages.mesh import Mesh, largest_piece, surface, with_even_rim
from tpvideo.stages.networks.triplane import Decoded

pytest.importorskip("skimage")

CENTRE, RADIUS = torch.tensor([0.1, -0.05, 0.02]), 0.25
SECOND, SMALL = torch.tensor([-0.3, 0.3, -0.3]), 0.08
SIDE = 48
CELL = 1.0 / (SIDE - 1)


def balls(*, second: bool = False) -> Any:
    """A generator whose raw density is ten times the distance inward from the nearest ball."""

    def query(planes: Tensor, points: Tensor) -> Decoded:
        inward = RADIUS - (points - CENTRE).norm(dim=-1, keepdim=True)
        if second:
            other = SMALL - (points - SECOND).norm(dim=-1, keepdim=True)
            inward = torch.maximum(inward, other)
        return Decoded(torch.zeros(*points.shape), 10 * inward)

    return SimpleNamespace(box=1.0, query=query)


def radii(mesh: Mesh) -> np.ndarray[Any, Any]:
    return np.linalg.norm(mesh.points - CENTRE.numpy(), axis=1)


@pytest.mark.parametrize(("level", "radius"), [(0.0, 0.25), (0.8, 0.17)])
def test_the_surface_of_a_ball_has_its_radius(level: float, radius: float) -> None:
    mesh = surface(balls(), torch.zeros(1, 1), level, SIDE)
    # A chord of one cell across a ball of this radius is off by h^2 / 8 r at most.
    assert np.abs(radii(mesh) - radius).max() < CELL**2 / (4 * radius)


def test_its_triangles_face_outward_and_close_it() -> None:
    mesh = surface(balls(), torch.zeros(1, 1), 0.0, SIDE)
    outward = (mesh.points - CENTRE.numpy()) / radii(mesh)[:, None]
    assert (mesh.normals() * outward).sum(axis=1).min() > 0.95
    assert mesh.areas().sum() == pytest.approx(4 * np.pi * RADIUS**2, rel=0.01)
    edges = np.concatenate([mesh.triangles[:, pair] for pair in ([0, 1], [1, 2], [2, 0])])
    directed = {tuple(edge) for edge in edges.tolist()}
    assert len(directed) == len(edges)  # none twice in one direction,
    assert all((b, a) in directed for a, b in directed)  # and each in both: closed


def test_only_the_largest_piece_is_kept() -> None:
    mesh = surface(balls(second=True), torch.zeros(1, 1), 0.0, SIDE)
    assert radii(mesh).max() < RADIUS + CELL
    moved = Mesh(mesh.points + 2.0, mesh.triangles)
    few = Mesh(moved.points[:3], np.array([[0, 1, 2]]))
    both = Mesh(
        np.concatenate([few.points, mesh.points]),
        np.concatenate([few.triangles, mesh.triangles + 3]),
        np.full((3 + len(mesh.points), 3), 7, np.uint8),
    )
    kept = largest_piece(both)
    np.testing.assert_array_equal(kept.points, mesh.points)
    np.testing.assert_array_equal(kept.triangles, mesh.triangles)
    assert kept.colours is not None and kept.colours.shape == kept.points.shape


def test_a_level_that_the_density_never_passes_is_named() -> None:
    with pytest.raises(ConfigError, match=r"no surface at 9; --level takes a value between"):
        surface(balls(), torch.zeros(1, 1), 9.0, 16)


def test_a_ragged_rim_is_evened_out() -> None:
    """A half of the ball, with every eleventh vertex flipped, becomes the half again."""
    mesh = surface(balls(), torch.zeros(1, 1), 0.0, SIDE)
    z = mesh.points[:, 2] - float(CENTRE[2])
    ragged = z > 0
    ragged[::11] ^= True
    kept = with_even_rim(mesh, ragged)
    clear = np.abs(z) > 3 * CELL
    np.testing.assert_array_equal(kept[clear], (z > 0)[clear])
    half = mesh.part(kept)
    assert len(half.triangles) == pytest.approx(len(mesh.triangles) / 2, rel=0.1)


def test_without_scikit_image_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "skimage.measure", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tpvideo\[mesh\]'"):
        surface(balls(), torch.zeros(1, 1), 0.0, 16)
