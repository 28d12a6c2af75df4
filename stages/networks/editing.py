"""Tri-planes of a face that is moved along a direction (paper, appendix C)."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tpvideo.stages.networks.layers import expect_shape
from tpvideo.stages.networks.triplanenet import TriPlaneNet


class Shift(NamedTuple):
    """By what a face is moved; the same for all faces."""

    latents: Tensor | None = None
    """[L, D] added to the latents; None leaves them."""
    planes: Tensor | None = None
    """[3 C, h, w] added to the planes, of any h and w; None adds nothing."""
    motion: Tensor | None = None
    """[3, h, w] where the surface of the front was before, counted from where it is, in scene
    units; over x along columns and y along rows, both from the low end of the planes' box. None
    does not know."""


def edited(network: TriPlaneNet, planes: Tensor, ws: Tensor, shift: Shift) -> tuple[Tensor, Tensor]:
    """T_edit = (G(w) + ΔT) + G(w_edit) - G(w) (eq. 16), and w_edit = w + shift.

    The offsets ΔT, which hold what is this face's own, stay; no face is encoded anew. What a
    shift of the planes themselves adds is the same in every frame; what one of the latents adds
    is as steady as they are.

    Args:
        planes: [B, 3 C, H, W] refined planes G(w) + ΔT.
        ws: [B, L, D].

    Returns:
        [B, 3 C, H, W] and [B, L, D].
    """
    if shift.latents is not None:
        expect_shape("shift.latents", shift.latents, tuple(ws.shape[1:]))
        moved = ws + shift.latents
        after, before = network.decoder.planes(torch.cat([moved, ws])).float().chunk(2)
        planes, ws = planes + after - before, moved
    if shift.planes is not None:
        expect_shape("shift.planes", shift.planes, (planes.shape[1], None, None))
        added = shift.planes[None]
        if added.shape[-2:] != planes.shape[-2:]:
            size = planes.shape[-2:]
            added = F.interpolate(added, size=size, mode="bilinear", align_corners=False)
        planes = planes + added
    return planes, ws
