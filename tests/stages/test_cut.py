from __future__ import annotations

import math

import numpy as np
import pytest

from tpvideo.stages import cut as cut_module
from tpvideo.stages.cut import cut
from tpvideo.stages.geometry import CropFit, image_from_crop


def ramp(height: int, width: int) -> np.ndarray:
    """[H, W, 3] whose red is x and green is y, at the pixels' centres."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.dstack([columns, rows, np.zeros_like(rows)]).astype(np.uint8)


def test_whole_pixels_are_copied() -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (40, 50, 3), np.uint8)
    crop = cut(picture, np.array([[1.0, 0, 7], [0, 1.0, 5]]), 20)
    np.testing.assert_array_equal(crop, picture[5:25, 7:27])


@pytest.mark.parametrize("scale", [0.6, 1.0, 1.4, 2.0, 3.7])
@pytest.mark.parametrize("angle", [0.0, 0.4, -2.0])
def test_every_pixel_comes_from_where_the_similarity_says(scale: float, angle: float) -> None:
    fit = CropFit(np.array([123.3, 121.7]), 40 * scale, angle)
    affine = image_from_crop(fit, 40)
    crop = cut(ramp(250, 250), affine, 40).astype(float)
    rows, columns = np.mgrid[0:40, 0:40] + 0.5
    expected = np.stack([columns, rows], axis=-1) @ affine[:, :2].T + affine[:, 2] - 0.5
    np.testing.assert_allclose(crop[..., :2], expected, atol=1.001)  # rounding, twice when shrunk


def test_fine_stripes_turn_gray_when_shrunk() -> None:
    picture = np.zeros((200, 200, 3), np.uint8)
    picture[:, ::2] = 255
    crop = cut(picture, np.array([[4.0, 0, 20], [0, 4.0, 20]]), 40)
    assert np.abs(crop.astype(int) - 127).max() <= 2


def test_the_border_goes_on_outside_the_picture() -> None:
    picture = ramp(30, 30) + np.array([1, 1, 9], np.uint8)
    crop = cut(picture, np.array([[1.0, 0, -10], [0, 1.0, -10]]), 50)
    assert crop[0, 0].tolist() == [1, 1, 9]
    assert crop[49, 49].tolist() == [30, 30, 9]
    assert crop[25, 0].tolist() == [1, 16, 9]


def test_a_matte_goes_on_below_and_ends_at_the_other_sides() -> None:
    matte = np.full((30, 30), 200, np.uint8)
    crop = cut(matte, np.array([[1.0, 0, -10], [0, 1.0, -10]]), 50, "matte")
    assert crop[5, 25] == 0  # above
    assert crop[25, 5] == 0  # left
    assert crop[25, 45] == 0  # right
    assert crop[45, 25] == 200  # below
    assert crop[45, 5] == 0


def test_a_square_far_outside_is_all_border() -> None:
    crop = cut(ramp(30, 30), np.array([[1.0, 0, 500], [0, 1.0, 10]]), 16)
    assert (crop[..., 0] == 29).all()


def test_the_result_of_a_turn_has_the_crops_size() -> None:
    affine = image_from_crop(CropFit(np.array([5.0, 90.0]), 300.0, math.pi / 3), 64)
    assert cut(ramp(100, 80), affine, 64).shape == (64, 64, 3)


def test_a_matte_of_one_value_stays_it() -> None:
    turned = np.array([[0.5, -0.1, 40.0], [0.1, 0.5, 40.0]])
    crop = cut(np.full((100, 120), 200, np.uint8), turned, 48, "matte")
    assert crop.shape == (48, 48) and crop.dtype == np.uint8
    assert (crop == 200).all()


@pytest.mark.parametrize("scale", [0.4, 0.97, 1.0, 1.1, 1.6, 2.3])
@pytest.mark.parametrize("angle", [0.0, 0.2, -2.5])
def test_the_compiled_loops_cut_what_pillow_does(
    monkeypatch: pytest.MonkeyPatch, scale: float, angle: float
) -> None:
    rng = np.random.default_rng(5)
    picture = rng.integers(0, 256, (150, 160, 3), np.uint8)
    affine = image_from_crop(CropFit(np.array([81.2, 70.9]), 32 * scale, angle), 32)
    compiled = cut(picture, affine, 32).astype(int)
    monkeypatch.setattr(cut_module, "has_kernel", lambda: False)
    plain = cut(picture, affine, 32).astype(int)
    # Pillow cuts fractions off where the loops round, and rounds twice where it halves.
    assert np.abs(compiled - plain).max() <= 1
    assert -0.1 < (compiled - plain).mean() < 0.6
