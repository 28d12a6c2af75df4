"""Fetch the visible surface's colours from the source frame itself.

The volume knows where the surface is; the frame knows what it looks like. Each point that the
new camera sees is looked up in the source crop at full resolution and trusted as far as the
source saw it, faced it, and agrees with the volume. The volume's own colours fill the rest, after
a smooth correction toward the fetched ones so that no seam shows.

The surface is as coarse as the volume rendering; so is everything that is computed from it here.
Only the colours are looked up for every pixel, in paint.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image as Pillow
from torch import Tensor

from tpvideo.pipeline.frame import Image
from tpvideo.stages import pixels
from tpvideo.stages.edited_detail import SEEN_MOVED_AT, EditedView
from tpvideo.stages.networks.volume import camera_rays

HIDDEN_AT = 0.03
"""How far (scene units) behind the source's surface a point is taken for hidden: about a fifth
of the distance between the eyes, the depth error of a small volume."""

SAME_RAD, OTHER_RAD = 0.02, 0.1
"""Angles between two cameras up to which they see the same outline, and from which each has an
outline of its own; between them the one fades into the other."""

UNSURE = 0.07
"""How far (scene units) a surface may lie before or behind where the volume has it."""

BELOW = 1.15
"""How far down in the source's crop (1 at its lower border) a body is believed to go on: the frame
goes on, or its last row is repeated."""

SURE = 0.77
"""Trust from which on the source's colour stands alone: a tenth of the volume's is a fifth less of
its sharpness."""

DISAGREES_AT = 0.5
"""Difference of coarse colours (0..1) at which a fetched colour is no longer believed."""


class Seen(NamedTuple):
    """A rendered volume as one camera sees it."""

    labels: Tensor
    """[B, 25], or [B, K, 25] for a turn that fades down the picture; see camera_rays."""
    depth: Tensor
    """[B, 1, R, R] distance along each ray."""
    alpha: Tensor
    """[B, 1, R, R] opacity, 0..1."""
    fine: int = 2
    """Places along a side of the surface for each ray: L = fine * R."""


class Layers(NamedTuple):
    """Of a finished picture; everything that is no finer than the volume rendering."""

    picture: Tensor
    """[B, 3, V, V] what the volume shows, straight colours, moved toward the source's."""
    alphas: Tensor
    """[B, 1, V, V] opacity."""
    own: Tensor
    """[B, 4, L, L] where the source shows the surface (x, y in -1..1), how far, 0..1, that is
    trusted, and how far, 0..1, the source's outline is this view's too."""
    other: Tensor
    """[B, 6, L, L] where the source shows the mirrored surface (x, y), what its colours lack
    there (3), and its share, 0..1."""
    person: Tensor
    """[B, 3, L, L] over the crop: the person's colours, continued beyond the rim."""


class Recalled(NamedTuple):
    """Earlier frames of the same heads, which saw what is hidden now."""

    crops: Sequence[Image]
    """B crops [S, S, 3]."""
    mattes: Sequence[Image]
    """B mattes [S, S] of them."""
    labels: Tensor
    """[B, 25] their cameras."""
    shares: Tensor
    """[B, 1, 1, 1] 0..1, how far each counts."""


class _Found(NamedTuple):
    """Where a source shows points, and how far it is to be believed; all at the side L."""

    grid: Tensor
    """[B, 2, L, L] position (x, y) in its picture, -1..1."""
    trust: Tensor
    """[B, 1, L, L] 0..1, how well it saw them."""
    rgba: Tensor
    """[B, 4, L, L] coarse colours and matte there."""


