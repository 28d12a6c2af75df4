"""Files are read back by trimesh, which has nothing in common with what wrote them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tpvideo.pipeline.errors import OutputError
from tpvideo.stages.mesh import Mesh
from tpvideo.stages.mesh_files import linear, save_image, save_mesh
from tpvideo.weights.evaluation.mesh_formats import read_mesh

POINTS = np.array([[0, 0, 0], [0.25, 0, 0], [0, 0.5, 0], [0, 0, -0.75]])
TRIANGLES = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]])
COLOURS = np.array([[255, 0, 0], [0, 128, 0], [10, 20, 30], [255, 255, 255]], np.uint8)
PYRAMID = Mesh(POINTS, TRIANGLES, COLOURS)


def loaded(path: Path) -> Any:
    trimesh = pytest.importorskip("trimesh", reason="needs the extra dev")
    scene = trimesh.load(path, process=False)
    return next(iter(scene.geometry.values())) if hasattr(scene, "geometry") else scene


@pytest.mark.parametrize("suffix", [".ply", ".obj", ".glb"])
@pytest.mark.parametrize("mesh", [PYRAMID, Mesh(POINTS, TRIANGLES)], ids=["coloured", "plain"])
def test_another_program_reads_what_was_written(tmp_path: Path, suffix: str, mesh: Mesh) -> None:
    path = tmp_path / f"head{suffix}"
    save_mesh(mesh, path)
    read = loaded(path)
    np.testing.assert_allclose(read.vertices, POINTS, atol=1e-6)
    np.testing.assert_array_equal(read.faces, TRIANGLES)
    np.testing.assert_allclose(read.vertex_normals, mesh.normals(), atol=1e-3)
    assert [part.name for part in tmp_path.iterdir()] == [path.name]


def test_colours_come_back(tmp_path: Path) -> None:
    for suffix in (".ply", ".obj"):
        save_mesh(PYRAMID, tmp_path / f"head{suffix}")
        found = loaded(tmp_path / f"head{suffix}").visual.vertex_colors
        np.testing.assert_array_equal(found[:, :3], COLOURS)
    save_mesh(PYRAMID, tmp_path / "head.glb")
    kept = loaded(tmp_path / "head.glb").visual.vertex_attributes["color"]
    full = np.iinfo(kept.dtype).max
    np.testing.assert_allclose(kept[:, :3] / full, linear(COLOURS), atol=1 / full)


@pytest.mark.parametrize("suffix", [".ply", ".obj", ".glb"])
def test_we_read_what_we_write(tmp_path: Path, suffix: str) -> None:
    save_mesh(PYRAMID, tmp_path / f"head{suffix}")
    points, triangles = read_mesh(tmp_path / f"head{suffix}")
    np.testing.assert_allclose(points, POINTS, atol=1e-6)
    np.testing.assert_array_equal(triangles, TRIANGLES)


def test_glb_colours_are_linear_light() -> None:
    assert linear(np.array([0, 188, 255], np.uint8)) == pytest.approx([0, 0.503, 1], abs=1e-3)


def test_a_suffix_that_is_not_known_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"a mesh must be one of \.ply \.obj \.glb"):
        save_mesh(PYRAMID, tmp_path / "head.stl")


def test_nothing_is_left_where_a_file_cannot_be_written(tmp_path: Path) -> None:
    target = tmp_path / "taken.ply"
    target.mkdir()
    with pytest.raises(OutputError, match=r"taken\.ply"):
        save_mesh(PYRAMID, target)
    with pytest.raises(OutputError, match="absent"):
        save_image(np.zeros((2, 2, 3), np.uint8), tmp_path / "absent" / "map.png")
    assert list(tmp_path.iterdir()) == [target] and not list(target.iterdir())
