"""How much work is put into each live picture."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Preset:
    """What one picture may cost."""

    drawn_px: int
    """Side at which pictures are drawn; they are enlarged to the size that was asked for."""
    takes_detail: bool
    """Whether the source's own detail is put on them, where the settings allow it."""


PRESETS = {
    "fast": Preset(drawn_px=256, takes_detail=False),
    "balanced": Preset(drawn_px=256, takes_detail=True),
    "quality": Preset(drawn_px=4096, takes_detail=True),
}
"""The cheapest first."""


def cheaper(name: str) -> str | None:
    """The preset below this one; None below the cheapest."""
    names = list(PRESETS)
    position = names.index(name)
    return names[position - 1] if position else None
