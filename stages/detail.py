"""Fetch the visible surface's colours from the source frame itself.

The volume knows where the surface is; the frame knows what it looks like. Each point that the
new camera sees is looked up in the source crop at full resolution and trusted as far as the
source saw it, faced it, and agrees with the volume. The volume's own colours fill the rest, after
a smooth correction toward the fetched ones so that no seam shows.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tpvideo.stages.networks.volume import camera_rays

HIDDEN_AT = 0.03
"""How far (scene units) behind the source's surface a point is taken for hidden: about a fifth
of the distance between the eyes, the depth error of a small volume."""

DISAGREES_AT = 0.5
"""Difference of coarse colours (0..1) at which a fetched colour is no longer believed."""


class Seen(NamedTuple):
    """A rendered volume as one camera sees it."""

    labels: Tensor
    """[B, 25]."""
    depth: Tensor
    """[B, 1, R, R] distance along each ray."""
    alpha: Tensor
    """[B, 1, R, R] opacity, 0..1."""


def sharpen(
    colours: Tensor, alphas: Tensor, target: Seen, crops: Tensor, mattes: Tensor, source: Seen
) -> Tensor:
    """Put the source's own detail on a rendered picture.

    Args:
        colours: [B, 3, T, T] rendered picture, premultiplied, 0..1.
        alphas: [B, 1, T, T] its opacity.
        target: the volume from the new camera.
        crops: [B, 3, S, S] source crops, straight colours, 0..1.
        mattes: [B, 1, S, S] their mattes.
        source: the volume from the source's camera.

    Returns:
        [B, 3, T, T] premultiplied, 0..1.
    """
    side = colours.shape[-1]
    points, toward = _surface(target, side)
    normals = _normals(points, toward)
    rendered = colours / alphas.clamp(min=1e-2)
    opaque = (alphas - 0.3).div(0.6).clamp(0, 1)

    solid = source._replace(depth=_solid_depth(source))
    fetched, trust = _fetch(points, normals, crops, mattes, solid)
    trust = trust * _agreement(fetched, rendered) * opaque
    trust = _blur(trust, max(1, side // 96)) * (trust > 0.01)
    corrected = rendered + _spread(fetched - rendered, trust)

    # What the source does not see it may see mirrored: heads are probably symmetric (paper,
    # section 3.3), so the fine structure of the other half is a better guess than none.
    opposite = points.new_tensor([-1.0, 1.0, 1.0])[:, None, None]
    mirrored, share = _fetch(points * opposite, normals * opposite, crops, mattes, solid)
    mirrored = mirrored + _coarse(corrected - mirrored)
    corrected = torch.lerp(corrected, mirrored, _blur(share * opaque, max(1, side // 48)))
    return (torch.lerp(corrected, fetched, trust).clamp(0, 1) * alphas).clamp(0, 1)


def _fetch(
    points: Tensor, normals: Tensor, crops: Tensor, mattes: Tensor, source: Seen
) -> tuple[Tensor, Tensor]:
    """The source's colours [B, 3, T, T] at world points [B, 3, T, T] with unit normals, and how
    far, 0..1 [B, 1, T, T], the source saw them; its depth goes on past the silhouette."""
    position, distance, to_source = _project(points, source.labels, points.shape[-1])
    known = _look_up(source.depth, position)
    behind = (distance - known).clamp(min=0) / HIDDEN_AT
    facing = ((normals * to_source).sum(dim=1, keepdim=True) - 0.05).div(0.3).clamp(0, 1)
    inside = (position.abs().amax(dim=-1)[:, None] < 1).float()
    matte = (_look_up(mattes, position) - 0.5).mul(2).clamp(0, 1)
    return _look_up(crops, position), torch.exp(-(behind**2)) * facing * matte * inside


def _solid_depth(seen: Seen) -> Tensor:
    """Depth with the surface continued past its silhouette, where rays average near nothing."""
    weight = seen.alpha.clamp(0, 1) ** 2
    total = F.avg_pool2d(seen.depth * weight, 5, 1, 2)
    mean = total / F.avg_pool2d(weight, 5, 1, 2).clamp(min=1e-4)
    return torch.lerp(mean, seen.depth, (seen.alpha - 0.7).div(0.2).clamp(0, 1))


def _surface(seen: Seen, side: int) -> tuple[Tensor, Tensor]:
    """World points [B, 3, side, side] of the surface and unit vectors to the camera."""
    depth = F.interpolate(_solid_depth(seen), (side, side), mode="bilinear")
    rays = camera_rays(seen.labels, side)

    def as_image(values: Tensor) -> Tensor:
        return values.transpose(1, 2).reshape(-1, 3, side, side)

    return as_image(rays.origins) + as_image(rays.directions) * depth, -as_image(rays.directions)


def _project(points: Tensor, labels: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Where a camera sees points: grid positions [B, side, side, 2] in -1..1, distances
    [B, 1, side, side], unit vectors to the camera [B, 3, side, side]."""
    camera = labels[:, :16].reshape(-1, 4, 4)
    offset = points.flatten(2) - camera[:, :3, 3:]  # [B, 3, N]
    local = camera[:, :3, :3].transpose(1, 2) @ offset
    focal, centre = labels[:, [16, 20], None], labels[:, [18, 21], None]
    position = 2 * (focal * local[:, :2] / local[:, 2:] + centre) - 1
    distance = offset.norm(dim=1, keepdim=True)
    shape = (-1, 1, side, side)
    grid = position.transpose(1, 2).reshape(-1, side, side, 2)
    return grid, distance.reshape(shape), (-offset / distance).reshape(-1, 3, side, side)


