"""Train the face detector and the landmark network on rendered heads.

    python -m tpvideo.weights.training.face weights/training/face.toml

Both networks are trained in turns, batch by batch, on examples made anew each time. The run
resumes from its checkpoint, and every checkpoint also writes weights that can be used.
"""

from __future__ import annotations

import json
import logging
import math
import sys
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tpvideo.pipeline.errors import ConfigError
from tpvideo.stages.networks.landmarks import FaceDetector, FaceMap, LandmarkNet, Landmarks
from tpvideo.stages.pixels import to_tensor
from tpvideo.weights.training import face_pictures
from tpvideo.weights.training.face_heads import pack_heads
from tpvideo.weights.training.face_losses import detector_losses, landmark_losses
from tpvideo.weights.training.face_scenes import Stock, crops, scenes

log = logging.getLogger(__name__)

TIGHT_PX, WIDE_PX, BACKGROUND_PX = 128, 192, 160
EMA_DECAY = 0.998


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceTraining:
    """One run."""

    heads: Path
    """Folder of npz files from the head generator; seeds from 900000 on are kept for scores."""
    panoramas: Path
    """Folder of jpg panoramas without people."""
    cache: Path
    """Where packed heads are kept."""
    checkpoint: Path
    """State of the run, read when it exists."""
    weights: Path
    """The safetensors file that comes out."""
    seed: int = 0
    batch: int = 64
    learning_rate: float = 2e-3
    backgrounds: int = 3000
    detector_samples: int = 2_000_000
    detector_px: int = 128
    landmark_samples: int = 3_000_000
    log_every_s: float = 30.0
    checkpoint_every_s: float = 300.0

    def __post_init__(self) -> None:
        if self.detector_px % 32:
            raise ConfigError(f"detector_px must be a multiple of 32, got {self.detector_px}")
        if self.batch < 2:
            raise ConfigError(f"batch must be at least 2, got {self.batch}")


def read_config(path: Path) -> FaceTraining:
    """Raises:
    ConfigError: unknown or missing setting, or no such file.
    """
    try:
        settings = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    folders = {"heads", "panoramas", "cache", "checkpoint", "weights"}
    paths: dict[str, Any] = {k: Path(settings[k]) for k in folders & settings.keys()}
    try:
        return FaceTraining(**(settings | paths))
    except TypeError as error:
        raise ConfigError(f"{path}: {error}") from error


