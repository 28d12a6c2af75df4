from __future__ import annotations

import numpy as np
import pytest
from balls import CENTRE, RADIUS
from scans import ball_mesh
from scipy.spatial.transform import Rotation

from tpvideo.stages import geometry
from tpvideo.weights.evaluation.similarity import Similarity
from tpvideo.weights.evaluation.surfaces import Errors, Reference, to_triangles

EYES = float(np.linalg.norm(geometry.MEAN_LANDMARKS[1] - geometry.MEAN_LANDMARKS[0]))


def ball(rings: int = 48) -> Reference:
    points, triangles = ball_mesh(rings)
    return Reference(points, triangles.astype(np.int64), geometry.MEAN_LANDMARKS)


def test_a_similarity_is_found_again() -> None:
    random = np.random.default_rng(1)
    points = random.normal(size=(5, 3))
    made = Similarity(
        2.5, Rotation.from_rotvec([0.3, -1.0, 0.4]).as_matrix(), np.array([1.0, 2, 3])
    )
    found = Similarity.between(points, made.points(points))
    assert found.scale == pytest.approx(made.scale)
    np.testing.assert_allclose(found.rotation, made.rotation, atol=1e-9)
    np.testing.assert_allclose(found.offset, made.offset, atol=1e-9)


def test_a_fit_never_mirrors() -> None:
    points = np.random.default_rng(2).normal(size=(5, 3))
    found = Similarity.between(points, points * [-1, 1, 1])
    assert np.linalg.det(found.rotation) == pytest.approx(1)


def test_distances_to_a_triangle_are_those_of_its_nearest_point() -> None:
    """Corner, edge, inside, and a triangle without area, by hand; the rest against samples."""
    corners = np.array([[[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]])
    for point, distance in (([-3, -4, 0], 5), ([0.5, -2, 0], 2), ([0.2, 0.2, 7], 7)):
        assert to_triangles(np.array([point], float), corners)[0] == pytest.approx(distance)
    line = np.array([[[0.0, 0, 0], [1, 0, 0], [2, 0, 0]]])
    assert to_triangles(np.array([[1.5, 3.0, 0]]), line)[0] == pytest.approx(3)
    random = np.random.default_rng(3)
    some, points = random.normal(size=(50, 3, 3)), random.normal(size=(50, 3))
    shares = random.dirichlet([0.7, 0.7, 0.7], 4000)
    samples = np.einsum("sk,nkc->nsc", shares, some)
    nearest = np.linalg.norm(samples - points[:, None], axis=2).min(axis=1)
    exact = to_triangles(points, some)
    assert (exact <= nearest + 1e-9).all() and (nearest - exact).max() < 0.12


def test_distances_from_a_ball_are_those_of_the_radii() -> None:
    random = np.random.default_rng(4)
    away = random.normal(size=(200, 3))
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    radii = random.uniform(0.15, 0.3, 200)
    found = ball().distances(CENTRE + radii[:, None] * away)
    # Facets of 48 rings lie up to 4e-4 of a radius inside the ball.
    np.testing.assert_allclose(found, np.abs(radii - RADIUS) / EYES, atol=2e-3)


def test_a_larger_ball_is_as_wrong_as_it_is_larger_wherever_it_stands() -> None:
    reference = ball()
    points, _ = ball_mesh(24)
    own = CENTRE + (points - CENTRE) * 1.1
    moved = Similarity(
        3.0, Rotation.from_rotvec([0.0, 0.7, 0.2]).as_matrix(), np.array([5.0, 1, 0])
    )
    errors = Errors.of(
        moved.points(own), np.ones(len(own)), moved.points(reference.landmarks), reference
    )
    assert errors.fit == pytest.approx(0, abs=1e-9)
    assert 0 < errors.region.mean() < 1
    assert np.isnan(errors.distances[~errors.region]).all()
    assert errors.mean == pytest.approx(0.1 * RADIUS / EYES, rel=0.02)
    assert errors.quantile(0.5) == pytest.approx(0.1 * RADIUS / EYES, rel=0.02)


def test_the_mean_counts_areas_and_quantiles_do_too() -> None:
    errors = Errors(
        np.array([0.1, 0.4, 9.0]), np.array([True, True, False]), np.array([3.0, 1.0, 50.0]), 0.0
    )
    assert errors.mean == pytest.approx(0.175)
    assert errors.quantile(0.7) == 0.1 and errors.quantile(0.8) == 0.4


def test_the_face_is_about_the_landmarks_and_without_ears() -> None:
    reference = ball()
    middle = geometry.MEAN_LANDMARKS.mean(axis=0)
    inside = [middle, *geometry.MEAN_LANDMARKS, middle - [0, 1.1 * EYES, 0.4 * EYES]]
    aside, behind = np.array([1.25 * EYES, 0, -EYES]), np.array([0, 0, 1.8 * EYES])
    outside = [middle + aside, middle - behind]
    assert reference.region(np.array(inside)).all()
    assert not reference.region(np.array(outside)).any()
