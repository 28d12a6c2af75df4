"""Tri-planes of a face whose latents are moved (paper, appendix C)."""

from __future__ import annotations

import torch
from torch import Tensor

from tpvideo.stages.networks.layers import expect_shape
from tpvideo.stages.networks.triplanenet import TriPlaneNet


def edited_planes(network: TriPlaneNet, planes: Tensor, ws: Tensor, shift: Tensor) -> Tensor:
    """T_edit = (G(w) + ΔT) + G(w_edit) - G(w) (eq. 16), with w_edit = w + shift.

    The offsets ΔT, which hold what is this face's own, stay; no face is encoded anew. What a
    face is moved by depends on its latents alone, so it is as steady in time as they are.

    Args:
        planes: [B, 3 C, H, W] refined planes G(w) + ΔT.
        ws: [B, L, D].
        shift: [L, D].
    """
    expect_shape("shift", shift, tuple(ws.shape[1:]))
    after, before = network.decoder.planes(torch.cat([ws + shift, ws])).float().chunk(2)
    return planes + after - before
