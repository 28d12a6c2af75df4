from __future__ import annotations

import numpy as np
import pytest

from tpvideo.stages import geometry
from tpvideo.stages.cut import cut
from tpvideo.stages.lay import Place, lay, place_of

PICTURE = np.zeros((90, 120, 3), np.uint8)


def smooth_picture() -> np.ndarray:
    y, x = np.mgrid[:90, :120]
    return np.dstack([2 * x, 2 * y, x + y]).astype(np.uint8)


@pytest.mark.parametrize(("side_px", "roll"), [(40.0, 0.0), (40.0, 0.4), (24.0, -0.3)])
def test_what_is_cut_and_laid_back_is_where_it_was(side_px: float, roll: float) -> None:
    picture = smooth_picture()
    fit = geometry.CropFit(np.array([60.0, 45.0]), side_px, roll)
    from_crop = geometry.image_from_crop(fit, 48)
    place = place_of(from_crop, 48, picture)
    crop = np.dstack([cut(picture, from_crop, 48), np.full((48, 48), 255, np.uint8)])
    laid = lay(crop, from_crop, place)
    is_inside = laid[..., 3] == 255
    assert is_inside.sum() > 0.7 * side_px**2
    before = picture[place.rows, place.columns]
    apart = np.abs(laid[..., :3].astype(int) - before)[is_inside]
    assert apart.max() <= 4  # two interpolations of slopes of 2 levels a pixel


def test_beyond_the_square_there_is_nothing() -> None:
    fit = geometry.CropFit(np.array([60.0, 45.0]), 30.0, 0.8)
    from_crop = geometry.image_from_crop(fit, 30)
    place = place_of(from_crop, 30, PICTURE)
    laid = lay(np.full((30, 30), 255, np.uint8), from_crop, place)
    assert laid[0, 0] == laid[-1, -1] == 0 and laid[laid.shape[0] // 2, laid.shape[1] // 2] == 255


@pytest.mark.parametrize("centre", [(0.0, 0.0), (119.0, 20.0), (-200.0, 45.0), (60.0, 500.0)])
def test_a_place_never_leaves_the_picture(centre: tuple[float, float]) -> None:
    fit = geometry.CropFit(np.array(centre), 50.0, 0.2)
    place = place_of(geometry.image_from_crop(fit, 32), 32, PICTURE)
    assert 0 <= place.top < place.bottom <= 90 and 0 <= place.left < place.right <= 120


def test_a_smaller_square_is_averaged_not_picked() -> None:
    stripes = np.zeros((128, 128), np.uint8)
    stripes[:, ::2] = 255
    from_layer = np.array([[0.125, 0.0, 10.0], [0.0, 0.125, 10.0]])
    laid = lay(stripes, from_layer, Place(12, 12, 24, 24))
    assert np.abs(laid.astype(int) - 128).max() <= 2
