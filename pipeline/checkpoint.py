"""A place between two frames from which another run can go on, and what is remembered there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

State: TypeAlias = Mapping[str, Any]
"""What a stage remembers: names to None, truth values, numbers, text, lists of these, numpy arrays,
or further tables of the same kind."""


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """Every frame before it is done, none after it is begun, wherever it has been."""

    frames: int
    """How many frames came before, in the order read."""
    zero_pts: int = 0
    """Time of the stream's first frame, in ticks."""
    states: tuple[State, ...] = ()
    """What each stage it has passed remembers of those frames, front to back."""

    @property
    def written(self) -> int:
        """How many of these frames the sink has: all but those that stages hold back."""
        held: int = sum(state.get("held", 0) for state in self.states)
        return self.frames - held

    def past(self, state: State) -> Checkpoint:
        """The same place, one stage further on."""
        return replace(self, states=(*self.states, state))
