from __future__ import annotations

import math

import pytest
import torch

from tpvideo.stages.networks.landmarks import FaceDetector, LandmarkNet, rotation_6d


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def test_the_detector_answers_for_every_cell_of_eight_pixels() -> None:
    said = FaceDetector().eval()(torch.rand(2, 3, 64, 96) * 2 - 1)
    assert said.score.shape == (2, 8, 12)
    assert said.offset.shape == (2, 2, 8, 12)
    assert said.log_side.shape == (2, 8, 12)
    assert said.turn.shape == (2, 2, 8, 12)


def test_an_untrained_detector_expects_no_faces() -> None:
    said = FaceDetector().eval()(torch.rand(1, 3, 64, 64) * 2 - 1)
    assert said.score.sigmoid().max() < 0.2


def test_the_landmark_network_says_points_errors_rotation_and_score() -> None:
    network = LandmarkNet(side=64).eval()
    said = network(torch.rand(3, 3, 64, 64) * 2 - 1)
    assert said.points.shape == (3, 68, 2)
    assert said.log_error.shape == (3, 68)
    assert said.rotation.shape == (3, 3, 3)
    assert said.score.shape == (3,)
    assert (said.points - 0.5).abs().max() < 0.5


@pytest.mark.parametrize("network", [FaceDetector(), LandmarkNet(side=64)])
def test_an_answer_does_not_depend_on_the_batch(network: torch.nn.Module) -> None:
    network.eval()
    pictures = torch.rand(3, 3, 64, 64) * 2 - 1
    together = network(pictures)
    for row in range(3):
        alone = network(pictures[row : row + 1])
        for one, many in zip(alone, together, strict=True):
            torch.testing.assert_close(one[0], many[row], atol=1e-5, rtol=1e-4)


def test_any_six_numbers_make_a_rotation() -> None:
    rotations = rotation_6d(torch.randn(50, 6))
    identity = torch.eye(3).expand(50, 3, 3)
    torch.testing.assert_close(rotations @ rotations.mT, identity, atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(rotations), torch.ones(50), atol=1e-5, rtol=0)


def test_zeros_are_a_frontal_upright_head() -> None:
    frontal = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    torch.testing.assert_close(rotation_6d(torch.zeros(1, 6))[0], frontal)


def test_a_rotation_is_its_own_first_two_rows() -> None:
    angle = 0.3
    turn = torch.tensor(
        [[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]]
    )
    rotation = turn @ torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    zero = torch.tensor([1.0, 0.0, 0.0, 0.0, -1.0, 0.0])
    torch.testing.assert_close(rotation_6d((rotation[:2].flatten() - zero)[None])[0], rotation)
