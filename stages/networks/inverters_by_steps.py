"""Every inverter by its name: those that predict, those that optimise, and their mixtures."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tpvideo.stages.networks.inverters import (
    Chain,
    Step,
    Watch,
    predict_latents,
    predict_offsets,
)
from tpvideo.stages.networks.latent_search import LatentSearch
from tpvideo.stages.networks.likeness import Likeness

METHODS: Mapping[str, str] = {
    "encoder": "psp:offsets",
}
"""Names for chains; what they stand for."""

ABSENT: Mapping[str, str] = {
    "e4e": "needs its authors' encoder, whose file structure is not documented for EG3D",
    "goae": "needs its authors' encoder and feature networks, whose structure is not documented",
}
"""Methods that the paper compares with and that cannot be had here, and why."""

Make = Callable[[Likeness, int | None, int, Watch | None], Step]


def _latents(shared: bool = False, moves_camera: bool = False) -> Make:
    def make(likeness: Likeness, steps: int | None, seed: int, watch: Watch | None) -> Step:
        return LatentSearch(
            likeness=likeness,
            steps=steps or 1000,
            shared=shared,
            moves_camera=moves_camera,
            seed=seed,
            watch=watch,
        )

    return make


LATENTS: Mapping[str, Make] = {
    "psp": lambda *_: predict_latents,
    "w+": _latents(),
    "w": _latents(shared=True),
    "pose": _latents(moves_camera=True),
}
"""Steps that find latents."""

REFINEMENTS: Mapping[str, Make] = {
    "offsets": lambda *_: predict_offsets,
}
"""Steps that need latents."""


def inverter(
    method: str,
    likeness: Likeness | None = None,
    *,
    steps: int | None = None,
    seed: int = 0,
    watch: Watch | None = None,
) -> Chain:
    """An inverter by its name.

    Args:
        method: of METHODS, or steps joined by colons, such as `w+:offsets`.
        likeness: what optimisations minimise; None compares colours alone.
        steps: of each optimisation; None takes the paper's.
        seed: of what is random.
        watch: see Watch.

    Raises:
        ValueError: there is no such method; says which there are.
    """
    if method in ABSENT:
        raise ValueError(f"{method} is not here: it {ABSENT[method]}")
    makers: list[Make] = []
    known = LATENTS
    for name in METHODS.get(method, method).split(":"):
        if name in REFINEMENTS and makers:
            known = REFINEMENTS
        if name not in known:
            raise ValueError(_complaint(method, name))
        makers.append(known[name])
    return Chain([make(likeness or Likeness(), steps, seed, watch) for make in makers])


def _complaint(method: str, name: str) -> str:
    return (
        f"no inverter {method!r}: {name!r} cannot stand there; there are "
        f"{', '.join([*METHODS, *LATENTS])}, and behind the latter, after a colon, "
        f"{', '.join(REFINEMENTS)}, as in w+:offsets"
    )
