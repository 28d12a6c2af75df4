"""Strands grow on a ball, where every distance is known."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba", reason="needs the training extra")
pytest.importorskip("cv2", reason="needs the training extra")
pytest.importorskip("scipy", reason="needs the training extra")

from tpvideo.weights.training.heads.strands import (
    clump,
    curl,
    edges,
    grow,
    strand_texture,
    unit,
)

COUNT, POINTS = 40, 12
RADIUS, STEP = 5.0, 0.5


def ball_field() -> tuple[np.ndarray, np.ndarray]:
    """Signed distance to a ball of radius 5 on a grid from (-10, -10, -10), step 0.5."""
    axis = np.arange(-10, 10.01, STEP)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    distance = np.sqrt(x * x + y * y + z * z) - RADIUS
    return distance.astype(np.float32), np.full(3, -10.0)


def grown(**settings: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Roots [n, 3], points [n, K, 3] and heights [n, K] of strands of length 3."""
    rng = np.random.default_rng(0)
    directions = unit(rng.normal(size=(COUNT, 3)))
    roots = directions * RADIUS
    field, low = ball_field()
    given = {"gravity": 0.0, "clearance": 0.3, "frizz": 0.0, "stiffness": 0.0, "adhesion": 0.0}
    given |= settings
    points, heights = np.empty((COUNT, POINTS, 3)), np.empty((COUNT, POINTS))
    sideways = unit(np.cross(directions, [0.0, 1.0, 0.0]))
    grow(
        roots,
        sideways if settings.get("adhesion") else directions,
        np.full(COUNT, 3.0),
        np.full(COUNT, given["clearance"]),
        np.full(COUNT, given["gravity"]),
        rng.normal(size=(COUNT, POINTS, 3)),
        given["frizz"],
        given["stiffness"],
        given["adhesion"],
        field,
        low,
        STEP,
        points,
        heights,
    )
    return roots, points, heights


def test_without_forces_a_strand_is_straight_and_as_long_as_asked() -> None:
    roots, points, _ = grown(clearance=0.0)
    ends = roots + unit(roots) * 3.0
    np.testing.assert_allclose(points[:, 0], roots)
    np.testing.assert_allclose(points[:, -1], ends, atol=1e-6)


def test_gravity_pulls_every_tip_down_and_keeps_the_length() -> None:
    _, straight, _ = grown(clearance=0.0)
    _, hanging, _ = grown(clearance=0.0, gravity=0.1)  # more would also straighten the strands
    assert (hanging[:, -1, 1] < straight[:, -1, 1]).all()
    steps = np.linalg.norm(np.diff(hanging, axis=1), axis=2)
    np.testing.assert_allclose(steps, 3.0 / (POINTS - 1), rtol=1e-6)


def test_strands_stay_outside_the_skin() -> None:
    _, points, heights = grown(gravity=2.0)
    outside = np.linalg.norm(points, axis=2) - RADIUS
    # growing along the ball, one straight step of 0.27 sinks below an arc by up to 0.01
    assert outside.min() > -0.05
    assert heights[:, 1:].min() > 0.1  # a third of the clearance at the root, all of it further out


def test_adhesion_draws_strands_back_to_their_clearance() -> None:
    upper = grown()[0][:, 1] > 2.0  # adhesion acts above the ears only
    _, loose, _ = grown(adhesion=1e-9)
    _, combed, _ = grown(adhesion=0.9)
    away = [np.linalg.norm(p[upper, -1], axis=1) - RADIUS for p in (loose, combed)]
    assert away[1].mean() < 0.6 * away[0].mean()


def test_curls_wind_around_the_strand_at_their_radius() -> None:
    straight = np.zeros((1, 200, 3))
    straight[0, :, 1] = np.linspace(0, 10, 200)
    wound = curl(straight, np.array([0.5]), np.array([4.0]), np.array([0.0]))
    radius = np.hypot(wound[0, :, 0], wound[0, :, 2])
    np.testing.assert_allclose(radius[80:], 0.5, atol=1e-6)
    angle = np.unwrap(np.arctan2(wound[0, 80:, 2], wound[0, 80:, 0]))
    assert abs(angle[-1] - angle[0]) == pytest.approx(4 * 2 * np.pi * 119 / 199, rel=1e-3)


def test_clumping_brings_tips_together_and_leaves_roots() -> None:
    _, points, _ = grown()
    clumped = clump(points, 4, 0.8, np.random.default_rng(3))
    np.testing.assert_allclose(clumped[:, 0], points[:, 0])
    assert clumped[:, -1].std(axis=0).sum() < points[:, -1].std(axis=0).sum()


@pytest.mark.parametrize("far", [False, True])
def test_ribbons_face_whoever_looks(far: bool) -> None:
    rng = np.random.default_rng(6)
    spines = rng.normal(size=(5, 4, 3)).astype(np.float32)
    tangents = unit(rng.normal(size=(5, 4, 3))).astype(np.float32)
    widths = rng.uniform(0.1, 0.3, 5).astype(np.float32)
    toward = np.array([0.5, 1.0, 4.0], np.float32)
    out = np.empty((5 * 4 * 2, 3), np.float32)
    edges(spines, tangents.reshape(-1, 3), widths, toward, far, out)
    left, right = np.moveaxis(out.reshape(5, 4, 2, 3), 2, 0)
    np.testing.assert_allclose((left + right) / 2, spines, atol=1e-6)
    across = right - left
    np.testing.assert_allclose(
        np.linalg.norm(across, axis=2), widths[:, None].repeat(4, 1), rtol=1e-5
    )
    view = toward if far else toward - spines
    for direction in (tangents, np.broadcast_to(view, spines.shape)):
        np.testing.assert_allclose((across * direction).sum(2), 0, atol=1e-5)
    turning = (np.cross(tangents, view) * across).sum(2)
    assert (turning > 0).all()


def test_ribbons_of_the_texture_are_clear_at_the_tip_and_between() -> None:
    texture = strand_texture(np.random.default_rng(7))
    assert texture.shape == (256, 256, 2)
    assert texture[-1, :, 1].max() < 40  # row 255 is past the tips
    assert texture[100, ::32, 1].max() < 128  # the borders of the eight ribbons
    assert texture[100, :, 1].max() > 180
