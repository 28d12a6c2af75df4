from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from tpvideo.stages import geometry
from tpvideo.stages.neck import NECK, ROWS, SKULL, turned_labels

SOURCE = geometry.label(geometry.label_camera(0.2, -0.1))
CHEEK = int(0.5 * ROWS)


def angles_at(labels: np.ndarray, row: int) -> tuple[float, float]:
    return geometry.angles(labels[row, :16].reshape(4, 4))


def test_the_face_is_turned_by_the_whole_angle_and_the_shoulders_by_nothing() -> None:
    labels = turned_labels(SOURCE, (0.3, 0.1))
    assert angles_at(labels, CHEEK) == pytest.approx((0.5, 0.0), abs=1e-5)
    np.testing.assert_allclose(labels[-1], SOURCE, atol=1e-6)
    yaws = [angles_at(labels, row)[0] for row in range(CHEEK, ROWS)]
    assert all(below <= above + 1e-6 for above, below in pairwise(yaws))
    assert SKULL[1] < 0.5 < NECK[0]


def test_every_camera_keeps_its_distance_and_its_lens() -> None:
    labels = turned_labels(SOURCE, (-1.0, 0.4), focal=5.0)
    distances = np.linalg.norm(labels[:, [3, 7, 11]], axis=1)
    np.testing.assert_allclose(distances, geometry.RADIUS, rtol=1e-5)
    assert (labels[:, [16, 20]] == 5.0).all()


def test_no_turn_is_the_camera_of_the_source_at_every_height() -> None:
    np.testing.assert_allclose(
        turned_labels(SOURCE, (0.0, 0.0)), np.tile(SOURCE, (ROWS, 1)), atol=1e-6
    )
