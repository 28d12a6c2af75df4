"""Tone mapping against numbers from the standards."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tpvideo.stages.colour import (
    Grade,
    decoded_with_bt709,
    hlg_scene,
    pq_code,
    pq_nits,
    roll_off,
)

PQ, HLG, SDR, BT2020, BT709 = 16, 18, 1, 9, 1


def grey(code: float) -> NDArray[np.uint16]:
    return np.full((2, 2, 3), round(code * 65535), np.uint16)


def test_pq_matches_bt2408_levels() -> None:
    # BT.2408 table 1: 203 cd/m2 is 58 % PQ, 1000 is 75 %; BT.2100: full scale is 10000.
    assert float(pq_code(np.array(203.0))) == pytest.approx(0.58, abs=0.005)
    assert float(pq_code(np.array(1000.0))) == pytest.approx(0.75, abs=0.005)
    assert float(pq_nits(np.array(1.0))) == pytest.approx(10000)
    nits = np.array([0.1, 1, 100, 4000.0])
    np.testing.assert_allclose(pq_nits(pq_code(nits)), nits, rtol=1e-9)


def test_hlg_matches_bt2100_levels() -> None:
    # Half signal is a twelfth of peak; full signal is peak.
    assert float(hlg_scene(np.array(0.5))) == pytest.approx(1 / 12)
    assert float(hlg_scene(np.array(1.0))) == pytest.approx(1, abs=1e-6)


def test_the_roll_off_keeps_shadows_and_ends_at_white() -> None:
    nits = np.linspace(0, 1000, 501)
    shown = roll_off(nits)
    np.testing.assert_allclose(shown[:40], nits[:40], rtol=1e-6, atol=1e-9)  # below the knee
    assert shown[-1] == pytest.approx(203, abs=0.5)
    assert (np.diff(shown) > 0).all()
    assert (shown <= nits + 1e-6).all()


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_greys_stay_grey_and_rise(transfer: int) -> None:
    grade = Grade(transfer, BT2020)
    levels = [grade(grey(code))[0, 0].astype(int) for code in np.linspace(0, 1, 33)]
    assert max(np.ptp(level) for level in levels) <= 1
    assert (np.diff([level[1] for level in levels]) >= 0).all()
    assert levels[0][1] == 0
    assert levels[-1][1] >= 254


def test_mid_light_in_pq_is_the_level_worked_by_hand() -> None:
    # 50 cd/m2 lies below the knee: (50 / 203) ** (1 / 2.4) * 255 = 142.2
    level = Grade(PQ, BT2020)(grey(float(pq_code(np.array(50.0)))))[0, 0]
    assert np.abs(level.astype(int) - 142).max() <= 1


def test_hlg_skin_level_is_the_level_worked_by_hand() -> None:
    # Signal 0.5: scene 1/12, display 1000 * (1/12) ** 1.2 = 50.7 cd/m2; as above, 143.0
    level = Grade(HLG, BT2020)(grey(0.5))[0, 0]
    assert np.abs(level.astype(int) - 143).max() <= 1


def test_wide_colours_move_and_ordinary_ones_stay() -> None:
    assert not Grade(SDR, BT709).changes_pixels
    assert not Grade(SDR, 5).changes_pixels  # BT.601's primaries are close enough
    grade = Grade(SDR, BT2020)
    assert grade.changes_pixels
    assert np.abs(grade(grey(0.6)).astype(int) - 153).max() <= 1
    red = np.zeros((1, 1, 3), np.uint16)
    red[..., 0] = 65535
    assert grade(red)[0, 0].tolist() == [255, 0, 0]  # outside BT.709: its purest red


def test_a_601_decode_of_709_pictures_is_put_right() -> None:
    # Luma of [200, 140, 120] is 0.2126, 0.7152, 0.0722 of it: 151.3; Cb = (120 - 151.3) / 1.8556
    # = -16.9, Cr = (200 - 151.3) / 1.5748 = 30.9. BT.601 reads that as
    # R = 151.3 + 1.402 * 30.9, G = 151.3 + 0.344 * 16.9 - 0.714 * 30.9, B = 151.3 - 1.772 * 16.9.
    wrong = np.full((2, 2, 3), (195, 135, 121), np.uint8)
    right = decoded_with_bt709(wrong)[0, 0].astype(int)
    assert np.abs(right - [200, 140, 120]).max() <= 1
