"""Compiled rasterisers against loops that take one pixel at a time."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba", reason="needs the training extra")
pytest.importorskip("cv2", reason="needs the training extra")
pytest.importorskip("scipy", reason="needs the training extra")

from tpvideo.weights.training.heads.blend import Veil, blend, smallest_first
from tpvideo.weights.training.heads.raster import (
    FAR,
    fill_depth,
    fill_depth_textured,
    fill_opaque,
    light_view,
    project,
    project_flat,
    vertex_normals,
)
from tpvideo.weights.training.heads.render import compose
from tpvideo.weights.training.heads.shade import Samples

SIDE = 24


def weights_at(corners: np.ndarray, x: float, y: float) -> np.ndarray:
    """[3] barycentric weights of a place in a triangle [3, 2], by solving for them."""
    system = np.vstack([corners.T, np.ones(3)])
    return np.linalg.solve(system, [x, y, 1.0])


def random_triangles(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Screen vertices [3n, 4] and triangles [n, 3] that cover part of the picture."""
    depth = rng.uniform(1, 3, 3 * count)
    screen = np.column_stack([rng.uniform(-5, SIDE + 5, (3 * count, 2)), depth, 1 / depth])
    return screen.astype(np.float32), np.arange(3 * count, dtype=np.int32).reshape(-1, 3)


def opaque(screen: np.ndarray, triangles: np.ndarray, culled: int) -> list[np.ndarray]:
    nearness = np.zeros((SIDE, SIDE), np.float32)
    hit = np.full((SIDE, SIDE), -1, np.int32)
    second, third = np.zeros_like(nearness), np.zeros_like(nearness)
    flags = np.full(len(triangles), culled, np.uint8)
    fill_opaque(screen, triangles, flags, nearness, hit, second, third)
    return [nearness, hit, second, third]


def test_nearest_triangle_is_kept_with_its_perspective_weights() -> None:
    screen, triangles = random_triangles(np.random.default_rng(1), 12)
    nearness, hit, second, third = opaque(screen, triangles, culled=0)
    covered = 0
    for y in range(SIDE):
        for x in range(SIDE):
            best, winner, share = 0.0, -1, np.zeros(3)
            for t, corners in enumerate(screen[triangles].astype(np.float64)):
                w = weights_at(corners[:, :2], x + 0.5, y + 0.5)
                near = w @ corners[:, 3]
                if w.min() >= 0 and near > best:
                    best, winner, share = near, t, w * corners[:, 3] / near
            assert hit[y, x] == winner
            assert nearness[y, x] == pytest.approx(best, rel=1e-4)  # float32
            if winner >= 0:
                covered += 1
                assert (second[y, x], third[y, x]) == pytest.approx(tuple(share[1:]), abs=2e-3)
    assert 50 < covered < SIDE * SIDE  # the test sees both background and surface


def test_back_faces_of_closed_surfaces_are_left_out() -> None:
    points = np.array([[4, 4, 1, 1], [4, 20, 1, 1], [20, 4, 1, 1]], np.float32)
    front, back = np.array([[0, 1, 2]], np.int32), np.array([[0, 2, 1]], np.int32)
    # rows run downward: down, then right is counter-clockwise as seen
    assert (opaque(points, front, culled=1)[1] == 0).any()
    assert (opaque(points, back, culled=1)[1] == -1).all()
    assert (opaque(points, back, culled=0)[1] == 0).any()


def test_shared_edges_are_covered_without_gaps() -> None:
    corners = np.array([[2, 2], [21.3, 3.1], [19.7, 20.2], [3.4, 22]], np.float64)
    screen = np.column_stack([corners, np.ones(4), np.ones(4)]).astype(np.float32)
    whole = opaque(screen, np.array([[0, 1, 2], [0, 2, 3]], np.int32), culled=0)[1] >= 0
    other = opaque(screen, np.array([[0, 1, 3], [1, 2, 3]], np.int32), culled=0)[1] >= 0
    np.testing.assert_array_equal(whole, other)


def test_depth_maps_keep_the_smallest_depth() -> None:
    screen, triangles = random_triangles(np.random.default_rng(2), 10)
    depth = np.full((SIDE, SIDE), FAR, np.float32)
    fill_depth(screen[:, :3].copy(), triangles, depth)
    for y in range(SIDE):
        for x in range(SIDE):
            best = FAR
            for corners in screen[triangles].astype(np.float64):
                w = weights_at(corners[:, :2], x + 0.5, y + 0.5)
                if w.min() >= 0:
                    best = min(best, w @ corners[:, 2])
            assert depth[y, x] == pytest.approx(best, rel=1e-4)


def test_transparent_texels_throw_no_shadow() -> None:
    screen = np.array([[0, 0, 1], [0, 24, 1], [24, 0, 1], [24, 24, 1]], np.float32)
    triangles = np.array([[0, 1, 2], [2, 1, 3]], np.int32)
    uv = np.array([[0, 1], [0, 0], [1, 1], [1, 0]], np.float32)
    texture = np.zeros((2, 2, 2), np.uint8)
    texture[:, 0, 1] = 255  # the left half is opaque
    depth = np.full((SIDE, SIDE), FAR, np.float32)
    ones = np.ones(4, np.float32)
    fill_depth_textured(screen, triangles, uv, ones, texture, 128.0, 1.0, depth)
    assert (depth[:, :12] == 1).all()
    assert (depth[:, 12:] == np.float32(FAR)).all()


