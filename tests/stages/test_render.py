from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from tiny import random_face, tiny_network

from tpvideo.pipeline.errors import NoFaceError
from tpvideo.pipeline.frame import Face, Inverted, Posed, Rendered, Stamp, StreamInfo
from tpvideo.stages import geometry
from tpvideo.stages.backdrop import Plain
from tpvideo.stages.invert import Inversion
from tpvideo.stages.networks.triplanenet import TriPlaneNet
from tpvideo.stages.render import NovelView, centre_crop, premultiplied

INFO = StreamInfo(120, 90, Fraction(25), Fraction(1, 25), None)
BLACK = Plain((0, 0, 0))


class Studio:
    """One tiny network, frames of a clip, and the stage under test."""

    def __init__(self, network: TriPlaneNet | None = None, **options: Any) -> None:
        self.network = network or tiny_network()
        self.inversion = Inversion(self.network)
        settings = {"yaw_rad": 0.3, "backdrop": BLACK, "size": 64, "batch": 4}
        self.stage = NovelView(self.network, **{**settings, **options})
        self.info = self.stage.open(INFO)

    def frame(self, index: int, face: Face | None) -> Inverted:
        """Its picture is noise of its own."""
        random = np.random.default_rng(1000 + index)
        rgb = random.integers(0, 256, (90, 120, 3), dtype=np.uint8)
        return self.inversion.process([Posed(Stamp(index, 7 * index), rgb, face)])[0]

    def render(self, *faces: Face | None) -> list[Rendered]:
        items = [self.frame(index, face) for index, face in enumerate(faces)]
        return list(self.stage.process(items))


def test_frames_leave_in_order_each_with_its_own_face() -> None:
    studio = Studio()
    faces = [random_face(0), None, random_face(1), random_face(2)]
    found = studio.render(*faces)
    assert [item.stamp for item in found] == [Stamp(index, 7 * index) for index in range(4)]
    assert all(item.rgb.shape == (64, 64, 3) and item.alpha is None for item in found)
    assert np.abs(found[2].rgb.astype(int) - found[3].rgb).mean() > 0.5
    for index in (0, 2, 3):
        alone = next(iter(studio.stage.process([studio.frame(index, faces[index])])))
        difference = np.abs(alone.rgb.astype(int) - found[index].rgb)
        assert difference.max() <= 1  # rounding of nearly equal floats


def test_a_frame_without_a_face_shows_the_last_picture() -> None:
    first, lost, again = Studio(on_lost="hold").render(random_face(0), None, None)
    np.testing.assert_array_equal(lost.rgb, first.rgb)
    np.testing.assert_array_equal(again.rgb, first.rgb)
    assert lost.stamp == Stamp(1, 7)


def test_before_the_first_face_the_source_is_shown() -> None:
    studio = Studio(on_lost="hold")
    frame = studio.frame(0, None)
    shown = next(iter(studio.stage.process([frame])))
    np.testing.assert_array_equal(shown.rgb, centre_crop(frame.rgb, 64))


def test_a_lost_face_may_show_the_source() -> None:
    studio = Studio(on_lost="source")
    frames = [studio.frame(0, random_face(0)), studio.frame(1, None)]
    _, shown = studio.stage.process(frames)
    np.testing.assert_array_equal(shown.rgb, centre_crop(frames[1].rgb, 64))


def test_a_lost_face_may_leave_the_backdrop_blank() -> None:
    _, shown = Studio(on_lost="blank", backdrop=Plain((10, 20, 30))).render(random_face(0), None)
    assert (shown.rgb == [10, 20, 30]).all() and shown.alpha is None


@pytest.mark.parametrize(("on_lost", "opacity"), [("blank", 0), ("source", 255)])
def test_a_lost_face_has_an_alpha_where_the_others_have_one(on_lost: Any, opacity: int) -> None:
    _, shown = Studio(on_lost=on_lost, backdrop=None).render(random_face(0), None)
    assert shown.alpha is not None and shown.alpha.shape == (64, 64)
    assert (shown.alpha == opacity).all()


