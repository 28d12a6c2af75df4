"""What light, lenses, sensors, codecs and things in the way do to the pictures that come in."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def change_light(rgba: Tensor, target: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """The same random white balance, gamma and exposure for both views of a head: what a camera
    does to both. Pictures [B, 4, H, W] premultiplied, 0..1."""
    batch = len(rgba)

    def normal(*shape: int) -> Tensor:
        return torch.randn(batch, *shape, 1, 1, generator=random)

    gain = torch.exp(0.22 * normal(1) + 0.09 * normal(3))
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
    """[B, 3, S, S] input pictures on black, 0..1, with an imperfect matte, a crop that is off by
    a little, blur, and sensor noise, as footage has them."""
    batch, _, side, _ = rgba.shape

    def normal(*shape: int) -> Tensor:
        return torch.randn(batch, *shape, generator=random)

    def chance(share: float) -> Tensor:
        return (torch.rand(batch, 1, 1, 1, generator=random) < share).float()

    # An alpha that is too narrow or too wide: a shifted, softened ramp.
    alpha = rgba[:, 3:]
    soft = F.avg_pool2d(alpha, 5, 1, 2)
    ramp = ((soft - 0.5) * (1.5 + normal(1, 1, 1).abs() * 2) + 0.5 + 0.25 * normal(1, 1, 1)).clamp(
        0, 1
    )
    kept = torch.lerp(alpha, torch.minimum(ramp, alpha), chance(0.6))
    picture = rgba[:, :3] / alpha.clamp(min=1e-3) * kept

    scale = torch.exp(0.02 * normal())
    turn = 0.03 * normal()
    shift = 0.02 * normal(2)
    cos, sin = scale * torch.cos(turn), scale * torch.sin(turn)
    affine = torch.stack(
        [torch.stack([cos, -sin, shift[:, 0]], -1), torch.stack([sin, cos, shift[:, 1]], -1)], 1
    )
    grid = F.affine_grid(affine, [batch, 3, side, side], align_corners=False)
    picture = F.grid_sample(picture, grid, align_corners=False, padding_mode="border")

    blurred = F.avg_pool2d(F.pad(picture, (1, 1, 1, 1), mode="replicate"), 3, 1)
    strong = F.interpolate(
        F.interpolate(picture, scale_factor=0.5, mode="area"), size=side, mode="bilinear"
    )
    picture = torch.lerp(
        picture, blurred, chance(0.4) * torch.rand(batch, 1, 1, 1, generator=random)
    )
    picture = torch.lerp(picture, strong, chance(0.2))
    noise = torch.randn(picture.shape, generator=random)
    level = 0.03 * normal(1, 1, 1).abs() * chance(0.5)
    return (picture + noise * level * (picture > 0)).clamp(0, 1)
