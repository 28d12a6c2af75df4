from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from faces import ScriptedFinder, known_face, numbered

from tpvideo.pipeline.errors import ConfigError
from tpvideo.pipeline.frame import Decoded, Face, Matted, Posed, Stamp, StreamInfo
from tpvideo.stages import geometry
from tpvideo.stages.face import FaceCrop, cut_face
from tpvideo.stages.facefinder import FaceReading
from tpvideo.stages.pose_smoothing import PoseSmoother
from tpvideo.stages.tracker import Tracker

INFO = StreamInfo(width=160, height=120, rate=Fraction(25), time_base=Fraction(1, 25), frames=None)


def run(
    script: list[list[FaceReading]], levels: list[int] | None = None, **settings: Any
) -> tuple[list[Posed], ScriptedFinder]:
    finder = ScriptedFinder(script)
    stage = FaceCrop(finder, crop_px=32, **settings)
    stage.open(INFO)
    items = []
    for index in range(len(script)):
        rgb = numbered(index, level=levels[index] if levels else 100)
        items.append(Matted(Stamp(index, index), rgb, np.full((60, 80), 255, np.uint8)))
    return stage.process(items), finder


def centre_x(posed: Posed) -> float:
    assert posed.face is not None
    middle = np.array([16.0, 16.0])
    return float((posed.face.image_from_crop[:, :2] @ middle + posed.face.image_from_crop[:, 2])[0])


def test_a_face_comes_with_its_crop_and_its_label_camera() -> None:
    posed, _ = run([[known_face(80, 60, 50, yaw=0.4, pitch=-0.2, roll=0.3)]])
    face = posed[0].face
    assert isinstance(face, Face)
    assert face.crop.shape == (32, 32, 3)
    assert face.alpha.shape == (32, 32)
    assert face.confidence == pytest.approx(0.9)
    expected = geometry.label(geometry.label_camera(0.4, -0.2))
    np.testing.assert_allclose(face.camera, expected, atol=1e-6)
    fit = geometry.CropFit(np.array([80.0, 60.0]), 50.0, 0.3)
    np.testing.assert_allclose(face.image_from_crop, geometry.image_from_crop(fit, 32), atol=1e-6)


def test_a_picture_without_a_face_passes_with_none() -> None:
    posed, _ = run([[], [known_face(80, 60, 50)], []])
    assert [item.face is None for item in posed] == [True, False, True]
    assert [item.cut for item in posed] == [False, True, False]
    assert [item.stamp.index for item in posed] == [0, 1, 2]


def test_a_followed_face_is_not_searched_again() -> None:
    _, finder = run([[known_face(80 + i, 60, 50)] for i in range(6)])
    assert finder.searched == [0]


def test_a_lost_face_is_searched_in_every_picture_until_it_returns() -> None:
    face = known_face(80, 60, 50)
    posed, finder = run([[face], [], [], [face], [face]])
    assert finder.searched == [0, 1, 2, 3]
    assert [item.cut for item in posed] == [True, False, False, True, False]


def test_a_face_that_jumps_is_found_at_its_new_place() -> None:
    posed, _ = run([[known_face(40, 60, 40)], [known_face(120, 60, 40)]])
    assert centre_x(posed[1]) == pytest.approx(120, abs=1e-6)
    assert posed[1].cut


def test_a_cut_forgets_place_and_smoothing() -> None:
    """The new face stands so near the old one that only the change of the picture tells."""
    script = [[known_face(80, 60, 50)], [known_face(86, 60, 50)]]
    followed, _ = run(script, smooth=1.0)
    assert 80 < centre_x(followed[1]) < 84
    assert not followed[1].cut
    anew, _ = run(script, levels=[100, 200], smooth=1.0)
    assert centre_x(anew[1]) == pytest.approx(86, abs=1e-6)
    assert anew[1].cut