def sharpen(
    colours: Tensor,
    alphas: Tensor,
    target: Seen,
    crops: Sequence[Image],
    mattes: Sequence[Image],
    source_labels: Tensor,
    edited: EditedView | None = None,
    recalled: Recalled | None = None,
) -> Layers:
    """What the source's own detail on a rendered picture is made of; paint.py lays it together.

    Args:
        colours: [B, 3, V, V] rendered picture, premultiplied, 0..1.
        alphas: [B, 1, V, V] its opacity.
        target: the volume from the new camera.
        crops: B source crops [S, S, 3], straight colours.
        mattes: B mattes [S, S] of them.
        source_labels: [B, 25] the cameras of the crops.
        edited: what edits left of it; None where there were none.
        recalled: what is remembered of the heads' hidden sides; None for nothing.
    """
    side = target.fine * target.depth.shape[-1]
    points, toward = _surface(target, side)
    normals = _normals(points, toward)
    small, person = _cut_out(crops, mattes, side, colours.device)
    rendered = colours / alphas.clamp(min=1e-2)
    coarse = _resized(rendered, side)
    opaque = (_resized(alphas, side) - 0.3).div(0.6).clamp(0, 1)
    if edited is not None:
        points = edited.origins(points)
    nearest = _nearest(points, opaque > 0.5, source_labels, side // 2)

    own = _find(points, normals, toward, source_labels, nearest, small)
    shown = opaque
    if edited is not None:
        right = _agreement(own.rgba[:, :3], coarse, SEEN_MOVED_AT)
        shown = opaque * edited.share(right)
    trust = own.trust * _agreement(own.rgba[:, :3], coarse) * shown
    trust = (_blur(trust, 1) / SURE).clamp(max=1) * (trust > 0.01)
    correction = enlarged(_spread(own.rgba[:, :3] - coarse, trust), side)
    if recalled is not None:
        seen = (coarse, coarse + correction, opaque, trust)
        then = _recall(recalled, points, normals, toward, *seen)
        correction = correction + enlarged(then, side)
    same = enlarged(sameness(target.labels, source_labels), side) * _inside(own.grid)
    hull = _hull(points, toward, source_labels, small)
    if edited is not None:
        kept = edited.at(side)
        same, hull = same * kept, torch.maximum(hull, 1 - edited.at(hull.shape[-1]))

    # What the source does not see it may see mirrored: heads are probably symmetric (paper,
    # section 3.3), so the fine structure of the other half is a better guess than none.
    mirrored = (_mirrored(points), _mirrored(normals), _mirrored(toward))
    other = _find(*mirrored, source_labels, nearest, small)
    tone = _coarse(coarse + correction - other.rgba[:, :3])
    share = _blur(other.trust * other.rgba[:, 3:] * shown, 2)
    return Layers(
        picture=rendered + enlarged(correction, rendered.shape[-1]),
        alphas=torch.minimum(alphas, enlarged(hull, alphas.shape[-1])),
        own=torch.cat([own.grid, trust, same], dim=1),
        other=torch.cat([other.grid, tone, share], dim=1),
        person=person,
    )


def _nearest(points: Tensor, solid: Tensor, labels: Tensor, side: int) -> Tensor:
    """[B, 1, side, side] distance from a camera to the nearest of the points [B, 3, L, L] that
    are solid [B, 1, L, L], in every cell of its picture; infinite where there is none.

    What hides a point of a head from one camera another camera near by sees as well: so the
    volume need not be rendered from the source's camera.
    """
    grid, distance, _ = _project(points, labels)
    column, row = ((grid + 1) * (side / 2)).long().clamp(0, side - 1).unbind(1)  # [B, L, L]
    found = torch.where(solid, distance, torch.inf).flatten(1)
    empty = torch.full((len(points), side * side), torch.inf, device=points.device)
    nearest = empty.scatter_reduce(1, (row * side + column).flatten(1), found, "amin")
    return nearest.reshape(-1, 1, side, side)


def _hull(points: Tensor, toward: Tensor, labels: Tensor, pictures: Tensor) -> Tensor:
    """[B, 1, L, L] the most that the source's matte has anywhere near the surface along each ray:
    where it has nobody nobody is, however the volume sees it. Arguments as for `_find`."""
    steps = torch.linspace(-UNSURE, UNSURE, 3, device=points.device)[:, None, None, None, None]
    grid, _, _ = _project(
        (points + steps * toward).transpose(0, 1).flatten(0, 1), labels.repeat_interleave(3, 0)
    )
    mattes = look_up(pictures[:, 3:].repeat_interleave(3, 0), grid)
    known = _inside(grid)
    found = 1 - known + known * mattes
    return found.reshape(len(points), 3, *found.shape[1:]).amax(dim=1)


def _find(
    points: Tensor,
    normals: Tensor,
    toward: Tensor,
    labels: Tensor,
    nearest: Tensor,
    pictures: Tensor,
) -> _Found:
    """Look world points [B, 3, L, L] with unit normals, seen from `toward`, up in the pictures
    [B, 4, L, L] of a camera that sees the surface at the `nearest` distances."""
    grid, distance, to_source = _project(points, labels)
    cell = F.grid_sample(
        nearest, grid.permute(0, 2, 3, 1), mode="nearest", align_corners=False,
        padding_mode="border",
    )  # fmt: skip
    behind = (distance - cell).clamp(min=0) / HIDDEN_AT
    # A surface seen from the side has few pixels; that matters as far as the new camera sees
    # it less so.
    facing = (normals * to_source).sum(dim=1, keepdim=True)
    wanted = (normals * toward).sum(dim=1, keepdim=True).clamp(min=0.1, max=0.35)
    facing = ((facing - 0.05) / (wanted - 0.05)).clamp(0, 1)
    rgba = look_up(pictures, grid)
    matte = (rgba[:, 3:] - 0.5).mul(2).clamp(0, 1)
    trust = torch.exp(-(behind**2)) * facing * matte * _inside(grid)
    return _Found(grid, trust, rgba)


def _mirrored(vectors: Tensor) -> Tensor:
    """[B, 3, L, L] with x the other way."""
    return torch.cat([-vectors[:, :1], vectors[:, 1:]], dim=1)


def _recall(recalled: Recalled, *surface: Tensor) -> Tensor:
    """[B, 3, L/2, L/2] what remembered frames add to the colours, without fine structure: features
    have moved since, colours stay.

    Args:
        surface: points, normals, toward (as for `_find`), the volume's colours, these corrected
            [B, 3, L, L], opacity and trust in the frame's own colours [B, 1, L, L], 0..1.
    """
    points, normals, toward, coarse, corrected, opaque, own = (
        F.avg_pool2d(each, 2) for each in surface
    )
    side = points.shape[-1]
    small, _ = _cut_out(recalled.crops, recalled.mattes, side, points.device)
    nearest = _nearest(points, opaque > 0.5, recalled.labels, side // 2)
    then = _find(points, normals, toward, recalled.labels, nearest, small)
    trust = then.trust * _agreement(then.rgba[:, :3], coarse) * recalled.shares
    trust = _blur(trust, 1) * opaque * (1 - own)
    both = _blur(torch.cat([(then.rgba[:, :3] - corrected) * trust, trust], dim=1), 1)
    return trust * both[:, :-1] / (both[:, -1:] + 0.05)


def _inside(grid: Tensor) -> Tensor:
    """[B, 1, L, L] 1 for positions within a picture, falling to 0 at its border; a body goes on
    below it."""
    x, y = grid.unbind(dim=1)
    least = torch.minimum(1 - x.abs(), torch.minimum(1 + y, BELOW - y))
    return (20 * least).clamp(0, 1)[:, None]


def sameness(labels: Tensor, source_labels: Tensor) -> Tensor:
    """[B, 1, rows, 1] 1 where the new camera looks along the source's, 0 where it looks elsewhere:
    what a camera sees it shows as it is, hair and rim too, and needs no surface for it."""
    along, source_along = (_by_row(each)[..., 2:11:4] for each in (labels, source_labels))
    apart = torch.linalg.cross(along, source_along, dim=-1).norm(dim=-1).asin()  # [B, K]
    same: Tensor = ((OTHER_RAD - apart) / (OTHER_RAD - SAME_RAD)).clamp(0, 1)
    return same[:, None, :, None]


def _by_row(labels: Tensor) -> Tensor:
    """[B, K, 25] labels, of one camera for the whole picture or of K down it."""
    return labels[:, None] if labels.ndim == 2 else labels


def _cut_out(
    crops: Sequence[Image], mattes: Sequence[Image], side: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """[B, 4, side, side] the person's own colours, without what shines through at the rim, and
    the matte; and [B, 3, side, side] what the person's colours go on with beyond the rim."""
    reduced = [np.dstack([_reduced(crop, side), _reduced(matte, side)])
               for crop, matte in zip(crops, mattes, strict=True)]  # fmt: skip
    small = pixels.to_tensor(reduced, device).add(1).div(2)
    colours, matte = small[:, :3], small[:, 3:]
    weight = matte**4
    known = _blur(torch.cat([colours * weight, weight], dim=1), max(1, side // 40))
    person = known[:, :3] / known[:, 3:].clamp(min=1e-3)
    return torch.cat([torch.lerp(person, colours, matte), matte], dim=1), person


def _reduced(picture: Image, side: int) -> Image:
    """[side, side, ...] means of a picture's pixels."""
    factor, rest = divmod(picture.shape[0], side)
    whole = Pillow.fromarray(picture)
    if rest or not factor:
        return np.asarray(whole.resize((side, side), Pillow.Resampling.BOX))
    return np.asarray(whole.reduce(factor) if factor > 1 else whole)


def _solid_depth(seen: Seen) -> Tensor:
    """Depth with the surface continued past its silhouette, where rays average near nothing; where
    there is none near, as far away as the world's origin."""
    weight = seen.alpha.clamp(0, 1) ** 2
    known = F.avg_pool2d(weight, 5, 1, 2)
    total = F.avg_pool2d(seen.depth * weight, 5, 1, 2)
    distance = _by_row(seen.labels)[..., 3:12:4].norm(dim=-1).mean(dim=1)[:, None, None, None]
    mean = (total + 1e-4 * distance) / (known + 1e-4)
    return torch.lerp(mean, seen.depth, (seen.alpha - 0.7).div(0.2).clamp(0, 1))


def _surface(seen: Seen, side: int) -> tuple[Tensor, Tensor]:
    """World points [B, 3, side, side] of the surface and unit vectors to the camera."""
    depth = enlarged(_solid_depth(seen), side)
    rays = camera_rays(seen.labels, side)

    def as_image(values: Tensor) -> Tensor:
        return values.transpose(1, 2).reshape(-1, 3, side, side)

    return as_image(rays.origins) + as_image(rays.directions) * depth, -as_image(rays.directions)


def _project(points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where a camera sees points [B, 3, L, L]: positions [B, 2, L, L] in -1..1, distances
    [B, 1, L, L], unit vectors to the camera [B, 3, L, L]."""
    camera = labels[:, :16].reshape(-1, 4, 4)
    offset = points.flatten(2) - camera[:, :3, 3:]  # [B, 3, N]
    local = camera[:, :3, :3].transpose(1, 2) @ offset
    focal, centre = labels[:, 16:21:4, None], labels[:, 18:22:3, None]
    position = 2 * (focal * local[:, :2] / local[:, 2:] + centre) - 1
    distance = offset.norm(dim=1, keepdim=True)
    shape = (len(points), -1, *points.shape[-2:])
    return position.reshape(shape), distance.reshape(shape), (-offset / distance).reshape(shape)


def look_up(pictures: Tensor, positions: Tensor, mode: str = "bilinear") -> Tensor:
    """[B, C, H, W] values of [B, C, S, S] at [B, 2, H, W] positions in -1..1."""
    grid = positions.permute(0, 2, 3, 1)
    return F.grid_sample(pictures, grid, mode, padding_mode="border", align_corners=False)


def _normals(points: Tensor, toward: Tensor) -> Tensor:
    """Unit normals [B, 3, H, W], turned to the camera, from the neighbours of each point."""
    smooth = _blur(points, 1)
    padded = F.pad(smooth, (1, 1, 1, 1), mode="replicate")
    across = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    down = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    normals = F.normalize(torch.linalg.cross(across, down, dim=1), dim=1)
    return normals * torch.sign((normals * toward).sum(dim=1, keepdim=True))


def _agreement(fetched: Tensor, rendered: Tensor, apart_at: float = DISAGREES_AT) -> Tensor:
    """0..1, how well coarse fetched and rendered colours agree."""
    apart = _blur(F.avg_pool2d(fetched - rendered, 2), 2).abs().mean(dim=1, keepdim=True)
    return enlarged(torch.exp(-((apart / apart_at) ** 2)), rendered.shape[-1])


def _coarse(difference: Tensor) -> Tensor:
    """The part of a difference of pictures that is wider than the features of a face."""
    small = F.avg_pool2d(difference, 2)
    return enlarged(_blur(small, max(1, small.shape[-1] // 16)), difference.shape[-1])


def _spread(difference: Tensor, trust: Tensor) -> Tensor:
    """[B, C, L/2, L/2] the difference [B, C, L, L] continued smoothly from where it is known to
    where it is not."""
    radius = max(1, difference.shape[-1] // 20)
    both = _blur(F.avg_pool2d(torch.cat([difference * trust, trust], dim=1), 2), radius)
    return both[:, :-1] / (both[:, -1:] + 0.05)


def enlarged(picture: Tensor, side: int) -> Tensor:
    """[B, C, side, side] bilinear."""
    return F.interpolate(picture, size=(side, side), mode="bilinear", align_corners=False)


def _resized(picture: Tensor, side: int) -> Tensor:
    if picture.shape[-1] == side:
        return picture
    mode = "area" if picture.shape[-1] % side == 0 else "bilinear"
    return F.interpolate(picture, size=(side, side), mode=mode)


def _blur(x: Tensor, radius: int) -> Tensor:
    """Box average over 2 radius + 1 pixels, edges repeated."""
    padded = F.pad(x, (radius, radius, radius, radius), mode="replicate")
    size = 2 * radius + 1
    return F.avg_pool2d(F.avg_pool2d(padded, (1, size), 1), (size, 1), 1)
