"""Settings of a training run, read from TOML and checked."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from tpvideo.pipeline.errors import ConfigError

WIDTH_KEYS = frozenset(
    {"widths", "up_widths", "head_width", "backbone_widths", "superres_widths", "plane_channels",
     "colours", "hidden", "pyramid", "style_dim"}
)  # fmt: skip


BORDER = 8
"""Pixels at the rim of a super-resolved patch that are not judged: they lack neighbours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A stretch of training in which some parts learn and others are held."""

    name: str
    samples: int
    """Pairs of views, or photographs, seen in this phase."""
    rate: float
    """Learning rate at its height: after a warm-up of `warm_up_steps`, before a linear decay to
    `final`."""
    final: float = 0.1
    """Share of the rate that is left at the end."""
    first: bool = True
    """The first branch (style encoder and backbone) learns."""
    second: bool = False
    """The second branch (offset U-Net) is used and learns."""
    generator: bool = True
    """The generator learns: its backbone with the first branch, its decoder and super-resolution
    always. False inverts a generator that was trained before, as the paper does."""
    adversarial: float = 0.0
    """Factor of the term for deceiving a discriminator (the table `adversary`), which learns beside
    the model in this phase; 0 for none, as in the paper."""

    def __post_init__(self) -> None:
        if not (self.first or self.second):
            raise ConfigError(f"phase {self.name}: neither branch learns")
        if self.samples < 1:
            raise ConfigError(f"phase {self.name}: samples must be positive, got {self.samples}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LossWeights:
    """Factors of the terms that need another view, or the depth, of the same head. A factor of 0
    leaves its term out; where a dataset lacks what a term needs, it is left out too."""

    image: float = 1.0
    raw: float = 0.5
    alpha: float = 1.0
    depth: float = 2.0
    opaque: float = 0.05
    clear: float = 0.2
    colour: float = 0.3
    perceptual: float = 0.0
    """Of a distance between features of our own face network (weights/face.safetensors)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperWeights:
    """Factors of the paper's losses (eq. 8 to 15), the same for both branches; the defaults are
    the published ones."""

    pixel: float = 1.0
    """λ₁: squared differences in the first branch, smooth absolute ones in the second."""
    perceptual: float = 1.0
    """λ₂: LPIPS."""
    identity: float = 0.1
    """λ₃."""
    mirror: float = 0.1
    """λ_m, of the mirrored view's three terms together."""
    mirror_pixel: float = 1.0
    """λ₄: differences over their expected deviation (eq. 15)."""
    mirror_perceptual: float = 1.0
    """λ₅."""
    mirror_identity: float = 0.1
    """λ₆."""
    uncertainty: float = 1.0
    """Of the likelihood (eq. 14) that teaches the uncertainty map; touches nothing else."""
    side: int = 256
    """Side at which pictures are compared, pixels."""
    raw_side: int = 0
    """Side of the volume rendering that they come from; 0 for the model's own. A smaller one is
    cheaper, and its pictures are four times as wide as it."""
    metric: Literal["lpips-alex", "lpips-vgg", "face"] = "lpips-alex"
    """What λ₂ and λ₅ weigh: LPIPS with its published weights, or our own face network."""

    def __post_init__(self) -> None:
        if self.metric not in ("lpips-alex", "lpips-vgg", "face"):
            raise ConfigError(
                f"paper.metric must be lpips-alex, lpips-vgg or face, got {self.metric}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class AdversaryConfig:
    """The discriminator of phases that have an `adversarial` term."""

    rate: float = 1e-3
    """Its learning rate."""
    r1: float = 1.0
    """Factor of the squared gradient at real pictures."""
    r1_every: int = 16
    """Steps between two times that this is worked out; it then counts as often."""
    widths: tuple[int, ...] = (32, 64, 96, 128)
    """Channels after each halving of the sides."""

    def __post_init__(self) -> None:
        if self.rate <= 0 or self.r1 < 0 or self.r1_every < 1 or not self.widths:
            raise ConfigError(
                "adversary: the rate must be positive, r1 at least 0, r1_every at least 1, and "
                "there must be widths"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A further folder, and how much of the training it makes up."""

    folder: Path
    share: float
    """Probability that a batch is drawn from it, 0..1; the rest is drawn from `views`."""

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ConfigError(f"{self.folder}: share must be between 0 and 1, got {self.share}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """Everything that decides what a training run produces."""

    views: Path
    """Folder of packed views (`python -m tpvideo.weights.training pack`), or a dataset in EG3D's
    format (with a `dataset.json`)."""
    output: Path
    """Folder of checkpoints, logs and contact sheets."""
    model: dict[str, Any]
    """Arguments of TriPlaneNet."""
    phases: tuple[Phase, ...]
    further: tuple[Share, ...] = ()
    held_out: Path | None = None
    """Folder like `views` of heads that are never trained on, for scores during the run."""
    start: str = ""
    """A model (name or file) whose tensors the run begins with, where they fit."""
    trunks: str = ""
    """An IR-SE50 file (name in the store, or path) that both encoders' trunks begin with."""
    seed: int = 0
    batch: int = 8
    lanes: int = 1
    """Batches prepared side by side, each by a thread; a GPU wants one for each core. The order of
    the batches depends on it."""
    same_view: float = 0.2
    """Share of the samples whose target is the input's own view."""
    flaws: bool = True
    """Whether inputs are spoilt as real footage is."""
    points: int = 512
    """Surface and empty points a head."""
    patch: int = 32
    """Side of the rendered patch, in pixels of the volume rendering."""
    coarse: int = 0
    """Coarse samples along a ray while training; 0 for the model's own."""
    fine: int = -1
    """Importance samples while training; -1 for the model's own."""
    optimiser: Literal["adam", "ranger"] = "adam"
    warm_up_steps: int = 100
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    """Of convolutions; `auto` takes bfloat16 where the processor computes in it."""
    ema: float = 0.998
    checkpoint_steps: int = 200
    keep_samples: int = 0
    """A checkpoint is kept for good every so many samples; 0 keeps the last one only."""
    look_steps: int = 500
    """Steps between contact sheets and held-out scores; 0 for none."""
    loss: LossWeights = field(default_factory=LossWeights)
    paper: PaperWeights | None = None
    """The paper's losses, where the settings have a table for them."""
    adversary: AdversaryConfig = field(default_factory=AdversaryConfig)

    def __post_init__(self) -> None:
        for name, allowed in (
            ("optimiser", ("adam", "ranger")),
            ("precision", ("auto", "bfloat16", "float32")),
        ):
            if getattr(self, name) not in allowed:
                raise ConfigError(
                    f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)}"
                )
        if not self.phases or self.batch < 2:
            raise ConfigError("a run needs a phase, and a batch of at least 2 for batch norm")
        if self.lanes < 1:
            raise ConfigError(f"lanes must be at least 1, got {self.lanes}")
        smallest = 4 * self.patch - 2 * BORDER  # of the squares that are judged, pixels
        if self.is_adversarial and smallest < 2 ** len(self.adversary.widths):
            raise ConfigError(
                "adversary: its squares are too small; fewer widths, or a larger patch"
            )
        if sum(item.share for item in self.further) > 1:
            raise ConfigError("the shares of the further folders add up to more than 1")

    @classmethod
    def read(cls, path: Path, changes: Sequence[str] = ()) -> TrainingConfig:
        """Settings from a TOML file; relative folders count from the working directory.

        Args:
            changes: `table.name=value` with a TOML value, put in place of the file's.
        """
        try:
            table = tomllib.loads(path.read_text())
        except (OSError, ValueError) as cause:  # no file, no text, no TOML
            raise ConfigError(f"cannot read settings from {path}: {cause}") from cause
        for change in changes:
            put(table, change)
        return cls.parse(table, path)

    @classmethod
    def parse(cls, table: dict[str, Any], source: object) -> TrainingConfig:
        """Settings from a table as TOML has it; `source` is named in errors."""
        unknown = set(table) - {item.name for item in fields(cls)}
        if unknown:
            raise ConfigError(f"{source}: unknown settings {', '.join(sorted(unknown))}")
        table = dict(table)
        try:
            table["phases"] = tuple(Phase(**phase) for phase in table["phases"])
            table["loss"] = LossWeights(**table.get("loss", {}))
            if table.get("paper") is not None:
                table["paper"] = PaperWeights(**table["paper"])
            adversary = dict(table.get("adversary", {}))
            if "widths" in adversary:
                adversary["widths"] = tuple(adversary["widths"])
            table["adversary"] = AdversaryConfig(**adversary)
            table["further"] = tuple(
                Share(folder=Path(item["folder"]), share=item["share"])
                for item in table.get("further", ())
            )
            table["views"], table["output"] = Path(table["views"]), Path(table["output"])
            if table.get("held_out") is not None:
                table["held_out"] = Path(table["held_out"])
            return cls(**table)
        except (KeyError, TypeError) as cause:
            raise ConfigError(f"{source}: {cause}") from cause

    @property
    def is_adversarial(self) -> bool:
        """Whether a phase has a discriminator."""
        return any(phase.adversarial for phase in self.phases)

    @property
    def samples(self) -> int:
        """Of all phases together."""
        return sum(phase.samples for phase in self.phases)


def put(table: dict[str, Any], change: str) -> None:
    """Put `table.name=value`, with a TOML value, into settings, in place.

    Raises:
        ConfigError: it is none.
    """
    place, _, text = change.partition("=")
    *tables, name = place.strip().split(".")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
        for key in tables:
            table = table.setdefault(key, {})
        table[name] = value
    except (ValueError, AttributeError, TypeError) as cause:
        raise ConfigError(
            f"--set takes table.name=VALUE with a value as in TOML, got {change!r}"
        ) from cause


def odd_widths(model: Mapping[str, Any]) -> list[str]:
    """Channel counts of a model's settings that are no multiples of 8, as `name=value`.

    oneDNN's bfloat16 backward pass writes beyond its buffers for some of them (seen with 12;
    16, 24, 32 and so on are what the shipped models are made of).
    """
    found = []
    for name, value in model.items():
        if isinstance(value, Mapping):
            found += [f"{name}.{line}" for line in odd_widths(value)]
        elif name in WIDTH_KEYS:
            counts = value if isinstance(value, list | tuple) else [value]
            found += [f"{name}={count}" for count in counts if count % 8]
    return found