@pytest.mark.parametrize(
    ("choose", "expected"), [("largest", 130), ("center", 70), (1, 20), (2, 70), (3, 130), (9, 130)]
)
def test_the_chosen_one_of_several_faces_is_cut_out(choose: Any, expected: float) -> None:
    faces = [known_face(70, 60, 30), known_face(130, 60, 50), known_face(20, 60, 25)]
    posed, _ = run([faces], choose=choose)
    assert centre_x(posed[0]) == pytest.approx(expected, abs=1e-6)


def test_the_same_face_is_followed_though_another_grows_larger() -> None:
    script = [[known_face(40, 60, 40), known_face(120, 60, 20 + 10 * i)] for i in range(5)]
    posed, _ = run(script)
    assert [round(centre_x(item)) for item in posed] == [40] * 5


def test_the_same_face_is_preferred_after_a_loss() -> None:
    small, large = known_face(40, 60, 30), known_face(120, 60, 50)
    posed, _ = run([[small], [large, small], [large], [large, known_face(44, 60, 30)]])
    assert round(centre_x(posed[1])) == 40
    assert round(centre_x(posed[2])) == 120


def test_opening_again_starts_a_new_clip() -> None:
    finder = ScriptedFinder([[known_face(80, 60, 50)]])
    stage = FaceCrop(finder, crop_px=16)
    item = Matted(Stamp(0, 0), numbered(0), np.zeros((4, 4), np.uint8))
    for _ in range(2):
        stage.open(INFO)
        assert stage.process([item])[0].cut
    assert finder.searched == [0, 0]


def test_a_face_whose_square_leaves_the_picture_is_lost() -> None:
    tracker = Tracker(ScriptedFinder([[known_face(300, 60, 50)]]), "largest")
    assert tracker.follow(numbered(0)) is None


def test_without_smoothing_every_pose_passes_unchanged() -> None:
    smoother = PoseSmoother(0.0)
    for time, x in enumerate([10.0, 90.0, 30.0]):
        fit, yaw, pitch = smoother(known_face(x, 60, 50, yaw=0.1, pitch=0.2), time / 25)
        assert fit.centre[0] == pytest.approx(x)
        assert (yaw, pitch) == (0.1, 0.2)


def test_more_smoothing_follows_more_slowly() -> None:
    steps = []
    for smooth in (0.1, 0.5, 1.0):
        smoother = PoseSmoother(smooth)
        smoother(known_face(80, 60, 50), 0.0)
        fit, _, _ = smoother(known_face(81, 60, 50), 0.04)
        steps.append(float(fit.centre[0]) - 80)
    assert 1 > steps[0] > steps[1] > steps[2] > 0


def test_roll_is_smoothed_across_half_a_turn() -> None:
    smoother = PoseSmoother(0.5)
    smoother(known_face(80, 60, 50, roll=3.1), 0.0)
    fit, _, _ = smoother(known_face(80, 60, 50, roll=-3.1), 0.04)
    assert 3.1 < fit.roll_rad < 2 * np.pi - 3.1


def test_the_matte_of_a_crop_lies_where_the_picture_does() -> None:
    """A person of 1s in a picture twice as fine as its matte, cut with a turn."""
    rgb = np.zeros((120, 160, 3), np.uint8)
    rgb[40:80, 60:100] = 255
    alpha = np.zeros((60, 80), np.uint8)
    alpha[20:40, 30:50] = 255
    fit = geometry.CropFit(np.array([80.0, 60.0]), 80.0, 0.5)
    face = cut_face(rgb, alpha, fit, 0.0, 0.0, 64, 1.0)
    differing = np.abs(face.crop[..., 0].astype(int) - face.alpha.astype(int)) > 128
    assert differing.mean() < 0.01  # only along the person's edge
    assert face.alpha.max() == 255


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crop_px": 4}, "the crop must be at least 16 pixels wide, got 4"),
        ({"choose": 0}, "the face must be 'largest', 'center' or a number from 1, got 0"),
        ({"choose": "left"}, "the face must be 'largest', 'center' or a number from 1, got 'left'"),
        ({"smooth": 1.5}, "smoothing must be between 0 and 1, got 1.5"),
    ],
)
def test_senseless_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("'", ".")):
        FaceCrop(ScriptedFinder([]), **settings)


