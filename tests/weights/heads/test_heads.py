"""Heads of the asset pack: placed, posed, lit and seen as the labels say."""

from __future__ import annotations

import numpy as np
import pytest
from shared import shared_path

pytest.importorskip("numba", reason="needs the training extra")
pytest.importorskip("cv2", reason="needs the training extra")
pytest.importorskip("scipy", reason="needs the training extra")

from tpvideo.stages import geometry
from tpvideo.weights.training.heads.expression import set_gaze
from tpvideo.weights.training.heads.head import Head, alignment, make_head, shaped
from tpvideo.weights.training.heads.identity import draw_person
from tpvideo.weights.training.heads.light import draw_light, make_light
from tpvideo.weights.training.heads.pack import Pack, five_landmarks
from tpvideo.weights.training.heads.render import LitScene, light_scene, render
from tpvideo.weights.training.heads.scene import EYE_Z, pose
from tpvideo.weights.training.heads.torso import add_torso, torso_mesh
from tpvideo.weights.training.heads.views import (
    BENCHMARK_YAWS_RAD,
    Views,
    benchmark_views,
    training_views,
)

SEED = 10_003
TRAINED_NOSE = [0.00037386, 0.00898223, 0.29998022]
TRAINED_MEAN = [82.20, 63.89, 59.19, 161.25]


@pytest.fixture(scope="module")
def pack() -> Pack:
    return Pack(shared_path("heads/pack"))


@pytest.fixture(scope="module")
def head(pack: Pack) -> Head:
    return make_head(pack, draw_person(pack, np.random.default_rng(SEED)), 256)


@pytest.fixture(scope="module")
def lit(pack: Pack, head: Head) -> LitScene:
    plan = draw_light(pack, np.random.default_rng(1))
    return light_scene(pack, pose(pack, head, {}), plan, make_light(pack, plan))


@pytest.fixture(scope="module")
def views(pack: Pack) -> Views:
    return training_views(pack, SEED, views=2, side_px=128, wide=1, wide_px=128)


def projected(points: np.ndarray, c2w: np.ndarray, focal: float, side_px: int) -> np.ndarray:
    """[n, 2] px of world points, in double precision."""
    seen = (points - c2w[:3, 3]) @ c2w[:3, :3]
    placed: np.ndarray = (focal * seen[:, :2] / seen[:, 2:] + 0.5) * side_px
    return placed


def resting_landmarks(pack: Pack) -> np.ndarray:
    """[40, 5, 3] world positions of the alignment landmarks of people at rest."""
    rng = np.random.default_rng(5)
    found = []
    for _ in range(40):
        landmarks = shaped(pack, draw_person(pack, rng))[pack.landmarks]
        found.append(five_landmarks(alignment(pack, landmarks).points(landmarks)))
    return np.array(found, np.float64)


def test_a_posed_head_at_rest_is_its_shape_put_in_place(
    pack: Pack, head: Head, lit: LitScene
) -> None:
    landmarks = shaped(pack, head.person)[pack.landmarks]
    placed = alignment(pack, landmarks).points(landmarks)
    np.testing.assert_allclose(lit.scene.landmarks, placed, atol=1e-6)


def test_resting_faces_lie_on_the_mean_landmarks_of_the_label_camera(pack: Pack) -> None:
    """Heads are scaled in one place; over people, the crop's landmarks are their mean."""
    people = resting_landmarks(pack)
    middle = np.broadcast_to(geometry.MEAN_LANDMARKS.mean(0), (len(people), 3))
    np.testing.assert_allclose(people.mean(1), middle, atol=1e-6)
    errors = people - geometry.MEAN_LANDMARKS
    # one person's eyes and mouth differ by some hundredths of a unit, the mean person's do not
    assert np.abs(errors.mean(0)).max() < 0.02
    assert 0.005 < np.abs(errors).max() < 0.08


def test_the_mean_head_fills_its_crop_as_the_crop_is_defined(pack: Pack) -> None:
    """Projecting a neutral head by its label and cropping by its landmarks is no change."""
    landmarks = resting_landmarks(pack).mean(0)
    for yaw, pitch in ((0.0, 0.0), (0.4, -0.1), (-0.6, 0.2)):
        seen = projected(landmarks, geometry.label_camera(yaw, pitch), geometry.FOCAL, 256)
        fit = geometry.crop_from_landmarks(seen, yaw, pitch, 0.0)
        # a scale wrong by HEAD_SCALE's 6 % would show as 14 px
        assert fit.side_px == pytest.approx(256, abs=4)
        np.testing.assert_allclose(fit.centre, [128, 128], atol=3)


def test_stored_landmarks_are_the_projected_ones(views: Views) -> None:
    points = views["lm68_3d"].astype(np.float64)
    for c2w, stored in zip(views["c2w"], views["lm68"], strict=True):
        seen = projected(points, c2w.astype(np.float64), geometry.FOCAL, 128)
        assert np.abs(seen - stored).max() < 0.05
    wide = projected(points, views["w_c2w"][0].astype(np.float64), views["w_focal"][0], 128)
    assert np.abs(wide - views["w_lm68"][0]).max() < 0.05


