"""Detail on a CPU: `sharpen` and `paint` as compiled loops, head after head.

detail.py and paint.py are the reference, under the same names, and run on a GPU and without numba.
An edited head is sharpened there and painted here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from tpvideo.pipeline.frame import Image
from tpvideo.stages.detail import DISAGREES_AT, SURE, Layers, Recalled, Seen, sameness
from tpvideo.stages.detail_kernel import (
    cut_out,
    find,
    finish,
    hull,
    nearest,
    normals,
    solid_depth,
    straight,
    surface,
    weighed,
)
from tpvideo.stages.grid_kernel import blur, enlarged, halved, reduced
from tpvideo.stages.paint import Source
from tpvideo.stages.paint_kernel import paint as paint_pixels

Floats = NDArray[np.float32]


class Planes(NamedTuple):
    """The layers of one head as the loops have them, [H, W * C]; see detail.Layers."""

    picture: Floats
    """[V, 4 V] colours and opacity."""
    own: Floats
    """[L, 4 L] x, y, trust, same."""
    other: Floats
    """[L, 4 L] x, y, and two channels that are not looked at."""
    tone: Floats
    """[L, 4 L] what the mirrored colours lack, and their share."""
    person: Floats
    """[L, 4 L] the person's colours, and a channel that is not looked at."""


class _Source(NamedTuple):
    """What a camera saw of a head."""

    crop: Image
    """[S, S, 3]."""
    matte: Image
    """[S, S]."""
    camera: Floats
    """[25]."""


def sharpened(
    colours: Tensor,
    alphas: Tensor,
    target: Seen,
    crops: Sequence[Image],
    mattes: Sequence[Image],
    source_labels: Tensor,
    recalled: Recalled | None = None,
) -> list[Planes]:
    """The layers of B heads; arguments as for detail.sharpen."""
    side = target.fine * target.depth.shape[-1]
    pictures = _last(torch.cat([colours, alphas], dim=1))  # [B, V, 4 V]
    by_row = target.labels[:, None] if target.labels.ndim == 2 else target.labels  # [B, K, 25]
    cameras = _rows(by_row, side)
    beyond = by_row[..., [3, 7, 11]].norm(dim=-1).mean(dim=1)  # [B]
    sames = _rows(sameness(target.labels, source_labels)[:, 0], side)  # [B, 1 or L, 1]
    layers = []
    for index, picture in enumerate(pictures):
        depth, alpha = (each[index, 0].contiguous().numpy() for each in target[1:3])
        wide = enlarged(solid_depth(depth, alpha, float(beyond[index])), 1, side)
        points, toward = surface(wide, cameras[index].numpy())
        visible = _Surface(points, normals(blur(points, 3, 1), toward), toward)
        source = _Source(crops[index], mattes[index], source_labels[index].numpy())
        then = None
        if recalled is not None and recalled.shares[index] > 0:
            earlier = recalled.crops[index], recalled.mattes[index], recalled.labels[index].numpy()
            then = _Source(*earlier), float(recalled.shares[index])
        layers.append(_laid_out(picture, visible, sames[index].numpy(), source, then))
    return layers


class _Surface(NamedTuple):
    """[L, 3 L] each; see detail._surface."""

    points: Floats
    normals: Floats
    toward: Floats

    @property
    def halved(self) -> _Surface:
        """At half the side."""
        return _Surface(*(halved(each, 3) for each in self))