def test_a_lost_face_may_end_the_run() -> None:
    studio = Studio(on_lost="fail")
    with pytest.raises(NoFaceError, match=r"no face in frame 1"):
        studio.render(random_face(0), None)


def test_a_clip_without_any_face_has_failed() -> None:
    studio = Studio()
    studio.render(None, None)
    with pytest.raises(NoFaceError, match=r"no face in any of 2 frames"):
        studio.stage.flush()


def test_a_clip_with_one_face_or_no_frame_has_not_failed() -> None:
    studio = Studio()
    assert studio.stage.flush() == ()
    studio.render(None, random_face(0), None)
    assert studio.stage.flush() == ()


def test_opening_forgets_the_last_clip() -> None:
    studio = Studio()
    held = studio.render(random_face(0))[0]
    studio.stage.open(INFO)
    shown = studio.render(None)[0]
    assert not np.array_equal(shown.rgb, held.rgb)
    with pytest.raises(NoFaceError, match="any of 1 frames"):
        studio.stage.flush()


def test_the_fixed_camera_is_the_look_at_camera_for_every_face() -> None:
    stage = Studio(yaw_rad=0.3, pitch_rad=-0.1).stage
    for face in (random_face(0, yaw=0.5, roll=0.4), random_face(1)):
        expected = geometry.look_at_camera(0.3, -0.1)
        np.testing.assert_array_equal(stage.camera(face), expected)


def test_following_adds_the_angles_and_keeps_the_heads_roll() -> None:
    stage = Studio(yaw_rad=-0.3, pitch_rad=0.05, follow=True).stage
    camera = stage.camera(random_face(0, yaw=0.5, pitch=0.1, roll=0.4))
    assert geometry.angles(camera) == pytest.approx((0.2, 0.15), abs=1e-6)
    assert np.linalg.norm(camera[:3, 3]) == pytest.approx(2.7)
    # The head leans clockwise in its picture (its crown to the right), and here it does too.
    crown = geometry.HEAD_CENTRE + np.array([0.0, 0.1, 0.0])
    x, y, _ = (crown - camera[:3, 3]) @ camera[:3, :3]
    assert np.arctan2(x, -y) == pytest.approx(0.4, abs=0.01)  # perspective


def test_a_transparent_picture_laid_on_black_is_the_picture_on_black() -> None:
    face = random_face(3)
    studio = Studio()
    opaque = studio.render(face)[0]
    studio.stage.backdrop = None
    clear = studio.render(face)[0]
    assert clear.alpha is not None and clear.alpha.shape == (64, 64)
    assert clear.alpha.min() < 64 and clear.alpha.max() > 192  # both kinds are there
    composed = clear.rgb * (clear.alpha[..., None] / 255)
    np.testing.assert_allclose(composed, opaque.rgb, atol=2)  # three roundings
    assert opaque.alpha is None


def test_the_backdrop_shows_through_where_the_head_is_clear() -> None:
    studio = Studio(backdrop=None)
    face = random_face(3)
    clear = studio.render(face)[0]
    studio.stage.backdrop = Plain((0, 255, 0))
    green = studio.render(face)[0]
    assert clear.alpha is not None
    alpha = clear.alpha[..., None] / 255
    expected = clear.rgb * alpha + np.array([0, 255, 0]) * (1 - alpha)
    np.testing.assert_allclose(green.rgb, expected, atol=2)


def test_side_by_side_puts_the_sources_crop_on_the_left() -> None:
    studio = Studio(side_by_side=True, size=48)
    assert (studio.info.width, studio.info.height) == (96, 48)
    face = random_face(0)
    frames = [studio.frame(0, face), studio.frame(1, None)]
    shown, lost = studio.stage.process(frames)
    assert shown.rgb.shape == (48, 96, 3)
    np.testing.assert_array_equal(shown.rgb[:, :48], face.crop)
    np.testing.assert_array_equal(lost.rgb[:, :48], centre_crop(frames[1].rgb, 48))
    np.testing.assert_array_equal(lost.rgb[:, 48:], shown.rgb[:, 48:])  # held


