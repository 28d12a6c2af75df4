"""What a check of `tpvideo doctor` found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's report."""

    topic: str
    """system, device, onnx, encoder, camera, extra, weights or run."""
    name: str
    """What was looked at."""
    state: Literal["ok", "notice", "failed"]
    """notice: something is missing that not everybody needs, or works less well than it could."""
    said: str
    fix: str = ""
    """What to do about it, in words; empty where nothing is to be done."""
    is_needed: bool = False
    """Whether the default model cannot run without it."""
    figures: dict[str, float | bool | str | list[str]] = field(default_factory=dict)
    """What was measured, for programs."""