def _laid_out(
    picture: Floats,
    visible: _Surface,
    sames: Floats,
    source: _Source,
    then: tuple[_Source, float] | None,
) -> Planes:
    """detail.sharpen of one head.

    Args:
        picture: [V, 4 V] premultiplied, of which the result is made.
        visible: what the new camera sees.
        sames: [1, 1], or [L, 1] down the picture; see detail.sameness.
        source: the frame.
        then: what is remembered, and how far it counts.
    """
    side, camera = len(visible.points), source.camera
    small, person = _cut_out(source, side)
    coarse = straight(picture, side)
    opaque = coarse[:, 3::4]
    near = nearest(visible.points, coarse, camera, side // 2)

    own, fetched = find(*visible, 1.0, camera, near, small)
    apart = fetched - coarse
    trust = own[:, 2::4] * _agreement(apart, side) * opaque
    trust = np.minimum(blur(trust, 1, 1) * np.float32(1 / SURE), 1) * (trust > 0.01)
    own[:, 2::4] = trust
    own[:, 3::4] *= sames
    correction = enlarged(_spread(apart, trust), 4, side)
    if then is not None:
        correction += enlarged(_recall(*then, visible, coarse, correction, trust), 4, side)
    hull(visible.points, visible.toward, camera, small, own, correction)

    other, mirrored = find(*visible, -1.0, camera, near, small)
    share = other[:, 2::4] * mirrored[:, 3::4] * opaque
    lacking = halved(coarse + correction - mirrored, 4)
    tone = enlarged(blur(lacking, 4, max(1, side // 32)), 4, side)
    tone[:, 3::4] = blur(share, 1, 2)
    finish(correction, picture)
    return Planes(picture, own, other, tone, person)


def _cut_out(source: _Source, side: int) -> tuple[Floats, Floats]:
    """[L, 4 L] the person's own colours and the matte, and [L, 4 L] what the colours go on with."""
    colours, alphas = reduced(_flat(source.crop), 3, side), reduced(_flat(source.matte), 1, side)
    person: Floats = blur(weighed(colours, alphas), 4, max(1, side // 40))
    return cut_out(colours, alphas, person), person


def _agreement(apart: Floats, side: int) -> Floats:
    """[L, L] 0..1, how well colours agree that are so far apart, [L, 4 L]."""
    wide = np.abs(blur(halved(apart, 4), 4, 2)) * np.float32(1 / DISAGREES_AT)
    mean = (wide[:, 0::4] + wide[:, 1::4] + wide[:, 2::4]) * np.float32(1 / 3)
    agrees: Floats = enlarged(np.exp(-mean * mean), 1, side)
    return agrees


def _spread(apart: Floats, trust: Floats) -> Floats:
    """[L/2, 2 L] a difference continued from where it is known; see detail._spread."""
    near = blur(halved(_trusted(apart, trust), 4), 4, max(1, len(trust) // 20))
    return _scaled(near, 1 / (near[:, 3::4] + np.float32(0.05)))


def _recall(
    then: _Source,
    share: float,
    visible: _Surface,
    coarse: Floats,
    correction: Floats,
    own: Floats,
) -> Floats:
    """[L/2, 2 L] what a remembered frame adds to the colours; see detail._recall.

    Args:
        coarse, correction: [L, 4 L] the volume's colours and opacity, and what corrects these.
        own: [L, L] trust in the frame's own colours.
    """
    visible, coarse, correction = visible.halved, halved(coarse, 4), halved(correction, 4)
    side = len(coarse)
    small, _ = _cut_out(then, side)
    near = nearest(visible.points, coarse, then.camera, side // 2)
    found, rgba = find(*visible, 1.0, then.camera, near, small)
    trust = found[:, 2::4] * _agreement(rgba - coarse, side) * np.float32(share)
    trust = blur(trust, 1, 1) * coarse[:, 3::4] * (1 - halved(own, 1))
    both = blur(_trusted(rgba - coarse - correction, trust), 4, 1)
    return _scaled(both, trust / (both[:, 3::4] + np.float32(0.05)))


def _trusted(values: Floats, trust: Floats) -> Floats:
    """[L, 4 L] three channels times a trust [L, L], and that trust."""
    result = _scaled(values, trust)
    result[:, 3::4] = trust
    return result


def _scaled(values: Floats, shares: Floats) -> Floats:
    """[L, 4 L] all channels times [L, L]."""
    return values * np.repeat(shares, 4, axis=1)


def planes_of(layers: Layers) -> list[Planes]:
    """The same of detail.sharpen's."""
    picture = torch.cat([layers.picture, layers.alphas], dim=1)
    tone, room = layers.other[:, 2:], torch.zeros_like(layers.person[:, :1])
    person = torch.cat([layers.person, room], dim=1)
    flat = [_last(part) for part in (picture, layers.own, layers.other[:, :4], tone, person)]
    return [Planes(*parts) for parts in zip(*flat, strict=True)]


def painted(
    layers: Sequence[Planes],
    sources: Sequence[Source],
    behind: Sequence[Tensor] | None,
    size: int,
) -> list[tuple[Image, Image | None]]:
    """The finished pictures [size, size, 3] before what is behind them; paint.paint by loops.

    Args:
        layers, sources: of B heads.
        behind: B pictures [3, 1, 1] or [3, size, size], 0..1; None gives straight colours and
            their opacity [size, size].
    """
    finished: list[tuple[Image, Image | None]] = []
    for index, (planes, source) in enumerate(zip(layers, sources, strict=True)):
        back = torch.zeros(3, 1, 1) if behind is None else behind[index]
        place = np.ascontiguousarray(source.place.T, np.float32)
        seen = (_flat(source.picture), _flat(source.matte), place)
        rgb = np.empty((size, size, 3), np.uint8)
        opacity = np.empty((size, size) if behind is None else (0, 0), np.uint8)
        paint_pixels(tuple(planes), seen, _last(back[None])[0], rgb.reshape(size, -1), opacity)
        finished.append((rgb, opacity if behind is None else None))
    return finished


def _rows(values: Tensor, side: int) -> Tensor:
    """[B, 1, C] of whole pictures as they are, and [B, K, C] for each of `side` rows."""
    if values.shape[1] == 1:
        return values
    return F.interpolate(values.transpose(1, 2), side, mode="linear").transpose(1, 2).contiguous()


def _last(values: Tensor) -> Floats:
    """[B, H, W * C] of [B, C, H, W]."""
    found: Floats = values.permute(0, 2, 3, 1).contiguous().flatten(2).numpy()
    return found


def _flat(picture: Image) -> Image:
    """[H, W * C] of [H, W, C]; read-only, so that the loops compile once whoever made it."""
    flat = np.ascontiguousarray(picture).reshape(len(picture), -1).view()
    flat.flags.writeable = False
    return flat
