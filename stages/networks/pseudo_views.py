"""What a picture and its mirror image say about other views of the head: pictures warped through
the depth found so far, each pixel weighted by how well it can be seen (Yin et al. 2022, 3D GAN
Inversion with Facial Symmetry Prior)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tpvideo.stages.networks.generator import Generator, as_image, resize
from tpvideo.stages.networks.triplanenet import mirror
from tpvideo.stages.networks.volume import camera_rays

HEAD = (0.0, 0.0, 0.2)
"""The point that EG3D's cameras look at, world; cameras are led round it."""

YAWS_RAD = (-0.6, -0.3, 0.3, 0.6)
"""Turns from the crop's own camera."""

DEPTH_RANGE = 0.02
"""How far before or behind what a camera sees a point may lie and be half believed, world units."""

MIRRORED = 0.5
"""How much of the mirror image is believed where the picture itself sees nothing."""


class PseudoView(NamedTuple):
    """What a camera would see."""

    label: Tensor
    """[1, 25]."""
    picture: Tensor
    """[1, 3, S, S], -1..1."""
    weight: Tensor
    """[1, 1, S, S] how much of it is known, 0..1."""


class Look(NamedTuple):
    """A picture with its camera, and how far each of its pixels is."""

    picture: Tensor
    """[1, 3, S, S]."""
    label: Tensor
    """[1, 25]."""
    depth: Tensor
    """[1, 1, R, R] along the rays."""
    alpha: Tensor
    """[1, 1, R, R]."""


@torch.no_grad()
def pseudo_views(
    decoder: Generator, planes: Tensor, crop: Tensor, label: Tensor
) -> list[PseudoView]:
    """Views from cameras led round the head, and the mirrored camera's.

    Args:
        planes: [1, 3 C, H, W] the volume found so far.
        crop: [1, 3, S, S], -1..1.
        label: [1, 25] its camera.
    """
    own = look(decoder, planes, crop, label)
    other = look(decoder, planes, crop.flip(-1), mirror(label))
    cameras = [led_round(label, yaw) for yaw in YAWS_RAD] + [mirror(label)]
    return [_view(decoder, planes, own, other, camera) for camera in cameras]


def look(decoder: Generator, planes: Tensor, picture: Tensor, label: Tensor) -> Look:
    """A picture with the depth that the volume has before its camera."""
    seen = decoder.look(planes, label)
    depth, alpha = (as_image(part, decoder.raw_side) for part in (seen.depths, seen.alphas))
    return Look(picture, label, depth, alpha)


def _view(decoder: Generator, planes: Tensor, own: Look, other: Look, label: Tensor) -> PseudoView:
    side = own.picture.shape[-1]
    target = look(decoder, planes, own.picture, label)
    rays = camera_rays(label, side)
    depth = resize(target.depth, side).flatten(2).transpose(1, 2)  # [1, S * S, 1]
    points = rays.origins + rays.directions * depth
    solid = (resize(target.alpha, side) > 0.5).float()
    colours, seen = _fetched(own, points)
    mirrored, seen_mirrored = _fetched(other, points)
    second = MIRRORED * seen_mirrored * (1 - seen)
    weight = seen + second
    picture = (colours * seen + mirrored * second) / weight.clamp(min=1e-6)
    return PseudoView(label, picture, weight * solid)


def _fetched(look: Look, points: Tensor) -> tuple[Tensor, Tensor]:
    """[1, 3, S, S] colours that a picture has for [1, S * S, 3] points, and [1, 1, S, S] how
    surely it is they that it shows and nothing before them, 0..1."""
    side = math.isqrt(points.shape[1])
    camera = look.label[:, :16].reshape(-1, 4, 4)
    local = (points - camera[:, None, :3, 3]) @ camera[:, :3, :3]
    focal, centre = look.label[:, None, [16, 20]], look.label[:, None, [18, 21]]
    grid = 2 * (focal * local[..., :2] / local[..., 2:] + centre) - 1
    grid = grid.reshape(1, side, side, 2)
    colours, depth, alpha = (
        F.grid_sample(part, grid, align_corners=False, padding_mode="border")
        for part in (look.picture, look.depth, look.alpha)
    )
    distance = local.norm(dim=-1).reshape(1, 1, side, side)
    is_inside = (grid.abs().amax(dim=-1) < 1).float()[:, None]
    sureness = torch.exp(-math.log(2) * ((distance - depth) / DEPTH_RANGE) ** 2)
    return colours, sureness * alpha * is_inside


def led_round(labels: Tensor, yaw_rad: float) -> Tensor:
    """[B, 25] cameras led round the head about the vertical; yaw > 0 toward +x."""
    cos, sin = math.cos(yaw_rad), math.sin(yaw_rad)
    rotation = labels.new_tensor([[cos, 0.0, sin], [0.0, 1.0, 0.0], [-sin, 0.0, cos]])
    head = labels.new_tensor(HEAD)
    poses = labels[:, :16].reshape(-1, 4, 4).clone()
    poses[:, :3, 3] = (poses[:, :3, 3] - head) @ rotation.T + head
    poses[:, :3, :3] = rotation @ poses[:, :3, :3]
    return torch.cat([poses.flatten(1), labels[:, 16:]], dim=1)