def test_layers_compose_front_to_back_behind_nothing_nearer() -> None:
    # two half-opaque sheets at depth 2 and 3, drawn in the wrong order, and a wall at depth 2.5
    sheet = [[-1, -1], [-1, 60], [60, -1]]
    screen = np.array([[*xy, z, 1 / z] for z in (3.0, 2.0) for xy in sheet], np.float32)
    triangles = np.array([[0, 1, 2], [3, 4, 5]], np.int32)
    colour = np.repeat([[0.0, 1, 0], [1, 0, 0]], 3, axis=0).astype(np.float32)
    alpha = np.full(6, 0.5, np.float32)
    flat = np.full((4, 4, 2), (128, 255), np.uint8)
    uv = np.full((6, 2), 0.5, np.float32)
    wall = np.zeros((SIDE, SIDE), np.float32)
    wall[:, 12:] = 1 / 2.5
    veil = blend(screen, triangles, uv, colour, alpha, flat, wall)
    np.testing.assert_allclose(veil.light[0, 0], [0.5, 0.25, 0], atol=1e-6)
    np.testing.assert_allclose(veil.light[0, 20], [0.5, 0, 0], atol=1e-6)
    np.testing.assert_allclose(veil.open_share[0, [0, 20]], [0.25, 0.5], atol=1e-6)
    np.testing.assert_allclose(veil.half_nearness[0, [0, 20]], [1 / 2, 1 / 2], atol=1e-6)


@pytest.mark.parametrize("count", [0, 1, 3000])
def test_triangles_are_sorted_as_numpy_sorts_them(count: int) -> None:
    rng = np.random.default_rng(4)
    values = rng.normal(0, 2, count).round(2)  # with equal ones, some negative, and two zeros
    values = np.concatenate([values + 0.0, [0.0, 0.0]]).astype(np.float32)  # none is -0
    assert np.array_equal(smallest_first(values), np.argsort(values, kind="stable"))


def test_pixels_are_the_mean_of_their_samples() -> None:
    rng = np.random.default_rng(5)
    size = (8, 8)
    hit = rng.integers(-1, 2, size).astype(np.int32)
    front = np.where(rng.random(size) < 0.4, 0, rng.uniform(0.3, 0.5, size)).astype(np.float32)
    near = np.where(hit >= 0, rng.uniform(0.3, 0.5, size), 0).astype(np.float32)
    opening = rng.random(size).astype(np.float32)
    veil = Veil(rng.random((*size, 3)).astype(np.float32), opening, front)
    light = rng.random((*size, 3)).astype(np.float32)
    samples = Samples(near, hit, np.zeros(size, np.float32), np.zeros(size, np.float32))
    colour = np.empty((4, 4, 3), np.float32)
    alpha, depth = np.empty((4, 4), np.float32), np.empty((4, 4), np.float32)
    compose(samples, veil, light, colour, alpha, depth)

    solid = (hit >= 0).astype(np.float64)
    covered = 1 - opening * (1 - solid)
    shown = veil.light + (opening * solid)[..., None] * light
    nearest = np.where(covered < 0.5, 0, np.maximum(near, front))
    for y in range(4):
        for x in range(4):
            block = slice(2 * y, 2 * y + 2), slice(2 * x, 2 * x + 2)
            assert alpha[y, x] == pytest.approx(covered[block].mean(), rel=1e-5)
            assert colour[y, x] == pytest.approx(shown[block].mean((0, 1)), rel=1e-5)
            at = nearest[2 * y + 1, 2 * x + 1]
            assert depth[y, x] == pytest.approx(1 / at if at > 0 else 0, rel=1e-5)
    assert 0 < (depth == 0).sum() < 16


def test_points_project_as_the_camera_matrix_says() -> None:
    points = np.array([[0.1, -0.2, 0.3], [0, 0, 0]])
    view = np.array([[1, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 2.7]], np.float32)
    seen = project(points, view, 4.0, 100)
    x, y = 100 * (4 * 0.1 / 2.4 + 0.5), 100 * (4 * 0.2 / 2.4 + 0.5)
    assert seen[0] == pytest.approx([x, y, 2.4, 1 / 2.4])
    assert seen[1] == pytest.approx([50, 50, 2.7, 1 / 2.7])


def test_normals_point_outward_from_a_closed_surface() -> None:
    corners = np.array([[1, 1, 1], [-1, -1, 1], [-1, 1, -1], [1, -1, -1]], np.float32)
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32)
    normals = vertex_normals(corners, faces)
    np.testing.assert_allclose(normals, corners / np.sqrt(3), atol=1e-6)


@pytest.mark.parametrize("direction", [(0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (0.6, 0.0, 0.8)])
def test_light_sees_what_is_nearer_to_it_at_a_smaller_depth(
    direction: tuple[float, float, float],
) -> None:
    view = light_view(direction, 0.5, 100, steep=0.95)
    centre, nearer = np.zeros(3), np.array(direction) * 0.3
    seen = project_flat(np.array([centre, nearer], np.float32), view)
    np.testing.assert_allclose(seen, [[50, 50, 0], [50, 50, -0.3]], atol=1e-5)
    other = np.array([[0.1, -0.2, 0.3]], np.float32)
    slow = view[:, :3] @ other[0] + view[:, 3]
    np.testing.assert_allclose(project_flat(other, view)[0], slow, atol=1e-4)
