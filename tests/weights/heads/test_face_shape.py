"""The shipped parametric face is the one that the asset pack makes."""

from __future__ import annotations

import pytest
import torch
from shared import shared_path

pytest.importorskip("numba", reason="needs the training extra")
pytest.importorskip("cv2", reason="needs the training extra")
pytest.importorskip("scipy", reason="needs the training extra")

from tpvideo.weights import store
from tpvideo.weights.evaluation.parametric import SHAPE
from tpvideo.weights.training.heads.face_shape import face_shape
from tpvideo.weights.training.heads.pack import Pack


def test_the_pack_makes_the_shipped_face() -> None:
    made, shipped = face_shape(Pack(shared_path("heads/pack"))), store.tensors(SHAPE)
    assert made.keys() == shipped.keys()
    for name, value in made.items():
        # float16 of numbers below 1: another order of sums may round the last digit otherwise.
        torch.testing.assert_close(value.float(), shipped[name].float(), rtol=2e-3, atol=1e-5)
