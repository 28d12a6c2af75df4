"""What light, lenses, sensors, codecs, mattes and things in the way do to the pictures that come
in. The targets stay clean, but for the light, which is the same in both."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from tpvideo.weights.training.compression import compressed
from tpvideo.weights.training.occluders import put_before

REACH = 4
"""Farthest that a pixel moves during an exposure, either way, in pixels of 128."""


def change_light(rgba: Tensor, target: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """The same random white balance, gamma and exposure for both views of a head: what a camera
    does to both, now and then far off. Pictures [B, 4, H, W] premultiplied, 0..1."""
    batch = len(rgba)

    def normal(*shape: int) -> Tensor:
        return torch.randn(batch, *shape, 1, 1, generator=random)

    far_off = 1 + (torch.rand(batch, 1, 1, 1, generator=random) < 0.1).float()
    gain = torch.exp(far_off * (0.22 * normal(1) + 0.09 * normal(3)))
    gamma = torch.exp(0.18 * normal(1))
    gray = torch.rand(batch, 1, 1, 1, generator=random) * 0.6

    def develop(picture: Tensor) -> Tensor:
        alpha = picture[:, 3:]
        straight = (picture[:, :3] / alpha.clamp(min=1e-3)).clamp(0, 1)
        toned = (straight * gain).clamp(0, 1) ** gamma
        mean = toned.mean(dim=1, keepdim=True)
        return torch.cat([torch.lerp(toned, mean, gray * (gray > 0.3)) * alpha, alpha], dim=1)

    return develop(rgba), develop(target)


def spoil(rgba: Tensor, random: torch.Generator) -> Tensor:
    """[B, 3, S, S] input pictures on black, 0..1, as footage has them: something before the face,
    motion, blur, noise, compression, an imperfect matte, a crop that is off by a little.

    Args:
        rgba: [B, 4, S, S] premultiplied, 0..1; S a multiple of 16.
        random: on the CPU.
    """
    rgba = moved(put_before(rgba, random, 0.2), random)
    picture = filmed(placed_in_room(rgba, random), random)
    kept = wrong_matte(rgba[:, 3:], random)
    return misplaced(torch.cat([picture * kept, kept], dim=1), random)[:, :3]


def moved(rgba: Tensor, random: torch.Generator) -> Tensor:
    """[B, 4, S, S], some of them blurred along a line: the head moved during the exposure."""
    batch, channels = rgba.shape[:2]
    angle = math.pi * torch.rand(batch, 1, 1, generator=random)
    reach = REACH * torch.rand(batch, 1, 1, generator=random)
    is_moving = torch.rand(batch, 1, 1, 1, generator=random) < 0.2
    steps = torch.arange(-REACH, REACH + 1.0)
    x, y = steps[None, None, :], steps[None, :, None]
    along = (x * torch.cos(angle) + y * torch.sin(angle)).abs()
    aside = (y * torch.cos(angle) - x * torch.sin(angle)).abs()
    kernel = (reach + 0.5 - along).clamp(0, 1) * (1 - aside).clamp(0, 1)  # [B, 9, 9]
    kernel = kernel / kernel.sum(dim=(1, 2), keepdim=True)
    size = 2 * REACH + 1
    weights = kernel[:, None].expand(-1, channels, -1, -1).reshape(-1, 1, size, size)
    wide = F.pad(rgba, (REACH,) * 4, mode="replicate").flatten(0, 1)[None]
    blurred = F.conv2d(wide, weights, groups=batch * channels).reshape(rgba.shape)
    return torch.where(is_moving, blurred, rgba)


def placed_in_room(rgba: Tensor, random: torch.Generator) -> Tensor:
    """[B, 3, S, S] with a plain wall behind: blur, blocks and a matte that is too wide then bring
    some of it along."""
    corners = torch.rand(len(rgba), 3, 2, 2, generator=random)
    size = rgba.shape[-2:]
    wall = F.interpolate(corners, size=size, mode="bilinear", align_corners=True)
    return rgba[:, :3] + wall * (1 - rgba[:, 3:])


def filmed(picture: Tensor, random: torch.Generator) -> Tensor:
    """[B, 3, S, S] after a soft lens, a coarse stream, noise and a codec, each now and then."""
    batch, _, side, _ = picture.shape

    def uniform() -> Tensor:
        return torch.rand(batch, 1, 1, 1, generator=random)

    def chance(share: float) -> Tensor:
        return (uniform() < share).float()

    blurred = F.avg_pool2d(F.pad(picture, (1, 1, 1, 1), mode="replicate"), 3, 1)
    picture = torch.lerp(picture, blurred, chance(0.4) * uniform())
    half = F.interpolate(picture, scale_factor=0.5, mode="area")
    coarse = F.interpolate(half, size=side, mode="bilinear")
    picture = torch.lerp(picture, coarse, chance(0.2))
    noise = torch.randn(picture.shape, generator=random)
    noise = torch.lerp(noise, noise.mean(dim=1, keepdim=True) * 3**0.5, chance(0.3))
    level = 0.03 * torch.randn(batch, 1, 1, 1, generator=random).abs() * chance(0.5)
    picture = (picture + noise * level).clamp(0, 1)
    coarseness = torch.exp(math.log(0.3) + math.log(12) * uniform())  # quality 85 down to 14
    return torch.lerp(picture, compressed(picture, coarseness.flatten()), chance(0.4))


def wrong_matte(alpha: Tensor, random: torch.Generator) -> Tensor:
    """[B, 1, S, S] mattes, some too narrow or too wide: a shifted, softened ramp."""
    batch = len(alpha)

    def normal() -> Tensor:
        return torch.randn(batch, 1, 1, 1, generator=random)

    soft = F.avg_pool2d(alpha, 5, 1, 2)
    ramp = ((soft - 0.5) * (1.5 + normal().abs() * 2) + 0.5 + 0.25 * normal()).clamp(0, 1)
    is_wrong = (torch.rand(batch, 1, 1, 1, generator=random) < 0.6).float()
    return torch.lerp(alpha, torch.minimum(ramp, (soft > 0).float()), is_wrong)


def misplaced(pictures: Tensor, random: torch.Generator) -> Tensor:
    """[B, C, S, S] scaled, turned and shifted by a little, as a tracker errs."""
    batch = len(pictures)
    scale = torch.exp(0.02 * torch.randn(batch, generator=random))
    turn = 0.03 * torch.randn(batch, generator=random)
    shift = 0.02 * torch.randn(batch, 2, generator=random)
    cos, sin = scale * torch.cos(turn), scale * torch.sin(turn)
    affine = torch.stack(
        [torch.stack([cos, -sin, shift[:, 0]], -1), torch.stack([sin, cos, shift[:, 1]], -1)], 1
    )
    grid = F.affine_grid(affine, list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures, grid, align_corners=False, padding_mode="border")
