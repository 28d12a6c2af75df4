"""Settings of a training run, read from TOML and checked."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from tpvideo.pipeline.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A stretch of training in which some parts learn and others are held."""

    name: str
    samples: int
    """Pairs of views seen in this phase."""
    rate: float
    """Learning rate at its height: after a warm-up of 100 steps, before a linear decay to
    `final`."""
    final: float = 0.1
    """Share of the rate that is left at the end."""
    first: bool = True
    """The first branch (style encoder and backbone) learns."""
    second: bool = False
    """The second branch (offset U-Net) is used and learns."""

    def __post_init__(self) -> None:
        if not (self.first or self.second):
            raise ConfigError(f"phase {self.name}: neither branch learns")
        if self.samples < 1:
            raise ConfigError(f"phase {self.name}: samples must be positive, got {self.samples}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LossWeights:
    """Factors of the loss terms."""

    image: float = 1.0
    raw: float = 0.5
    alpha: float = 1.0
    depth: float = 2.0
    opaque: float = 0.05
    clear: float = 0.2
    colour: float = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """Everything that decides what a training run produces."""

    views: Path
    """Folder of packed views (`python -m tpvideo.weights.training pack`)."""
    output: Path
    """Folder of checkpoints, logs and contact sheets."""
    model: dict[str, Any]
    """Arguments of TriPlaneNet."""
    phases: tuple[Phase, ...]
    seed: int = 0
    batch: int = 8
    points: int = 512
    """Surface and empty points a head."""
    patch: int = 32
    """Side of the rendered patch, in pixels of the volume rendering."""
    coarse: int = 0
    """Coarse samples along a ray while training; 0 for the model's own."""
    fine: int = -1
    """Importance samples while training; -1 for the model's own."""
    ema: float = 0.998
    checkpoint_steps: int = 200
    loss: LossWeights = field(default_factory=LossWeights)

    @classmethod
    def read(cls, path: Path) -> TrainingConfig:
        """Settings from a TOML file; relative folders count from the working directory."""
        try:
            table = tomllib.loads(path.read_text())
        except (OSError, ValueError) as cause:  # no file, no text, no TOML
            raise ConfigError(f"cannot read settings from {path}: {cause}") from cause
        unknown = set(table) - {item.name for item in fields(cls)}
        if unknown:
            raise ConfigError(f"{path}: unknown settings {', '.join(sorted(unknown))}")
        try:
            table["phases"] = tuple(Phase(**phase) for phase in table["phases"])
            table["loss"] = LossWeights(**table.get("loss", {}))
            table["views"], table["output"] = Path(table["views"]), Path(table["output"])
            return cls(**table)
        except (KeyError, TypeError) as cause:
            raise ConfigError(f"{path}: {cause}") from cause
