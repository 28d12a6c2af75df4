"""Hands and microphones before faces, drawn as round sticks: enough to teach that what is before a
face is not the face."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Draw = Callable[..., Tensor]
"""Random numbers, 0..1, of shape [B, ...]."""

FINGERS = 4
PARTS = FINGERS + 2
"""Sticks of a hand: an arm, a palm and the fingers. A microphone has two: a stick and a ball."""


def put_before(rgba: Tensor, random: torch.Generator, share: float) -> Tensor:
    """[B, 4, S, S] premultiplied pictures, some of them with a hand or a microphone before them.

    Args:
        rgba: [B, 4, S, S] premultiplied, 0..1.
        random: on the CPU.
        share: probability that a picture gets one.
    """
    batch, _, side, _ = rgba.shape

    def uniform(*shape: int) -> Tensor:
        return torch.rand(batch, *shape, generator=random)

    has_one, has_hand = uniform() < share, uniform() < 0.6
    hands, microphones = _hands(uniform, _skin(rgba)), _microphones(uniform)
    starts, ends, radii, colours = (
        torch.where(has_hand.reshape(-1, *[1] * (hand.ndim - 1)), hand, other)
        for hand, other in zip(hands, microphones, strict=True)
    )
    middles = (torch.arange(side) + 0.5) / side
    v, u = torch.meshgrid(middles, middles, indexing="ij")
    places = torch.stack([u, v], dim=-1)  # [S, S, 2]
    for part in range(PARTS):
        depth, cover = _stick(places, starts[:, part], ends[:, part], radii[:, part])
        light = 0.55 + 0.45 * depth.clamp(0, 1).sqrt()
        alpha = (cover * has_one[:, None, None])[:, None]  # [B, 1, S, S]
        paint = colours[:, part, :, None, None] * light[:, None]
        front = torch.cat([paint.clamp(0, 1) * alpha, alpha], dim=1)
        rgba = front + rgba * (1 - alpha)
    return rgba


def _stick(places: Tensor, starts: Tensor, ends: Tensor, radii: Tensor) -> tuple[Tensor, Tensor]:
    """[B, S, S] one minus the squared distance from the axis in radii (1 on the axis, 0 at the
    edge), and soft-edged coverage, of round sticks from [B, 2] to [B, 2] of radii [B]."""
    along = (ends - starts)[:, None, None]
    away = places - starts[:, None, None]  # [B, S, S, 2]
    length = (along**2).sum(dim=-1).clamp(min=1e-8)
    share = ((away * along).sum(dim=-1) / length).clamp(0, 1)
    squared = ((away - share[..., None] * along) ** 2).sum(dim=-1)
    radius = radii[:, None, None]
    edge = (radius - squared.sqrt()) * len(places) + 0.5  # a pixel wide
    return 1 - squared / radius.clamp(min=1e-6) ** 2, edge.clamp(0, 1)


def _hands(uniform: Draw, skin: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Starts [B, P, 2], ends [B, P, 2], radii [B, P] and colours [B, P, 3]: an arm from the lower
    edge or the side, a palm, and fingers side by side."""
    palm = torch.stack([0.15 + 0.7 * uniform(), 0.5 + 0.45 * uniform()], dim=-1)
    angle = math.pi * (0.25 + 0.5 * uniform())  # of the fingers, upward
    lean = torch.where(palm[:, 0] > 0.5, 1.0, -1.0)
    toward = torch.stack([-lean * torch.cos(angle).abs(), -torch.sin(angle)], dim=-1)
    across = torch.stack([-toward[:, 1], toward[:, 0]], dim=-1)
    size = 0.75 + 0.5 * uniform()
    width = 0.033 * size
    starts, ends, radii = [palm - 1.2 * toward], [palm], [0.075 * size]
    starts.append(palm)
    ends.append(palm + 0.07 * size[:, None] * toward)
    radii.append(0.095 * size)
    for finger in range(FINGERS):
        offset = (finger - (FINGERS - 1) / 2) * 1.9 * width * (0.8 + 0.5 * uniform())
        root = palm + 0.1 * size[:, None] * toward + offset[:, None] * across
        starts.append(root)
        reach = size * (0.08 + 0.16 * uniform())
        ends.append(root + reach[:, None] * toward + 0.02 * (uniform(2) - 0.5))
        radii.append(width * (0.85 + 0.25 * uniform()))
    tone = skin * torch.exp(0.3 * (uniform(1) - 0.5))
    colours = tone[:, None] * (0.94 + 0.12 * uniform(PARTS, 1))
    sleeve = uniform(3)
    colours[:, 0] = torch.where(uniform(1) < 0.5, sleeve, colours[:, 0])
    return torch.stack(starts, 1), torch.stack(ends, 1), torch.stack(radii, 1), colours


def _microphones(uniform: Draw) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The same of a stick from below or from the side with a ball at its end, before the mouth or
    below it; the other sticks have no width."""
    ball = torch.stack([0.3 + 0.4 * uniform(), 0.62 + 0.25 * uniform()], dim=-1)
    from_side = uniform() < 0.35
    edge = torch.where(uniform() < 0.5, -0.1, 1.1)
    below = torch.stack([ball[:, 0] + 0.5 * (uniform() - 0.5), torch.full_like(edge, 1.2)], dim=-1)
    beside = torch.stack([edge, ball[:, 1] + 0.3 * (uniform() - 0.5)], dim=-1)
    start = torch.where(from_side[:, None], beside, below)
    thick = torch.where(from_side, 0.008 + 0.01 * uniform(), 0.025 + 0.02 * uniform())
    nothing = torch.full_like(ball, -1.0)
    rest = PARTS - 2
    starts = torch.stack([start, ball, *[nothing] * rest], dim=1)
    ends = torch.stack([ball, ball, *[nothing] * rest], dim=1)
    none = torch.zeros_like(thick)
    radii = torch.stack([thick, 0.03 + 0.045 * uniform(), *[none] * rest], dim=1)
    grey = 0.03 + 0.5 * uniform(PARTS, 1) ** 2
    return starts, ends, radii, (grey + 0.06 * (uniform(PARTS, 3) - 0.5)).clamp(0, 1)


def _skin(rgba: Tensor) -> Tensor:
    """[B, 3] colour of the middle of the pictures, straight; where nobody is, something brown."""
    side = rgba.shape[-1]
    middle = rgba[..., 3 * side // 8 : 5 * side // 8, 3 * side // 8 : 5 * side // 8].sum(dim=(2, 3))
    alpha = middle[:, 3:]
    brown = rgba.new_tensor([0.55, 0.38, 0.29])
    return torch.where(alpha > 1, middle[:, :3] / alpha.clamp(min=1), brown)