@pytest.mark.parametrize("size", [24, 64, 100])
def test_the_picture_has_the_asked_size_and_time_stays(size: int) -> None:
    studio = Studio(size=size)
    assert (studio.info.width, studio.info.height) == (size, size)
    assert studio.info.time_base == INFO.time_base and studio.info.rate == INFO.rate
    assert studio.render(random_face(0))[0].rgb.shape == (size, size, 3)


def test_detail_changes_the_picture() -> None:
    studio = Studio(yaw_rad=0.0)
    face = random_face(0)
    fetched = studio.render(face)[0]
    studio.stage.detail = False
    plain = studio.render(face)[0]
    assert np.abs(fetched.rgb.astype(int) - plain.rgb).mean() > 0.1


def test_a_picture_without_its_own_alpha_takes_the_volumes() -> None:
    image = torch.zeros(1, 3, 8, 8)  # half way from black to white
    alpha = torch.full((1, 1, 2, 2), 0.75)
    colours, alphas = premultiplied(image, alpha)
    torch.testing.assert_close(alphas, torch.full((1, 1, 8, 8), 0.75))
    torch.testing.assert_close(colours, torch.full((1, 3, 8, 8), 0.5))


def test_a_published_network_shows_on_black_just_what_it_draws() -> None:
    network = tiny_network(image_channels=3)
    studio = Studio(network=network, detail=False)
    shown = studio.render(random_face(0))[0]
    head = studio.frame(0, random_face(0)).head
    assert head is not None
    label = torch.from_numpy(geometry.label(geometry.look_at_camera(0.3)))[None]
    drawn = network.render(head.planes[None], head.latents[None], label).image[0]
    expected = (drawn.permute(1, 2, 0).add(1) * 127.5).clamp(0, 255).numpy()
    np.testing.assert_allclose(shown.rgb, expected, atol=1)  # rounding


def test_premultiplied_colours_never_exceed_their_alpha() -> None:
    image = torch.rand(1, 4, 8, 8) * 3 - 1.5
    colours, alphas = premultiplied(image, torch.zeros(1, 1, 2, 2))
    assert (colours <= alphas).all()
    assert alphas.min() == 0 and alphas.max() == 1
    torch.testing.assert_close(alphas, ((image[:, 3:] + 1) / 2).clamp(0, 1))


def test_the_centre_crop_is_the_middle_square() -> None:
    rgb = np.zeros((4, 10, 3), np.uint8)
    rgb[:, 3:7] = 200
    assert (centre_crop(rgb, 4) == 200).all()
    assert centre_crop(rgb, 9).shape == (9, 9, 3)
    upright = np.ascontiguousarray(rgb.transpose(1, 0, 2))
    assert (centre_crop(upright, 4) == 200).all()


def test_a_head_that_is_the_one_before_it_is_drawn_once_until_a_knob_turns() -> None:
    studio = Studio()
    first = studio.frame(0, random_face(0))
    draws: list[int] = []
    studio.network.decoder.superresolution.register_forward_hook(
        lambda _module, args, _result: draws.append(len(args[0]))
    )
    shown = [*studio.stage.process([first, first]), *studio.stage.process([first])]
    assert draws == [1]
    for item in shown[1:]:
        np.testing.assert_array_equal(item.rgb, shown[0].rgb)
    studio.stage.yaw_rad = -0.3
    (turned,) = studio.stage.process([first])
    assert draws == [1, 1]
    assert np.abs(turned.rgb.astype(int) - shown[0].rgb).max() > 5


def test_a_coarser_volume_and_surface_draw_nearly_the_same_picture() -> None:
    network, face = tiny_network(), random_face(0)
    (full,) = Studio(network).render(face)
    (spare,) = Studio(network, volume_side=12, surface=1).render(face)
    assert spare.rgb.shape == full.rgb.shape
    apart = np.abs(spare.rgb.astype(int) - full.rgb).mean()
    assert 0 < apart < full.rgb.std() / 2
