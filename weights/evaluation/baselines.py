"""What a novel view is worth without a model: the input warped as if it were a plane, and its own
pixels reprojected through a mean head."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from tpvideo.pipeline.frame import Image
from tpvideo.stages import geometry, pixels
from tpvideo.stages.detail import Seen, look_up, sharpen
from tpvideo.stages.networks.triplanenet import TriPlaneNet
from tpvideo.stages.networks.volume import camera_rays
from tpvideo.stages.paint import of_crop, paint

STEPS = 160
"""Samples along a ray that looks for the mean head's surface."""


def planar_warp(rgba: Tensor, source: Tensor, target: Tensor, side: int) -> Tensor:
    """[1, 3, side, side] the input on a plane through the head's centre that faces its camera, as
    the target camera sees that plane; on black.

    Args:
        rgba: [1, 4, S, S] the input, premultiplied, 0..1.
        source, target: [1, 25] labels.
    """
    rays = camera_rays(target, side)
    distance = _plane_distance(rays.origins, rays.directions, source[:, [2, 6, 10]])
    points = rays.origins + rays.directions * distance[..., None]
    return look_up(rgba, _positions(points, source, side))[:, :3]


def reprojected(
    crop: Image, matte: Image, source: Tensor, seen: Seen, fill: Tensor, side: int
) -> Tensor:
    """[1, 3, side, side] the input's own pixels where the depth of `seen` says they belong, by the
    program's own way of fetching detail; on black.

    Args:
        crop, matte: the input [S, S, 3] and [S, S].
        source: [1, 25] its camera.
        seen: what the target camera sees of the mean head.
        fill: [1, 3, V, V] colours for what the input does not show, 0..1.
    """
    rays = camera_rays(seen.labels, seen.depth.shape[-1])
    points = rays.origins + rays.directions * seen.depth.flatten(2).transpose(1, 2)
    mattes = pixels.to_tensor([matte], fill.device).add(1).div(2)
    alpha = look_up(mattes, _positions(points, source, seen.depth.shape[-1]))
    alpha = F.interpolate(alpha, fill.shape[-2:], mode="bilinear")
    layers = sharpen(fill * alpha, alpha, seen, [crop], [matte], source)
    return paint(layers, [of_crop(crop, matte)], side)[0]


def mean_head(network: TriPlaneNet, label: Tensor, side: int = 128) -> Seen:
    """The mean head before a camera: the surface that the network was built round (the mean of
    its training heads), or, where it has none, the generator's mean latent.

    Args:
        label: [1, 25].

    Returns:
        Depth everywhere: past the silhouette it goes on with the plane through the head's centre.
    """
    rays = camera_rays(label, side)
    plane = _plane_distance(rays.origins, rays.directions, label[:, [2, 6, 10]])
    if network.canonical:
        depth = _first_hit(network, rays.origins, rays.directions, plane)
    else:
        ws = network.latent_avg.expand(1, network.decoder.latents, -1)
        seen = network.decoder.look(network.decoder.planes(ws), label, side=side)
        depth = torch.where(seen.alphas[..., 0] > 0.5, seen.depths[..., 0], plane)
    picture = depth.reshape(1, 1, side, side)
    return Seen(label, picture, torch.ones_like(picture))


def _first_hit(
    network: TriPlaneNet, origins: Tensor, directions: Tensor, otherwise: Tensor
) -> Tensor:
    """[1, R] distance at which rays [1, R, 3] first come below the surface's height."""
    decoder = network.decoder
    depths = torch.linspace(decoder.near, decoder.far, STEPS, device=origins.device)
    points = origins[:, :, None] + directions[:, :, None] * depths[:, None]  # [1, R, STEPS, 3]
    grid = points[..., :2] * (2 / decoder.box)
    surface = network.surface.float()[None, None]
    height = F.grid_sample(surface, grid, align_corners=False, padding_mode="border")[:, 0]
    above = points[..., 2] - height
    is_hit = (above <= 0) & (grid.abs().amax(dim=-1) <= 1)
    first = is_hit.int().argmax(dim=-1, keepdim=True).clamp(min=1)
    last, next_ = above.gather(2, first - 1), above.gather(2, first)
    share = last / (last - next_).clamp(min=1e-6)
    step = (decoder.far - decoder.near) / (STEPS - 1)
    exact = decoder.near + step * (first - 1 + share.clamp(0, 1))
    return torch.where(is_hit.any(dim=-1), exact[..., 0], otherwise)


def _plane_distance(origins: Tensor, directions: Tensor, normal: Tensor) -> Tensor:
    """[1, R] distance along rays to the plane through the head's centre with a normal [1, 3]."""
    centre = torch.as_tensor(geometry.HEAD_CENTRE, dtype=origins.dtype, device=origins.device)
    along = ((centre - origins) * normal[:, None]).sum(dim=-1)
    return along / (directions * normal[:, None]).sum(dim=-1)


def _positions(points: Tensor, label: Tensor, side: int) -> Tensor:
    """[1, 2, side, side] where a camera sees [1, side * side, 3] points, -1..1."""
    camera = label[:, :16].reshape(-1, 4, 4)
    local = (points - camera[:, None, :3, 3]) @ camera[:, :3, :3]
    focal, centre = label[:, None, [16, 20]], label[:, None, [18, 21]]
    position = 2 * (focal * local[..., :2] / local[..., 2:] + centre) - 1
    return position.transpose(1, 2).reshape(-1, 2, side, side)


def person_colour(crop: Image, matte: Image, views: Sequence[int]) -> Tensor:
    """[1, 3, *views] the mean colour of an input's person, 0..1."""
    both = pixels.to_tensor([crop]).add(1).div(2), pixels.to_tensor([matte]).add(1).div(2)
    colour = (both[0] * both[1]).sum(dim=(2, 3)) / both[1].sum(dim=(2, 3)).clamp(min=1e-3)
    return colour[..., None, None].expand(1, 3, *views)
