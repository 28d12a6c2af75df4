"""How much work is put into each live picture."""

from __future__ import annotations

from typing import get_args

from tpvideo.pipeline.config import PRESET_SIZES_PX, Preset

PRESETS: tuple[str, ...] = get_args(Preset)
"""The cheapest first."""

WITHOUT_DETAIL = PRESETS[0]
"""The preset that leaves out the source's own detail: a quarter of the drawing's time."""


def drawn_px(preset: str, size: int) -> int:
    """Side at which pictures are drawn that are shown at `size`."""
    return min(size, PRESET_SIZES_PX[preset])


def cheaper(preset: str) -> str | None:
    """The preset below this one; None below the cheapest."""
    position = PRESETS.index(preset)
    return PRESETS[position - 1] if position else None
