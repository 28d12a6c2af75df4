"""What is laid over a skin's albedo."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from shared import shared_path

pytest.importorskip("numba", reason="needs the training extra")
pytest.importorskip("cv2", reason="needs the training extra")
pytest.importorskip("scipy", reason="needs the training extra")

from tpvideo.weights.training.heads.identity import draw_person
from tpvideo.weights.training.heads.pack import Pack
from tpvideo.weights.training.heads.skin import covered, tinted

MELANIN, BLOOD = np.array([0.42, 0.75, 1.05]), np.array([0.05, 0.42, 0.32])


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("even", [False, True])
def test_pigments_absorb_and_the_hue_is_brought_to_skin(dark: bool, even: bool) -> None:
    rng = np.random.default_rng(0)
    pack = Pack(shared_path("heads/pack"))
    skin = replace(draw_person(pack, rng).skin, dark=dark, gain=1.1)
    albedo = rng.random((5, 5, 3)).astype(np.float32)
    melanin, blood = rng.normal(0, 0.4, (2, 5, 5)).astype(np.float32)
    if even:
        melanin, blood = melanin[:1, :1], blood[:1, :1]
    taken = melanin[..., None] * MELANIN + blood[..., None] * BLOOD
    left = albedo * 1.1 * (1.12 if dark else 0.8) * np.exp(-taken)
    hue = np.array([1.36, 0.92, 0.72] if dark else [1.30, 0.94, 0.76])
    share = 0.35 if dark else 0.3
    wanted = left.mean(-1, keepdims=True) * hue * share + left * (1 - share)
    given = (float(melanin[0, 0]), float(blood[0, 0])) if even else (melanin, blood)
    np.testing.assert_allclose(tinted(albedo, skin, *given), wanted, rtol=2e-6)


def test_a_colour_covers_as_far_as_it_is_opaque() -> None:
    rng = np.random.default_rng(1)
    albedo = rng.random((4, 4, 3)).astype(np.float32)
    opacity = np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4)
    colour = np.array([0.2, 0.4, 0.6], np.float32)
    both = covered(albedo, opacity, colour)
    np.testing.assert_allclose(both, albedo + (colour - albedo) * opacity[..., None], atol=1e-6)
    np.testing.assert_array_equal(both[0, 0], albedo[0, 0])
    np.testing.assert_array_equal(both[3, 3], colour)
