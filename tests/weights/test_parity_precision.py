from __future__ import annotations

import math

import numpy as np

from tpvideo.weights.parity_precision import psnr


def test_psnr_of_pictures_between_minus_one_and_one() -> None:
    picture = np.zeros((3, 4, 4))
    assert psnr(picture + 0.02, picture) == 40.0  # 20 log10(2 / 0.02)
    assert psnr(picture, picture) == math.inf
    assert math.isnan(psnr(picture * np.nan, picture))
