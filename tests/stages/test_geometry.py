from __future__ import annotations

import math

import numpy as np
import pytest
from parity import golden, tolerances

from tpvideo.stages import geometry
from tpvideo.stages.geometry import Array

VIEWS = [(0.0, 0.0), (0.4, 0.0), (-0.9, 0.3), (1.2, -0.5), (0.0, 0.7)]


def project(points: Array, world_from_camera: Array, side: float = 1.0) -> Array:
    """[N, 2] where a label camera shows [N, 3] world points, in a picture of this side."""
    camera_from_world = np.linalg.inv(world_from_camera)
    seen = points @ camera_from_world[:3, :3].T + camera_from_world[:3, 3]
    assert (seen[:, 2] > 0).all()
    pixels: Array = side * (seen[:, :2] / seen[:, 2:] * (2985.29 / 700) + 0.5)
    return pixels


@pytest.mark.parametrize(("yaw", "pitch"), VIEWS)
def test_label_camera_stands_at_radius_and_has_the_head_in_the_middle(
    yaw: float, pitch: float
) -> None:
    camera = geometry.label_camera(yaw, pitch)
    assert np.linalg.norm(camera[:3, 3]) == pytest.approx(2.7, abs=1e-12)
    middle = project(geometry.HEAD_CENTRE[None], camera)
    np.testing.assert_allclose(middle, [[0.5, 0.5]], atol=1e-12)
    toward = camera[:3, 3] - geometry.HEAD_CENTRE
    toward /= np.linalg.norm(toward)
    np.testing.assert_allclose(toward, geometry.direction(yaw, pitch), atol=1e-12)


@pytest.mark.parametrize(("yaw", "pitch"), VIEWS)
def test_cameras_are_rotations_without_mirroring(yaw: float, pitch: float) -> None:
    for camera in (geometry.label_camera(yaw, pitch), geometry.look_at_camera(yaw, pitch)):
        rotation = camera[:3, :3]
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(rotation) == pytest.approx(1.0)


def test_frontal_camera_looks_down_the_axis_with_x_right_and_y_down() -> None:
    camera = geometry.aimed_camera((0.0, 0.0, 2.7), (0.0, 0.0, 0.0))
    np.testing.assert_allclose(camera[:3, :3], np.diag([1.0, -1.0, -1.0]), atol=1e-15)


def test_a_camera_turned_by_yaw_stands_toward_x_and_by_pitch_higher() -> None:
    for make in (geometry.label_camera, geometry.look_at_camera):
        assert make(0.3, 0.0)[0, 3] > 0.5
        assert make(0.0, 0.3)[1, 3] > 0.5


@pytest.mark.parametrize(("yaw", "pitch"), VIEWS)
def test_angles_undo_direction(yaw: float, pitch: float) -> None:
    assert np.linalg.norm(geometry.direction(yaw, pitch)) == pytest.approx(1.0)
    found = geometry.angles(geometry.label_camera(yaw, pitch))
    assert found == pytest.approx((yaw, pitch), abs=1e-12)


@pytest.mark.parametrize("roll", [-1.0, -0.2, 0.0, 0.5, 2.0])
def test_roll_of_a_camera_is_read_back(roll: float) -> None:
    camera = geometry.label_camera(0.4, 0.2, roll_rad=roll)
    assert geometry.roll(camera) == pytest.approx(roll, abs=1e-12)
    assert geometry.angles(camera) == pytest.approx((0.4, 0.2), abs=1e-12)


def test_positive_roll_of_the_camera_turns_the_picture_counter_clockwise() -> None:
    above = geometry.HEAD_CENTRE[None] + [[0.0, 0.1, 0.0]]
    u, v = project(above, geometry.label_camera(0.0, 0.0, roll_rad=math.pi / 2))[0]
    assert u < 0.4  # what was above is now on the left
    assert v == pytest.approx(0.5, abs=0.001)


@pytest.mark.parametrize(("yaw", "pitch"), VIEWS)
def test_the_mean_face_in_its_own_crop_needs_no_other_crop(yaw: float, pitch: float) -> None:
    landmarks = project(geometry.MEAN_LANDMARKS, geometry.label_camera(yaw, pitch), 512)
    fit = geometry.crop_from_landmarks(landmarks, yaw, pitch, 0.0)
    np.testing.assert_allclose(fit.centre, [256, 256], atol=1e-9)
    assert fit.side_px == pytest.approx(512)
    similarity = geometry.image_from_crop(fit, 512)
    np.testing.assert_allclose(similarity, [[1, 0, 0], [0, 1, 0]], atol=1e-9)


def test_the_mean_face_looks_as_it_should_from_the_front() -> None:
    landmarks = project(geometry.MEAN_LANDMARKS, geometry.label_camera(0.0, 0.0))
    left_eye, right_eye, nose, left_mouth, right_mouth = landmarks
    assert left_eye[0] < nose[0] < right_eye[0] and left_mouth[0] < right_mouth[0]
    assert left_eye[1] < nose[1] < left_mouth[1]
    np.testing.assert_allclose(left_eye + right_eye - [1.0, 2 * left_eye[1]], 0, atol=1e-12)
    assert pytest.approx(0.94372, abs=1e-5) == geometry.HEAD_SCALE