def test_cameras_are_labels_of_length_2_7(views: Views) -> None:
    for c2w in (*views["c2w"], *views["w_c2w"]):
        assert np.linalg.norm(c2w[:3, 3]) == pytest.approx(geometry.RADIUS, abs=1e-5)
        np.testing.assert_allclose(c2w[:3, :3] @ c2w[:3, :3].T, np.eye(3), atol=1e-6)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_picture(pack: Pack, views: Views) -> None:
    again = training_views(pack, SEED, views=2, side_px=128, wide=1, wide_px=128)
    assert list(again) == list(views)
    for key, array in views.items():
        np.testing.assert_array_equal(again[key], array, err_msg=key)
    other = training_views(pack, SEED + 1, views=1, side_px=64, wide=0)
    assert not np.array_equal(other["lm68_3d"], views["lm68_3d"])


def test_pictures_are_those_that_the_shipped_models_were_trained_on(views: Views) -> None:
    """The file of seed 10003 that they saw, at half its size: nose and mean, not bytes."""
    assert views["rgba"].shape == (2, 128, 128, 4)
    assert views["depth"].shape == (2, 64, 64)
    assert views["depth"].dtype == np.float16
    tip = views["lm68_3d"][30]
    np.testing.assert_allclose(tip, TRAINED_NOSE, atol=1e-5)
    mean = views["rgba"].mean(axis=(0, 1, 2))
    np.testing.assert_allclose(mean, TRAINED_MEAN, atol=0.5)  # what half the pixels lose


def test_depth_lies_under_the_matte(views: Views) -> None:
    matte, depth = views["rgba"][:, 1::2, 1::2, 3], views["depth"]
    # depth is that of one of the pixel's four samples, which is at least half covered
    assert matte[depth > 0].min() >= 255 // 8
    assert (depth[matte == 255] > 0).all()
    seen = depth[depth > 0].astype(np.float64)
    assert seen.min() > 2.0
    assert seen.max() < 3.5


def test_depth_at_the_nose_is_the_nose(lit: LitScene) -> None:
    camera = geometry.label_camera(0.0, 0.0)
    picture = render(lit, camera, 256)
    x, y = picture.landmarks[30]
    tip = lit.scene.landmarks[30]
    expected = (tip - camera[:3, 3]) @ camera[:3, 2]
    assert picture.depth[int(y), int(x)] == pytest.approx(expected, abs=0.003)


def test_colour_is_premultiplied(views: Views) -> None:
    rgba = views["rgba"]
    assert (rgba[..., :3].max(-1) <= rgba[..., 3]).all()
    assert (rgba[..., 3] == 0).any()
    assert (rgba[..., 3] == 255).any()


def test_gaze_turns_the_eyes_toward_the_persons_left(pack: Pack, head: Head) -> None:
    weights: dict[str, float] = {}
    set_gaze(weights, 0.5, 0.4)
    ahead = pose(pack, head, {"jawOpen": 0.001}).eyes[:, EYE_Z]
    aside = pose(pack, head, weights).eyes[:, EYE_Z]
    assert (aside[:, 0] - ahead[:, 0] > 0.2).all()
    assert (aside[:, 1] - ahead[:, 1] > 0.1).all()


def test_an_open_jaw_lowers_the_chin_and_nothing_above_the_nose(pack: Pack, head: Head) -> None:
    shut, wide = pose(pack, head, {}).landmarks, pose(pack, head, {"jawOpen": 1.0}).landmarks
    moved = wide - shut
    assert moved[8, 1] < -0.03
    assert np.abs(moved[17:31]).max() < 0.005


def test_a_light_turned_with_the_head_leaves_the_picture_as_it_was(
    pack: Pack, head: Head, lit: LitScene
) -> None:
    light = make_light(pack, lit.plan)
    same = make_light(pack, lit.plan, np.eye(3))
    np.testing.assert_allclose(same.irradiance, light.irradiance, atol=1e-4)
    half = np.diag([-1.0, 1.0, -1.0])
    turned = make_light(pack, lit.plan, half)
    np.testing.assert_allclose(turned.key, half @ light.key, atol=1e-6)
    # the terms in x and z change sign, within what resampling 64 x 128 pixels costs
    flipped = light.irradiance * np.array([1, 1, -1, -1, -1, -1, 1, 1, 1])[:, None]
    np.testing.assert_allclose(turned.irradiance, flipped, atol=0.02)


@pytest.mark.slow
def test_benchmark_views_are_an_input_and_the_look_at_cameras(pack: Pack) -> None:
    views = benchmark_views(pack, 900_000, side_px=64)
    assert views["rgba"].shape == (6, 64, 64, 4)
    yaw, pitch = geometry.angles(views["c2w"][0])
    assert abs(yaw) < 0.4
    assert abs(pitch) < 0.3
    for c2w, yaw in zip(views["c2w"][1:], BENCHMARK_YAWS_RAD, strict=True):
        np.testing.assert_allclose(c2w, geometry.look_at_camera(yaw), atol=1e-6)


def test_a_torso_hides_the_end_of_the_bust(pack: Pack, head: Head, lit: LitScene) -> None:
    camera = geometry.aimed_camera([0, -0.2, 2.7], [0, -0.2, 0])
    scene = add_torso(pack, lit.scene, torso_mesh(pack, head), np.eye(4))
    clothed = light_scene(pack, scene, lit.plan, lit.light)
    bust, body = (render(shown, camera, 96, 2.0).alpha for shown in (lit, clothed))
    assert bust[-1].max() == 0  # nothing at the lower border
    assert (body[-1, 20:76] == 1).all()
    assert (body >= bust - 0.02).all()
