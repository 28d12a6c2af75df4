"""Optimiser steps, running averages, checkpoints and resuming."""

from __future__ import annotations

import json
import logging
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tpvideo.pipeline.errors import ConfigError
from tpvideo.stages.networks.triplanenet import TriPlaneNet
from tpvideo.weights.training import datasets, machine
from tpvideo.weights.training.adversary import Adversary
from tpvideo.weights.training.batch import Batch
from tpvideo.weights.training.config import Phase, TrainingConfig
from tpvideo.weights.training.critics import face_distance, load_critics
from tpvideo.weights.training.lanes import Lanes
from tpvideo.weights.training.optimisers import make_optimiser
from tpvideo.weights.training.paper_terms import PaperTerms
from tpvideo.weights.training.start import fresh_network
from tpvideo.weights.training.view_terms import Terms, ViewTerms
from tpvideo.weights.training.watch import Watch

log = logging.getLogger(__name__)

LOG_STEPS = 50
"""Steps between lines of the log; the first line comes after ten."""


class Trainer:
    """One run: network, optimiser, average, data and counters, all of it in a checkpoint."""

    def __init__(self, config: TrainingConfig, device: torch.device) -> None:
        self.config = config
        self.device = device
        torch.manual_seed(config.seed)
        self.network: TriPlaneNet = fresh_network(config)
        self.views = datasets.open_training(config, self.network)
        datasets.lay_mean_surface(self.views, self.network)
        self.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.dtype = machine.training_dtype(config, device)
        self.average = {
            name: value.detach().clone() for name, value in self.network.state_dict().items()
        }
        distance = face_distance() if config.loss.perceptual else None
        self.adversary = Adversary(config.adversary, 3) if config.is_adversarial else None
        if self.adversary is not None:
            self.adversary.to(device)
        self.view_terms = ViewTerms(
            config.loss,
            patch=config.patch,
            dtype=self.dtype,
            perceptual=distance,
            adversary=self.adversary,
        )
        self.paper_terms = _paper_terms(config)
        judges = nn.ModuleList(part for part in (distance, self.paper_terms) if part is not None)
        judges.to(device)
        learning = [*self.network.parameters()]
        if self.paper_terms is not None and self.paper_terms.uncertainty is not None:
            learning += self.paper_terms.uncertainty.parameters()
        self.learning = learning
        self.optimiser = make_optimiser(config.optimiser, learning)
        self.samples = 0
        self.seconds = 0.0
        """Time spent in `run`, all earlier ones included."""
        self.warm_from = 0
        """Samples at which the optimiser began with nothing known."""
        self.kept = 0
        """Samples at the last checkpoint that is kept for good."""
        self.random = torch.Generator().manual_seed(config.seed + 1)
        self.scores: dict[str, float] = {}

    def run(self, *, deadline_s: float | None = None) -> None:
        """Train until all phases are done or the deadline (seconds from now) has passed."""
        watch = Watch(self.config, self.network)
        clock = machine.Clock(self.samples, self.config.samples, deadline_s)
        before = self.seconds
        step = 0
        while (phase := self.phase()) is not None and not clock.is_over:
            watch.add(self.step(phase))
            step += 1
            self.seconds = before + clock.elapsed_s
            if step % LOG_STEPS == 0 or step == 10:
                log.info("%s %s", phase.name, clock.line(self.samples))
                watch.write(self.samples)
            if self.config.look_steps and step % self.config.look_steps == 0:
                self.scores = watch.look(self.average, self.samples, self.device) or self.scores
            if step % self.config.checkpoint_steps == 0:
                self.save()
        if self.config.look_steps and step % self.config.look_steps:
            self.scores = watch.look(self.average, self.samples, self.device) or self.scores
        watch.close()
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
        since = self.samples - max(start, self.warm_from)
        steps = since / self.config.batch + 1
        warm = min(1.0, steps / max(1, self.config.warm_up_steps))
        return phase.rate * warm * (1 - (1 - phase.final) * into / phase.samples)

    def step(self, phase: Phase) -> Terms:
        """One batch forward, backward, and into the weights and their average."""
        batch = self.views.batch(self.config.batch).to(self.device)
        self._hold(phase)
        for group in self.optimiser.param_groups:
            group["lr"] = self._learning_rate(phase)
        terms = self._terms(batch, phase)
        if not terms:
            raise ConfigError("the settings leave no loss term that this dataset has a truth for")
        loss = torch.stack([term.weight * term.value for term in terms.values()]).sum()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.learning, 1.0)
        self.optimiser.step()
        self.samples += self.config.batch
        self._update_average()
        return terms

    def _hold(self, phase: Phase) -> None:
        """Let learn what the phase names, hold the rest."""
        network = self.network
        network.train()
        network.decoder.requires_grad_(phase.generator)
        for part, learns in (
            (network.psp_encoder, phase.first),
            (network.decoder.backbone, phase.first and phase.generator),
        ):
            part.train(learns).requires_grad_(learns)
        network.triplanenet_encoder.requires_grad_(phase.second)

    def _terms(self, batch: Batch, phase: Phase) -> Terms:
        """All terms of the loss: the paper's for each branch that is in use, and those of known
        views for the planes that come out last."""
        network, paper = self.network, self.paper_terms
        with machine.autocast(self.device, self.dtype):
            with nullcontext() if phase.first else torch.no_grad():
                ws = network.encode(batch.images)
                first = network.decoder.planes(ws).float()
            planes = first
            if phase.second:
                with torch.no_grad():
                    residuals = network.residuals(batch.images, batch.labels, ws, first)
                planes = network.triplanenet_encoder(residuals, first).float()
            terms: Terms = {}
            if paper is not None and phase.first:
                terms |= paper.branch("first", network.decoder, first, ws, batch)
            if paper is not None and phase.second:
                terms |= paper.branch("second", network.decoder, planes, ws, batch)
        views = self.view_terms(
            network.decoder, planes, ws, batch, self.random, adversarial=phase.adversarial
        )
        return terms | views

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
        saved = {
            "network": self.network.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
            "samples": self.samples,
            "seconds": self.seconds,
            "warm_from": self.warm_from,
            "views": self.views.state,
            "random": self.random.get_state(),
            "scores": self.scores,
            "machine": machine.describe(self.device),
            "settings": json.dumps(asdict(self.config), default=str),
        }
        if self.paper_terms is not None and self.paper_terms.uncertainty is not None:
            saved["uncertainty"] = self.paper_terms.uncertainty.state_dict()
        if self.adversary is not None:
            saved["adversary"] = self.adversary.state_dict()
        part = path.with_suffix(".part")
        torch.save(saved, part)
        part.replace(path)
        keep = self.config.keep_samples
        if keep and self.samples // keep > self.kept // keep:
            kept = path.with_name(f"checkpoint-{self.samples:08d}.pt")
            kept.write_bytes(path.read_bytes())
            self.kept = self.samples
        return path

    def close(self) -> None:
        """End the threads that prepare batches, where there are any."""
        if isinstance(self.views, Lanes):
            self.views.close()

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint: any of this run, whole or light (see `checkpoints`)."""
        saved: dict[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
        self._load(saved, path)
        log.info("resumed %s at %d samples", path, self.samples)

    def _load(self, saved: dict[str, Any], path: Path) -> None:
        try:
            self.network.load_state_dict(saved["network"])
        except RuntimeError as error:
            raise ConfigError(
                f"{path} holds another model than the settings describe; give this run an output "
                f"folder of its own"
            ) from error
        self.average = {
            name: value.to(self.device, torch.float32) if value.is_floating_point() else value
            for name, value in saved["average"].items()
        }
        self.samples = self.kept = saved["samples"]
        self.seconds = saved.get("seconds", 0.0)
        self.warm_from = saved.get("warm_from", 0)
        self.scores = saved.get("scores", {})
        if "optimiser" in saved:
            self.optimiser.load_state_dict(saved["optimiser"])
        else:
            self.warm_from = self.samples
        if "uncertainty" in saved and self.paper_terms is not None:
            assert self.paper_terms.uncertainty is not None
            self.paper_terms.uncertainty.load_state_dict(saved["uncertainty"])
        if "adversary" in saved and self.adversary is not None:
            self.adversary.load_state_dict(saved["adversary"])
        self.views.state = saved["views"]
        self.random.set_state(saved["random"].cpu())


def _paper_terms(config: TrainingConfig) -> PaperTerms | None:
    """The paper's losses with their critics, where the settings have a table for them."""
    weights = config.paper
    if weights is None:
        return None
    perceives = weights.perceptual or weights.mirror * weights.mirror_perceptual
    knows = weights.identity or weights.mirror * weights.mirror_identity
    critics = load_critics(weights.metric if perceives else None, identity=bool(knows))
    return PaperTerms(weights, critics)
