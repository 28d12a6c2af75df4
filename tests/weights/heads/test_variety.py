"""What the first training views lacked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from shared import shared_path

pytest.importorskip("numba", reason="needs the training extra")
pytest.importorskip("cv2", reason="needs the training extra")
pytest.importorskip("scipy", reason="needs the training extra")

from scipy.spatial import cKDTree

from tpvideo.stages import geometry
from tpvideo.weights.training.heads.accessories import hat_mesh
from tpvideo.weights.training.heads.hair import Cards, hat_height
from tpvideo.weights.training.heads.head import make_head
from tpvideo.weights.training.heads.identity import draw_person
from tpvideo.weights.training.heads.pack import HAT, Pack
from tpvideo.weights.training.heads.variety import FARTHEST, NEAREST, draw_lens, vary
from tpvideo.weights.training.heads.views import training_views


@pytest.fixture(scope="module")
def pack() -> Pack:
    return Pack(shared_path("heads/pack"))


def test_a_lens_keeps_the_head_where_and_as_large_as_it_was() -> None:
    label = geometry.label_camera(0.3, -0.1)
    rng = np.random.default_rng(0)
    factors = []
    for _ in range(200):
        camera, focal = draw_lens(label, geometry.HEAD_CENTRE, rng)
        assert np.array_equal(camera[:3, :3], label[:3, :3])
        ends = geometry.HEAD_CENTRE + np.array([[-0.05], [0.05]]) * label[:3, 0]  # level
        for point in ends:
            x, y, z = (point - camera[:3, 3]) @ camera[:3, :3]
            u, v, w = (point - label[:3, 3]) @ label[:3, :3]
            assert focal * x / z == pytest.approx(geometry.FOCAL * u / w)
            assert focal * y / z == pytest.approx(geometry.FOCAL * v / w, abs=1e-9)
        factors.append(focal / geometry.FOCAL)
    assert NEAREST < min(factors) < 0.3 and 1.3 < max(factors) < FARTHEST
    assert np.median(factors) < 0.6  # near ones more often


def test_some_people_get_brims_and_nobody_another_hat(pack: Pack) -> None:
    rng = np.random.default_rng(1)
    person = draw_person(pack, np.random.default_rng(3))
    bare = replace(
        person,
        clothes=replace(person.clothes, hat="none"),
        hair=replace(person.hair, kind="strand", style="short"),
    )
    hats = [vary(bare, rng).clothes.hat for _ in range(300)]
    assert {"none", "cap", "brimmed"} == set(hats) and hats.count("none") > 220
    beanie = replace(bare, clothes=replace(bare.clothes, hat="beanie"))
    assert all(vary(beanie, rng) is beanie for _ in range(50))


@pytest.mark.parametrize("style", ["afro01", "bob01", "ponytail01"])
def test_modelled_hair_lies_under_a_hat_and_free_below_it(pack: Pack, style: str) -> None:
    person = draw_person(pack, np.random.default_rng(3))
    person = replace(person, hair=replace(person.hair, kind="mesh", style=style))
    worn = replace(person, clothes=replace(person.clothes, hat="cap"))
    (bare, *_), (pressed, *_) = (make_head(pack, who, 64).hair for who in (person, worn))
    assert isinstance(bare, Cards) and isinstance(pressed, Cards)
    assert 0 < len(pressed.triangles) < len(bare.triangles)
    points = make_head(pack, worn, 64).points[pack.skin_vertices]
    under = hat_height(pressed.points) > 7.8
    gap = cKDTree(points).query(pressed.points[under])[0]
    assert np.percentile(gap, 99) < 0.75  # the scalp's vertices lie up to 1 apart
    below = hat_height(bare.points) < 4
    stayed = (pressed.points[below] == bare.points[below]).all(1)
    assert stayed.mean() > 0.5  # of a ponytail, what stands off the neck does not
    np.testing.assert_array_equal(pressed.shading.points, pressed.points)


def test_brims_reach_over_the_face_and_a_hats_all_around(pack: Pack) -> None:
    front = pack.points[pack.landmarks[27], 2]  # the bridge of the nose
    beanie, cap, hat = (hat_mesh(pack, kind, pack.points) for kind in ("beanie", "cap", "brimmed"))
    assert beanie.points[:, 2].max() < front + 2 < cap.points[:, 2].max() - 1
    width = [np.abs(worn.points[:, 0]).max() for worn in (beanie, cap, hat)]
    assert width[1] < width[0] + 1 and width[2] > width[0] + 3
    for worn in (cap, hat):
        assert np.isfinite(worn.points).all() and (worn.material == HAT).all()
        assert worn.triangles.max() == len(worn.points) - 1


@pytest.mark.slow
def test_varied_files_show_the_same_people_with_shoulders_and_lenses(pack: Pack) -> None:
    plain = training_views(pack, 12, views=1, side_px=64, wide=1, wide_px=64)
    varied = training_views(
        pack, 12, views=1, side_px=64, wide=1, wide_px=64, lenses=1, variety=True
    )
    np.testing.assert_array_equal(varied["lm68_3d"], plain["lm68_3d"])
    np.testing.assert_array_equal(varied["c2w"], plain["c2w"])
    assert varied["lens_rgba"].shape == (1, 64, 64, 4) and varied["lens_focal"].shape == (1,)
    lowest, before = (views["w_rgba"][0, -1, :, 3].astype(int).sum() for views in (varied, plain))
    assert lowest > before + 20 * 255  # a body as far as the frame's edge
