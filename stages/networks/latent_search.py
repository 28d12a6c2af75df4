"""Latents by optimisation: W and W+ (Karras et al. 2020), also together with the camera (Ko et al.
2023), and with the mirrored picture as a second view (Yin et al. 2022)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from tpvideo.stages.networks.generator import resize
from tpvideo.stages.networks.inverters import Subject, Watch, network_of
from tpvideo.stages.networks.likeness import Likeness
from tpvideo.stages.networks.triplanenet import Inversion, TriPlaneNet, mirror

RATE = 0.1
"""Adam's, at its highest; of latents."""
TURN_RATE = 0.01
"""The same of the camera, radians."""
RISE, FALL = 0.05, 0.25
"""Shares of the steps in which the rate rises from 0, and falls back to 0."""
NOISE, NOISY = 0.05, 0.75
"""Noise on the latents at the beginning, as a share of their spread, and the share of the steps in
which it fades."""
DRAWN = 10_000
"""Latents whose mean and spread are those of W."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentSearch:
    """Move latents until the generator's picture is the crop.

    Appendix D of the StyleGAN2 paper: from the mean latent, Adam with a rate that rises over the
    first twentieth and falls with a cosine over the last quarter, noise on the latents that fades
    over the first three quarters. The generator's fixed noise is left alone.

    Args:
        likeness: what is minimised.
        steps: of Adam.
        shared: whether all layers take one latent, as in W; else each has its own (W+).
        moves_camera: whether the camera turns along about the world's origin.
        mirror: factor of the mirrored crop, seen by the mirrored camera.
        seed: of the noise.
    """

    likeness: Likeness
    steps: int = 1000
    shared: bool = False
    moves_camera: bool = False
    mirror: float = 0.0
    seed: int = 0
    watch: Watch | None = None

    def __call__(self, subject: Subject, before: Inversion | None) -> Inversion:
        """Latents and their planes; goes on, without noise, where an earlier step found some."""
        network = network_of(subject, before)
        random = torch.Generator(subject.crop.device).manual_seed(self.seed)
        start = beginning(network, subject, random)
        if before is not None:
            start = Start(before.ws, start.unit, torch.zeros_like(start.noise))
        count = 1 if self.shared else network.decoder.latents
        moved = torch.zeros_like(start.ws[:, :1].expand(-1, count, -1).contiguous())
        turn = subject.label.new_zeros(1, 3)
        with torch.enable_grad():
            self._descend(network, subject, start, moved, turn, random)
        ws = (start.ws + start.unit * moved).detach()
        planes = network.decoder.planes(ws)
        label = turned(subject.label, turn.detach()) if self.moves_camera else None
        tuned = None if before is None else before.tuned
        return Inversion(ws, planes, planes, labels=label, tuned=tuned)

    def _descend(
        self,
        network: TriPlaneNet,
        subject: Subject,
        start: Start,
        moved: Tensor,
        turn: Tensor,
        random: torch.Generator,
    ) -> None:
        """Change `moved` and `turn` in place."""
        rates = [(moved, RATE)] + ([(turn, TURN_RATE)] if self.moves_camera else [])
        adam = torch.optim.Adam([{"params": [variable.requires_grad_()]} for variable, _ in rates])
        for step in range(self.steps):
            done = step / self.steps
            for group, (_, rate) in zip(adam.param_groups, rates, strict=True):
                group["lr"] = rate * ramp(done)
            fading = max(0.0, 1 - done / NOISY) ** 2
            noise = torch.randn(moved.shape, generator=random, device=moved.device)
            ws = start.ws + start.unit * moved + (fading * start.noise) * noise
            loss = self._loss(network, subject, ws, turned(subject.label, turn))
            adam.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            adam.step()
            if self.watch is not None:
                self.watch("latents", step + 1, self.steps, float(loss.detach()))

    def _loss(self, network: TriPlaneNet, subject: Subject, ws: Tensor, label: Tensor) -> Tensor:
        planes = network.decoder.planes(ws)
        seen = network.render(planes, ws, label).image
        loss: Tensor = self.likeness(seen, subject.crop).sum()
        if self.mirror:
            seen = network.render(planes, ws, mirror(label)).image
            loss = loss + self.mirror * self.likeness(seen, subject.crop.flip(-1)).sum()
        return loss


class Start(NamedTuple):
    """Where the search begins."""

    ws: Tensor
    """[1, L, D] mean latents."""
    unit: Tensor
    """[1, L, 1] the step that the rate is a share of."""
    noise: Tensor
    """[1, L, 1] standard deviation of the noise at the beginning."""


def beginning(network: TriPlaneNet, subject: Subject, random: torch.Generator) -> Start:
    """Mean and spread of W: of latents that the mapping network makes, where there is one.

    A network without one has no W to draw from. It begins at its average latent, and the spread,
    layer by layer, is how far its own encoder goes from there for this picture.
    """
    latents = network.decoder.latents
    backbone = network.decoder.backbone
    if hasattr(backbone, "mapping"):
        embedding = backbone.mapping.fc0.weight.shape[1] - backbone.mapping.embed.weight.shape[0]
        z = torch.randn(DRAWN, embedding, generator=random, device=subject.label.device)
        w = backbone.mapping(z, subject.label.expand(DRAWN, -1), 1)  # [DRAWN, 1, D]
        mean = w.mean(dim=0, keepdim=True)
        spread = (w - mean).square().sum(dim=-1).mean().sqrt().reshape(1, 1, 1)
        ones = torch.ones_like(mean[..., :1]).expand(1, latents, 1)
        return Start(mean.expand(1, latents, -1), ones, NOISE * spread * ones)
    mean = network.latent_avg.expand(1, latents, -1)
    away = network.encode(resize(subject.crop, network.side)) - mean
    unit = away.square().mean(dim=-1, keepdim=True).sqrt()
    return Start(mean, unit, NOISE * math.sqrt(mean.shape[-1]) * unit)


def ramp(done: float) -> float:
    """The rate's factor after this share of the steps, 0..1."""
    falling = 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - done) / FALL))
    return falling * min(1.0, done / RISE)


def turned(labels: Tensor, turn: Tensor) -> Tensor:
    """[B, 25] cameras carried about the world's origin.

    Args:
        turn: [B, 3] axis times angle, radians.
    """
    x, y, z = turn.unbind(dim=1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1).reshape(-1, 3, 3)
    rotation = torch.linalg.matrix_exp(cross)
    camera = labels[:, :16].reshape(-1, 4, 4)
    poses = torch.cat([rotation @ camera[:, :3], camera[:, 3:]], dim=1)
    return torch.cat([poses.flatten(1), labels[:, 16:]], dim=1)
