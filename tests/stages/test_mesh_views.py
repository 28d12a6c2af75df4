"""Visibility and colours on a ball, whose answers are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from balls import CENTRE, RADIUS, colour
from ballvolume import PLANES, STEEP, ball_network
from tiny import random_face

from tpvideo.pipeline.errors import ConfigError
from tpvideo.stages import geometry
from tpvideo.stages.mesh import Mesh, surface
from tpvideo.stages.mesh_views import Sight, drawn_level, looked_up, painted, seen_part

pytest.importorskip("skimage")

SIDE = 40


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tpvideo.stages.mesh_views.LOOK_PX", 48)


@pytest.fixture(scope="module")
def ball() -> Mesh:
    return surface(ball_network().decoder, PLANES, 0.0, SIDE)


def test_pictures_are_drawn_through_the_level_that_is_found() -> None:
    level = drawn_level(ball_network().decoder, PLANES)
    # Light is gone within some 0.02 of the radius, however it is sampled.
    assert -0.005 < level / STEEP < 0.02


def test_a_volume_that_shows_nothing_has_no_level() -> None:
    generator = ball_network().decoder
    generator.density_gain = 1e-6
    with pytest.raises(ConfigError, match="nothing solid; --level says"):
        drawn_level(generator, PLANES)


def test_a_camera_sees_the_side_that_faces_it(ball: Mesh) -> None:
    camera = geometry.label_camera(0.0, 0.0)
    seen = Sight.of(ball_network().decoder, PLANES, camera).sees(ball.points)
    facing = (ball.points - CENTRE) @ [0, 0, 1] / RADIUS
    assert seen[facing > 0.3].all()
    assert not seen[facing < -0.3].any()
    away = Sight.of(ball_network().decoder, PLANES, camera).sees(np.array([[0.5, 0.0, 0.0]]))
    assert not away[0]  # beside the picture


def test_what_no_camera_sees_is_left_out(ball: Mesh) -> None:
    kept = seen_part(ball, ball_network().decoder, PLANES)
    to_front = (kept.points - CENTRE)[:, 2] / RADIUS
    assert to_front.max() > 0.98
    # Cameras 0.85 rad to either side see as far as 0.85 rad behind the middle: -sin 0.85.
    assert -0.9 < to_front.min() < -0.4
    assert len(kept.points) < 0.95 * len(ball.points)


def test_the_volumes_colours_are_those_of_its_skin(ball: Mesh) -> None:
    mesh = painted(ball, ball_network().decoder, PLANES)
    assert mesh.colours is not None
    inward = CENTRE + (ball.points - CENTRE) * (1 - 0.01 / RADIUS)
    assert np.abs(mesh.colours / 255 - colour(inward)).max() < 0.03


def test_the_source_colours_what_it_shows(ball: Mesh) -> None:
    camera = geometry.label(geometry.label_camera(0.0, 0.0))
    red = np.zeros((48, 48, 3), np.uint8)
    red[..., 0] = 255
    face = replace(random_face(1), camera=camera, crop=red, alpha=np.full((48, 48), 255, np.uint8))
    generator = ball_network().decoder
    shown, plain = painted(ball, generator, PLANES, face), painted(ball, generator, PLANES)
    assert shown.colours is not None and plain.colours is not None
    facing = (ball.points - CENTRE)[:, 2] / RADIUS
    assert (shown.colours[facing > 0.7] == [255, 0, 0]).all()
    np.testing.assert_array_equal(shown.colours[facing < -0.2], plain.colours[facing < -0.2])
    hidden = replace(face, alpha=np.zeros((48, 48), np.uint8))
    unseen = painted(ball, generator, PLANES, hidden)
    np.testing.assert_array_equal(unseen.colours, plain.colours)
    larger = painted(ball, generator, PLANES, face, np.zeros((96, 96, 3), np.uint8))
    assert larger.colours is not None and not larger.colours[facing > 0.7].any()


def test_pictures_are_looked_up_between_pixels() -> None:
    picture = np.array([[[0], [100]], [[200], [100]]], np.uint8)
    places = np.array([[0.25, 0.25], [0.5, 0.25], [0.5, 0.5], [-1.0, 0.75]])
    assert looked_up(picture, places)[:, 0] == pytest.approx([0, 50, 100, 200])


def test_colours_of_many_vertices_do_not_depend_on_their_parts(
    ball: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = ball_network().decoder
    whole = painted(ball, generator, PLANES)
    monkeypatch.setattr("tpvideo.stages.mesh_views.POINTS_AT_ONCE", 100)
    parts = painted(ball, generator, PLANES)
    assert whole.colours is not None and parts.colours is not None
    assert np.abs(whole.colours.astype(int) - parts.colours).max() <= 1  # order of summation
    assert torch.equal(PLANES, torch.zeros_like(PLANES))
