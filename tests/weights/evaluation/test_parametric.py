from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import labels

from tpvideo.stages import geometry
from tpvideo.weights.evaluation.parametric import (
    SHAPE,
    Landmarker,
    ParametricFace,
    Seen,
    normalised_error,
    projected,
)

FACE = ParametricFace.load(SHAPE)
EYES = float(np.linalg.norm(geometry.MEAN_LANDMARKS[0] - geometry.MEAN_LANDMARKS[1]))


def seen_with(parameters: torch.Tensor, label: torch.Tensor, error: float = 0.004) -> Seen:
    points = FACE._moved(parameters, FACE.landmarks, FACE.landmark_modes)
    return Seen(projected(points, label.double()), torch.full((51,), error))


def test_the_mean_face_has_the_mean_landmarks() -> None:
    inner = FACE.landmarks.numpy()  # iBUG 17 to 67
    eyes = [(inner[19] + inner[22]) / 2, (inner[25] + inner[28]) / 2]
    five = np.stack([*eyes, inner[13], inner[31], inner[37]])
    assert np.abs(five - geometry.MEAN_LANDMARKS).max() < 0.1 * EYES


def test_a_fit_finds_the_face_that_landmarks_are_of() -> None:
    random = torch.Generator().manual_seed(6)
    true = 0.7 * torch.randn(len(FACE.modes) + 7, generator=random, dtype=torch.float64)
    label = labels((0.3, 0.1))
    found = FACE.fitted(seen_with(true, label), label.double())
    nothing = torch.zeros_like(true)
    apart = [
        float((FACE._moved(p, FACE.landmarks, FACE.landmark_modes)
               - FACE._moved(true, FACE.landmarks, FACE.landmark_modes)).norm(dim=1).mean())
        for p in (found, nothing)
    ]  # fmt: skip
    assert apart[0] < 0.5 * apart[1]
    expected = seen_with(true, label).points
    points = FACE._moved(found, FACE.landmarks, FACE.landmark_modes)
    assert float((projected(points, label.double()) - expected).norm(dim=1).mean()) < 0.003


def test_uncertain_landmarks_leave_the_mean_face() -> None:
    label = labels((0.0, 0.0))
    true = torch.ones(len(FACE.modes) + 7, dtype=torch.float64)
    found = FACE.fitted(seen_with(true, label, error=10.0), label.double())
    assert found.abs().max() < 0.01


def test_the_fitted_face_is_seen_as_deep_as_it_is() -> None:
    label = labels((0.2, 0.0))
    depth = FACE.depth(seen_with(torch.zeros(len(FACE.modes) + 7).double(), label), label, 64)
    assert depth.shape == (1, 1, 64, 64)
    camera = label[0, :16].reshape(4, 4).double().numpy()
    nose = (FACE.landmarks[13].numpy() - camera[:3, 3]) @ camera[:3, :3]  # iBUG 30
    column, row = (64 * (geometry.FOCAL * nose[:2] / nose[2] + 0.5)).astype(int)
    assert float(depth[0, 0, row, column]) == pytest.approx(nose[2], abs=0.01)
    assert float(depth[0, 0, 0, 0]) == 0  # nothing in the corner


def test_depth_errors_know_neither_distance_nor_scale() -> None:
    random = torch.Generator().manual_seed(1)
    truth = torch.rand(1, 1, 8, 8, generator=random)
    everywhere = torch.ones(1, 1, 8, 8, dtype=torch.bool)
    assert normalised_error(3 * truth + 2, truth, everywhere) == pytest.approx(0, abs=1e-9)
    # Of the opposite map every difference is twice its deviation: 4 times 63/64, as std divides
    # by one less than the count.
    assert normalised_error(-truth, truth, everywhere) == pytest.approx(4 * 63 / 64, rel=1e-4)
    assert normalised_error(truth, truth, torch.zeros_like(everywhere)) is None


def test_landmarks_are_read_from_a_picture_of_any_size() -> None:
    seen = Landmarker()(torch.zeros(1, 3, 128, 128))
    assert seen.points.shape == (51, 2) and seen.errors.shape == (51,)
    assert bool((seen.errors > 0).all())