def test_one_camera_has_no_cuts_so_light_and_a_covered_lens_change_no_face() -> None:
    """Two faces, of which the smaller is followed; the lens is covered; then both are back."""
    both = [known_face(40, 60, 40), known_face(120, 60, 60)]
    script: list[list[FaceReading]] = [[both[0]], both, [], [], both, both]
    levels = [100, 100, 5, 5, 220, 220]
    posed, _ = run(script, levels=levels, is_one_shot=True)
    seen = [item.face and round(centre_x(item)) for item in posed]
    assert seen == [40, 40, None, None, 40, 40]
    film, _ = run(script, levels=levels)
    assert centre_x(film[-1]) == pytest.approx(120)  # a film may show another scene: the largest


def test_a_picture_that_repeats_the_one_before_it_keeps_its_very_face() -> None:
    finder = ScriptedFinder([[known_face(80 + 4 * n, 60, 50)] for n in range(3)])
    stage = FaceCrop(finder, crop_px=32)
    stage.open(INFO)
    pictures = [numbered(0, level=100), numbered(0, level=100), numbered(1, level=100)]
    found = stage.process([Decoded(Stamp(n, n), rgb) for n, rgb in enumerate(pictures)])
    assert found[1].face is found[0].face and found[2].face is not found[1].face
    assert [item.stamp.index for item in found] == [0, 1, 2]
    assert [item.cut for item in found] == [True, False, False]


def held_back(script: list[list[FaceReading]], levels: list[int], ahead: int) -> list[Posed]:
    """The pictures of a script, one by one, through a stage that looks ahead."""
    stage = FaceCrop(ScriptedFinder(script), crop_px=32, ahead=ahead)
    stage.open(INFO)
    posed: list[Posed] = []
    for index, level in enumerate(levels):
        posed += stage.process([Decoded(Stamp(index, index), numbered(index, level=level))])
        assert len(posed) == max(0, index + 1 - ahead)
    return [*posed, *stage.flush()]


def test_pictures_are_held_back_until_what_comes_is_known_and_none_is_lost() -> None:
    script = [[known_face(60 + 4 * n, 60, 50)] for n in range(8)]
    posed = held_back(script, [100] * 8, ahead=3)
    assert [item.stamp.index for item in posed] == list(range(8))
    np.testing.assert_allclose([centre_x(item) for item in posed], np.arange(60, 92, 4))
    assert centre_x(run(script)[0][-1]) < 88  # the causal filter lags


def test_no_look_ahead_reaches_over_a_cut_or_a_loss() -> None:
    script = [[known_face(60, 60, 50)]] * 3 + [[known_face(76, 60, 50)]] * 3
    script += [[], [known_face(90, 60, 50)], [known_face(90, 60, 50)]]
    levels = [100] * 3 + [200] * 6
    posed = held_back(script, levels, ahead=4)
    seen = [item.face and round(centre_x(item), 6) for item in posed]
    assert seen == [60, 60, 60, 76, 76, 76, None, 90, 90]
    assert [item.cut for item in posed] == [n in (0, 3, 7) for n in range(9)]


def test_pictures_held_back_go_on_after_a_restart() -> None:
    """Also one that repeats the picture before it."""
    random = np.random.default_rng(2)
    script = [[known_face(80 + random.normal(), 60, 50)] for _ in range(9)]
    pictures = [numbered(index, level=100) for index in range(9)]
    pictures[4] = pictures[3]
    items = [Decoded(Stamp(n, n), rgb) for n, rgb in enumerate(pictures)]
    stages = [FaceCrop(ScriptedFinder(script), crop_px=32, ahead=3) for _ in range(3)]
    for stage in stages:
        stage.open(INFO)
    whole, before, after = stages
    expected = [*whole.process(items), *whole.flush()]
    found = before.process(items[:5])
    after.restore(before.state())
    found += [*after.process(items[5:]), *after.flush()]
    assert [centre_x(item) for item in found] == [centre_x(item) for item in expected]
    assert expected[4].face is expected[3].face