class Learner:
    """A network, its average over the last steps, its optimiser and how much it has seen."""

    def __init__(self, name: str, network: nn.Module, total: int, rate: float) -> None:
        self.name, self.network, self.total, self.rate = name, network, total, rate
        self.average = torch.optim.swa_utils.AveragedModel(
            network, multi_avg_fn=_follow, use_buffers=True
        )
        self.optimiser = torch.optim.AdamW(network.parameters(), rate, weight_decay=0.02)
        self.seen = 0
        self.losses: dict[str, float] = {}

    @property
    def progress(self) -> float:
        return self.seen / max(1, self.total)

    def step(self, losses: dict[str, Tensor], count: int) -> None:
        """One update from the sum of the losses of `count` examples."""
        warm = min(1.0, (self.seen + count) / (count * 200))
        rate = self.rate * warm * max(0.02, 0.5 * (1 + math.cos(math.pi * min(1, self.progress))))
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimiser.step()
        self.average.update_parameters(self.network)
        self.seen += count
        for name, loss in losses.items():
            value = float(loss.detach())
            self.losses[name] = 0.98 * self.losses.get(name, value) + 0.02 * value

    def line(self) -> str:
        losses = " ".join(f"{name} {value:.4f}" for name, value in self.losses.items())
        return f"{self.name} {self.seen} ({self.progress:.0%}): {losses}"

    def state(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "seen": self.seen,
        }

    def resume(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.seen = state["seen"]


def _follow(averages: Any, values: Any, count: Any) -> None:
    """Move averages toward values; quickly at first, so that the start is forgotten."""
    share = max(1 - EMA_DECAY, 10 / (10 + int(count)))
    for average, value in zip(averages, values, strict=True):
        if average.is_floating_point():
            average.lerp_(value, share)
        else:
            average.copy_(value)


def train(config: FaceTraining) -> None:
    """Run to the end of both networks' samples."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(config.seed)
    detector = Learner(
        "detector", FaceDetector().to(device), config.detector_samples, config.learning_rate
    )
    landmarks = Learner(
        "landmarks", LandmarkNet().to(device), config.landmark_samples, config.learning_rate
    )
    learners = (detector, landmarks)
    if config.checkpoint.exists():
        state = torch.load(config.checkpoint, map_location=device, weights_only=True)
        for learner in learners:
            learner.resume(state[learner.name])
    rng = np.random.default_rng([config.seed, detector.seen, landmarks.seen])
    stock = _stock(config)
    steps: dict[str, Callable[[], dict[str, Tensor]]] = {
        "detector": lambda: _detector_step(detector.network, stock, config, rng, device),
        "landmarks": lambda: _landmark_step(landmarks.network, stock, config, rng, device),
    }
    logged = saved = time.monotonic()
    while min(learner.progress for learner in learners) < 1:
        learner = min(learners, key=lambda learner: learner.progress)
        learner.step(steps[learner.name](), config.batch)
        now = time.monotonic()
        if now - logged > config.log_every_s:
            logged = now
            log.info("%s | %s", detector.line(), landmarks.line())
        if now - saved > config.checkpoint_every_s:
            saved = now
            save(config, learners)
    save(config, learners)


def _stock(config: FaceTraining) -> Stock:
    bank = face_pictures.background_bank(
        config.panoramas, config.backgrounds, BACKGROUND_PX, config.seed
    )
    wide, tight = (
        pack_heads(config.heads, config.cache, wide=wide, size_px=size, held_out=False)
        for wide, size in ((True, WIDE_PX), (False, TIGHT_PX))
    )
    return Stock(wide, tight, bank)


def _detector_step(
    network: nn.Module, stock: Stock, config: FaceTraining, rng: np.random.Generator, device: str
) -> dict[str, Tensor]:
    made = scenes(stock, config.batch, config.detector_px, rng)
    pictures = to_tensor(made.pictures, device)
    with torch.autocast(device, torch.bfloat16):
        said = network(pictures)
    return detector_losses(FaceMap(*(part.float().cpu() for part in said)), made)


def _landmark_step(
    network: nn.Module, stock: Stock, config: FaceTraining, rng: np.random.Generator, device: str
) -> dict[str, Tensor]:
    assert isinstance(network, LandmarkNet)
    made = crops(stock, config.batch, network.side, rng)
    pictures = to_tensor(made.pictures, device)
    with torch.autocast(device, torch.bfloat16):
        said = network(pictures)
    return landmark_losses(Landmarks(*(part.float().cpu() for part in said)), made)


def save(config: FaceTraining, learners: tuple[Learner, ...]) -> None:
    """Write the checkpoint and, in float16, the averaged weights of both networks."""
    config.checkpoint.parent.mkdir(parents=True, exist_ok=True)
    partial = config.checkpoint.with_suffix(".part")
    torch.save({learner.name: learner.state() for learner in learners}, partial)
    partial.replace(config.checkpoint)
    tensors = {
        f"{learner.name}.{name}": (value.half() if value.is_floating_point() else value).cpu()
        for learner in learners
        for name, value in learner.average.module.state_dict().items()
    }
    metadata = {
        "format": "tpvideo-face-1",
        "seed": str(config.seed),
        "samples": json.dumps({learner.name: learner.seen for learner in learners}),
        "losses": json.dumps({learner.name: learner.losses for learner in learners}),
    }
    config.weights.parent.mkdir(parents=True, exist_ok=True)
    partial = config.weights.with_suffix(".part")
    save_file(tensors, partial, metadata)
    partial.replace(config.weights)
    log.info("wrote %s", config.weights)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tpvideo.weights.training.face CONFIG.toml")
    train(read_config(Path(sys.argv[1])))