@pytest.mark.parametrize("roll", [0.0, 0.35, -1.1])
@pytest.mark.parametrize(("yaw", "pitch"), VIEWS)
def test_a_moved_turned_and_enlarged_face_is_framed_exactly(
    yaw: float, pitch: float, roll: float
) -> None:
    crop = project(geometry.MEAN_LANDMARKS, geometry.label_camera(yaw, pitch), 256)
    # Clockwise as seen: in a picture whose y points down, +x turns toward +y.
    cos, sin = 1.7 * math.cos(roll), 1.7 * math.sin(roll)
    truth = np.array([[cos, -sin, 321.0], [sin, cos, 98.5]])
    picture = crop @ truth[:, :2].T + truth[:, 2]
    fit = geometry.crop_from_landmarks(picture, yaw, pitch, roll)
    np.testing.assert_allclose(geometry.image_from_crop(fit, 256), truth, atol=1e-9)
    assert fit.side_px == pytest.approx(1.7 * 256)


def test_a_crop_of_other_resolution_covers_the_same_square() -> None:
    fit = geometry.CropFit(np.array([100.0, 50.0]), 80.0, 0.3)
    for crop_px in (64, 512):
        similarity = geometry.image_from_crop(fit, crop_px)
        middle = similarity @ [crop_px / 2, crop_px / 2, 1.0]
        corner = similarity @ [0.0, 0.0, 1.0]
        np.testing.assert_allclose(middle, [100, 50], atol=1e-12)
        assert np.linalg.norm(corner - middle) == pytest.approx(40 * math.sqrt(2))


def test_a_label_is_the_camera_then_the_intrinsics() -> None:
    camera = geometry.label_camera(0.2, 0.1)
    label = geometry.label(camera)
    assert label.shape == (25,) and label.dtype == np.float32
    np.testing.assert_array_equal(label[:16].reshape(4, 4), camera.astype(np.float32))
    f = np.float32(2985.29 / 700)
    np.testing.assert_array_equal(label[16:], np.array([f, 0, 0.5, 0, f, 0.5, 0, 0, 1], np.float32))


@pytest.mark.parametrize(("yaw", "pitch"), VIEWS)
def test_the_mirrored_label_is_the_camera_of_the_mirrored_picture(yaw: float, pitch: float) -> None:
    label = geometry.label(geometry.label_camera(yaw, pitch, roll_rad=0.2))
    mirrored = geometry.mirror_label(label)
    expected = geometry.label(geometry.label_camera(-yaw, pitch, roll_rad=-0.2))
    np.testing.assert_allclose(mirrored, expected, atol=1e-6)  # float32
    np.testing.assert_array_equal(geometry.mirror_label(mirrored), label)


def test_mirroring_points_and_camera_mirrors_the_picture() -> None:
    camera = geometry.label_camera(0.5, 0.2, roll_rad=0.1)
    mirrored = geometry.mirror_label(geometry.label(camera)).astype(np.float64)
    points = geometry.MEAN_LANDMARKS + np.array([0.03, 0.01, 0.0])
    there = project(points, camera)
    here = project(points * [-1.0, 1.0, 1.0], mirrored[:16].reshape(4, 4))
    np.testing.assert_allclose(here, np.stack([1 - there[:, 0], there[:, 1]], 1), atol=1e-5)


def test_eg3d_poses_are_the_golden_ones() -> None:
    expected, limits = golden("misc.npz"), tolerances("misc.npz")
    for name, sign, where in (
        ("look.cam2world", 1, {}),
        ("look.cam2world_r3_origin", 1, {"radius": 3.0, "target": (0.0, 0.0, 0.0)}),
        ("look.flipped", -1, {}),
    ):
        half = math.pi / 2
        for (yaw, pitch), pose in zip(expected["look.yaw_pitch"], expected[name], strict=True):
            found = geometry.look_at_eg3d(half + sign * yaw, half + pitch, **where)  # type: ignore[arg-type]
            np.testing.assert_allclose(found, pose, atol=limits[name], rtol=0)


def test_eg3d_field_of_view_is_the_golden_one() -> None:
    expected, limits = golden("misc.npz"), tolerances("misc.npz")
    found = geometry.intrinsics(geometry.focal_from_fov(18.837))
    atol = limits["fov.K_18.837"]
    np.testing.assert_allclose(found, expected["fov.K_18.837"], atol=atol, rtol=0)


def test_our_look_at_camera_is_eg3ds_with_its_vertical_argument_converted() -> None:
    half = math.pi / 2
    for yaw, pitch in VIEWS:
        # EG3D's height is -2 v / pi of the radius, ours the sine of the pitch.
        theirs = geometry.look_at_eg3d(half + yaw, half - math.sin(pitch) * half)
        np.testing.assert_allclose(geometry.look_at_camera(yaw, pitch), theirs, atol=1e-12)
    assert geometry.look_at_eg3d(half, half + 0.3)[1, 3] < 0  # their pitch moves it down