def _look_up(pictures: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(pictures, grid, align_corners=False, padding_mode="border")


def _normals(points: Tensor, toward: Tensor) -> Tensor:
    """Unit normals [B, 3, H, W], turned to the camera, from the neighbours of each point."""
    smooth = _blur(points, 4)
    padded = F.pad(smooth, (1, 1, 1, 1), mode="replicate")
    across = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    down = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    normals = F.normalize(torch.linalg.cross(across, down, dim=1), dim=1)
    return normals * torch.sign((normals * toward).sum(dim=1, keepdim=True))


def _agreement(fetched: Tensor, rendered: Tensor) -> Tensor:
    """0..1, how well coarse fetched and rendered colours agree."""
    difference = F.interpolate(fetched - rendered, scale_factor=1 / 8, mode="area")
    apart = _blur(difference, 2).abs().mean(dim=1, keepdim=True)
    agreement = torch.exp(-((apart / DISAGREES_AT) ** 2))
    return F.interpolate(agreement, rendered.shape[-2:], mode="bilinear")


def _coarse(difference: Tensor) -> Tensor:
    """The part of a difference of pictures that is wider than the features of a face."""
    small = F.interpolate(difference, scale_factor=1 / 8, mode="area")
    blurred = _blur(small, max(1, small.shape[-1] // 16))
    return F.interpolate(blurred, difference.shape[-2:], mode="bilinear")


def _spread(difference: Tensor, trust: Tensor) -> Tensor:
    """The difference continued smoothly from where it is known to where it is not."""
    small = F.interpolate(difference * trust, scale_factor=1 / 8, mode="area")
    weight = F.interpolate(trust, scale_factor=1 / 8, mode="area")
    total, known = _blur(small, 6), _blur(weight, 6)
    spread = total / (known + 0.05)
    return F.interpolate(spread, difference.shape[-2:], mode="bilinear")


def _blur(x: Tensor, radius: int) -> Tensor:
    """Box average over 2 radius + 1 pixels, edges repeated."""
    padded = F.pad(x, (radius, radius, radius, radius), mode="replicate")
    size = 2 * radius + 1
    return F.avg_pool2d(F.avg_pool2d(padded, (1, size), 1), (size, 1), 1)
