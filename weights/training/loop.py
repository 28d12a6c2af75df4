"""Optimiser steps, running averages, checkpoints and resuming."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tpvideo.stages.networks.triplanenet import TriPlaneNet
from tpvideo.stages.networks.volume import rays_through
from tpvideo.weights.training.config import Phase, TrainingConfig
from tpvideo.weights.training.data import Batch, HeadViews, mean_surface
from tpvideo.weights.training.losses import clear_loss, depth_loss, image_loss, opaque_loss

log = logging.getLogger(__name__)

WARM_UP_STEPS = 100
BORDER = 8
"""Pixels at the rim of a super-resolved patch that are not judged: they lack neighbours."""


class Terms(NamedTuple):
    """The loss terms of one step, unweighted."""

    image: Tensor
    raw: Tensor
    alpha: Tensor
    depth: Tensor
    opaque: Tensor
    clear: Tensor
    colour: Tensor


class Trainer:
    """One run: network, optimiser, average, data and counters, all of it in a checkpoint."""

    def __init__(self, config: TrainingConfig, device: torch.device) -> None:
        self.config = config
        self.device = device
        torch.manual_seed(config.seed)
        self.network = TriPlaneNet(**config.model)
        self.network.triplanenet_encoder.start_at_identity()
        # An almost clear volume to begin with: dense fog hides what is to be learnt.
        nn.init.constant_(self.network.decoder.decoder.net[2].bias[:1], -2.0)  # type: ignore[index]
        if config.coarse:
            self.network.decoder.coarse = config.coarse
        if config.fine >= 0:
            self.network.decoder.fine = config.fine
        self.views = HeadViews(
            config.views, side=self.network.side, points=config.points, seed=config.seed
        )
        if self.network.canonical:
            box = self.network.decoder.box
            self.network.surface.copy_(mean_surface(self.views, self.network.side, box))
        self.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = {
            name: value.detach().clone() for name, value in self.network.state_dict().items()
        }
        self.optimiser = torch.optim.Adam(self.network.parameters(), betas=(0.9, 0.99))
        self.samples = 0
        self.random = torch.Generator().manual_seed(config.seed + 1)

    def run(self, *, deadline_s: float | None = None) -> None:
        """Train until all phases are done or the deadline (seconds from now) has passed."""
        began, begun_at = time.monotonic(), self.samples
        running: dict[str, float] = {}
        step = 0
        while (phase := self.phase()) is not None:
            if deadline_s is not None and time.monotonic() - began > deadline_s:
                break
            terms = self.step(phase)
            step += 1
            for name, value in terms._asdict().items():
                level = float(value.detach())
                running[name] = 0.98 * running.get(name, level) + 0.02 * level
            if step % 50 == 0:
                rate = (self.samples - begun_at) / (time.monotonic() - began)
                shown = " ".join(f"{name} {value:.4f}" for name, value in running.items())
                log.info("%s %d samples %.2f/s %s", phase.name, self.samples, rate, shown)
            if step % self.config.checkpoint_steps == 0:
                self.save()
        self.save()

    def phase(self) -> Phase | None:
        """The phase that the next sample belongs to; None when all are done."""
        end = 0
        for phase in self.config.phases:
            end += phase.samples
            if self.samples < end:
                return phase
        return None

    def _learning_rate(self, phase: Phase) -> float:
        start = 0
        for earlier in self.config.phases:
            if earlier is phase:
                break
            start += earlier.samples
        into = self.samples - start
        warm = min(1.0, (into / self.config.batch + 1) / WARM_UP_STEPS)
        return phase.rate * warm * (1 - (1 - phase.final) * into / phase.samples)

    def step(self, phase: Phase) -> Terms:
        """One batch forward, backward, and into the weights and their average."""
        batch = Batch(*(t.to(self.device) for t in self.views.batch(self.config.batch)))
        held = [self.network.psp_encoder, self.network.decoder.backbone]
        self.network.train()
        for part in held:
            part.train(phase.first).requires_grad_(phase.first)
        self.network.triplanenet_encoder.requires_grad_(phase.second)
        for group in self.optimiser.param_groups:
            group["lr"] = self._learning_rate(phase)
        terms = self._terms(batch, phase)
        weights = self.config.loss
        loss: Tensor = sum(
            (getattr(weights, name) * value for name, value in terms._asdict().items()),
            start=torch.zeros((), device=self.device),
        )
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self.samples += self.config.batch
        self._update_average()
        return terms

    def _terms(self, batch: Batch, phase: Phase) -> Terms:
        network = self.network
        with torch.autocast(self.device.type, torch.bfloat16):
            with nullcontext() if phase.first else torch.no_grad():
                ws = network.encode(batch.images)
                first = network.decoder.planes(ws)
            planes = first
            if phase.second:
                with torch.no_grad():
                    residuals = network.residuals(batch.images, batch.labels, ws, first)
                planes = network.triplanenet_encoder(residuals, first)
        planes = planes.float()
        opaque, clear, colour = self._volume_terms(planes, batch)
        return Terms(*self._patch_terms(planes, ws, batch), opaque, clear, colour)

    def _volume_terms(self, planes: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """The volume at points on and before the known surface, without any ray."""
        inside = batch.surface - 0.008 * batch.toward
        points = torch.cat([inside, batch.empty, batch.surface], dim=1)
        decoded = self.network.decoder.query(planes, points)
        density = F.softplus(decoded.sigmas - 1) * self.network.decoder.density_gain
        solid, clear, _ = density.chunk(3, dim=1)
        shown = decoded.colours[:, -batch.surface.shape[1] :, :3]
        return opaque_loss(solid), clear_loss(clear), (shown - batch.colours).abs().mean()

    def _patch_terms(
        self, planes: Tensor, ws: Tensor, batch: Batch
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """A random square of the target view, rendered and super-resolved."""
        decoder, side, count = self.network.decoder, self.config.patch, len(planes)
        corner = torch.rand(count, 2, generator=self.random) * (decoder.raw_side - side + 1)
        left, top = corner.long().unbind(1)
        span = torch.arange(side)
        columns = (left[:, None, None] + span[None, None]).expand(-1, side, -1).flatten(1)
        rows = (top[:, None, None] + span[None, :, None]).expand(-1, -1, side).flatten(1)
        positions = (torch.stack([columns, rows], -1).to(self.device) + 0.5) / decoder.raw_side
        rays = rays_through(batch.target_labels, positions)
        jitter = torch.rand(count, side * side, decoder.coarse, generator=self.random)
        seen = decoder.march(planes, rays, jitter.to(self.device))
        with torch.autocast(self.device.type, torch.bfloat16):
            view = decoder.finish(seen, ws, side)

        truth = patches(batch.targets, left, top, side, decoder.raw_side)
        inner = (..., slice(BORDER, -BORDER), slice(BORDER, -BORDER))
        image = image_loss(view.image.float()[inner], truth[inner])
        coarse = F.interpolate(truth, size=side, mode="area")
        raw = image_loss(view.raw, coarse[:, :3], scales=1)
        alpha = (view.alpha - (coarse[:, 3:] + 1) / 2).abs().mean()
        # Depth is stored along the optical axis and rendered along the ray.
        forward = batch.target_labels[:, [2, 6, 10]]
        slant = (
            (rays.directions @ forward[:, :, None]).transpose(1, 2).reshape(count, 1, side, side)
        )
        z = patches(batch.depths, left, top, side, decoder.raw_side)
        z = F.interpolate(z, size=side, mode="nearest")
        solid = (z > 0) & (coarse[:, 3:] > 0.96)
        return image, raw, alpha, depth_loss(view.depth * slant, z, solid)

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.config.ema, (1 + self.samples) / (100 * self.config.batch + self.samples))
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value.float(), 1 - decay)
            else:
                self.average[name].copy_(value)

    def save(self) -> Path:
        """Write everything that resuming needs; the file appears under its name when whole."""
        self.config.output.mkdir(parents=True, exist_ok=True)
        path = self.config.output / "checkpoint.pt"
        part = path.with_suffix(".part")
        torch.save(
            {
                "network": self.network.state_dict(),
                "average": self.average,
                "optimiser": self.optimiser.state_dict(),
                "samples": self.samples,
                "views": self.views.state,
                "random": self.random.get_state(),
            },
            part,
        )
        part.replace(path)
        return path

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint."""
        saved: dict[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
        self.network.load_state_dict(saved["network"])
        self.average = saved["average"]
        self.optimiser.load_state_dict(saved["optimiser"])
        self.samples = saved["samples"]
        self.views.state = saved["views"]
        self.random.set_state(saved["random"].cpu())


def patches(pictures: Tensor, left: Tensor, top: Tensor, side: int, whole: int) -> Tensor:
    """[B, C, h, h] squares of [B, C, H, H] pictures: `side` of `whole` parts of the side wide,
    with the upper left corner at (left, top) parts."""
    scale = pictures.shape[-1] // whole
    cut: Iterable[Tensor] = (
        picture[
            :, scale * int(y) : scale * (int(y) + side), scale * int(x) : scale * (int(x) + side)
        ]
        for picture, x, y in zip(pictures, left, top, strict=True)
    )
    return torch.stack(list(cut))
