"""Every inverter by its name: those that predict, those that optimise, and their mixtures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tpvideo.stages.networks.generator_tuning import GeneratorTuning
from tpvideo.stages.networks.inverters import (
    Chain,
    Step,
    Watch,
    predict_latents,
    predict_offsets,
)
from tpvideo.stages.networks.latent_search import LatentSearch
from tpvideo.stages.networks.likeness import Likeness
from tpvideo.stages.networks.plane_search import TRIES, PlaneSearch

METHODS: Mapping[str, str] = {
    "encoder": "psp:offsets",
    "pti": "w+:generator",
    "spi": "mirrored:pseudo",
    "planes-lbfgs": "psp:planes",
}
"""Names for chains; what they stand for."""

ABSENT: Mapping[str, str] = {
    "e4e": "needs its authors' encoder for EG3D, of which neither file nor structure is documented",
    "goae": "needs its authors' encoders, of which neither file nor structure is documented",
}
"""Methods that the paper compares with and that are not here, and why."""

STEPS = 1000
"""Gradients that each optimisation of the paper takes."""
MIRROR = 0.5
"""Factor of the mirrored crop in SPI's search for latents; our choice."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is asked of every step of a chain; see `inverter`."""

    likeness: Likeness
    steps: int
    seed: int
    watch: Watch | None

    def latents(self, **special: Any) -> Step:
        """A search for latents."""
        return LatentSearch(
            likeness=self.likeness, steps=self.steps, seed=self.seed, watch=self.watch, **special
        )

    def generator(self, *, pseudo: bool = False) -> Step:
        """Tuning of the generator."""
        return GeneratorTuning(
            likeness=self.likeness, steps=self.steps, pseudo=pseudo, watch=self.watch
        )

    def planes(self) -> Step:
        """A search for planes, with as many gradients."""
        steps = max(1, self.steps // TRIES)
        return PlaneSearch(likeness=self.likeness, steps=steps, watch=self.watch)


LATENTS: Mapping[str, Callable[[Wishes], Step]] = {
    "psp": lambda wishes: predict_latents,
    "w+": lambda wishes: wishes.latents(),
    "w": lambda wishes: wishes.latents(shared=True),
    "pose": lambda wishes: wishes.latents(moves_camera=True),
    "mirrored": lambda wishes: wishes.latents(mirror=MIRROR),
}
"""Steps that find latents."""

REFINEMENTS: Mapping[str, Callable[[Wishes], Step]] = {
    "offsets": lambda wishes: predict_offsets,
    "planes": lambda wishes: wishes.planes(),
    "generator": lambda wishes: wishes.generator(),
    "pseudo": lambda wishes: wishes.generator(pseudo=True),
}
"""Steps that need latents."""

PREDICTIONS = ("psp", "offsets")
"""Steps that optimise nothing."""


def inverter(
    method: str,
    likeness: Likeness | None = None,
    *,
    steps: int = STEPS,
    seed: int = 0,
    watch: Watch | None = None,
) -> Chain:
    """An inverter by its name.

    Args:
        method: names of METHODS and of steps, joined by colons, such as `w+:offsets` or
            `encoder:generator`.
        likeness: what optimisations minimise; None compares colours alone.
        steps: gradients that each optimisation takes.
        seed: of what is random.
        watch: see Watch.

    Raises:
        ValueError: there is no such method; says which there are.
    """
    if method in ABSENT:
        raise ValueError(f"{method} is not here: it {ABSENT[method]}")
    makers: list[Callable[[Wishes], Step]] = []
    known = LATENTS
    for name in expanded(method):
        if name in REFINEMENTS and makers:
            known = REFINEMENTS
        if name not in known:
            raise ValueError(_complaint(method, name))
        makers.append(known[name])
    wishes = Wishes(likeness or Likeness(), steps, seed, watch)
    return Chain([make(wishes) for make in makers])


def expanded(method: str) -> list[str]:
    """The names of a method's steps."""
    return [step for name in method.split(":") for step in METHODS.get(name, name).split(":")]


def _complaint(method: str, name: str) -> str:
    return (
        f"no inverter {method!r}: {name!r} cannot stand there; there are "
        f"{', '.join([*METHODS, *LATENTS])}, and behind the latter, after a colon, "
        f"{', '.join(REFINEMENTS)}, as in w+:offsets"
    )
