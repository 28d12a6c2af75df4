"""A causal filter that keeps a matte still where the picture is still."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tpvideo.pipeline.checkpoint import State
from tpvideo.pipeline.errors import ConfigError
from tpvideo.pipeline.frame import Image

Matte = NDArray[np.float32]

STILL = 4.0
"""Levels (of 255) that noise and compression change in a still place; below, nothing moved."""

MOVED = 20.0
"""Levels from which a place has certainly changed and its past is worth nothing."""

LONGEST_KEEP = 0.92
"""Share of the past in a still place at full strength: a memory of about 12 frames."""

CUT = 32.0
"""Mean change of the whole picture, in levels, from which it is another shot."""


class SteadyMatte:
    """A recursive mean for each pixel, as long as the picture allows.

    Where the picture did not change the matte had no reason to, so what flickers there (hair,
    mostly) is averaged away. Where it changed, or where the network has changed its mind
    entirely, the new matte counts at once: a mean would leave a ghost.
    """

    def __init__(self, strength: float) -> None:
        """`strength` 0..1; 0 is off.

        Raises:
            ConfigError: the strength is out of range.
        """
        if not 0 <= strength <= 1:
            raise ConfigError(f"smoothing must be 0 to 1, got {strength}")
        self.strength = strength
        self._before: tuple[Matte, Matte] | None = None

    def forget(self) -> None:
        """Begin a new shot."""
        self._before = None

    def state(self) -> State:
        """What is remembered of the shot; see Stage.state."""
        if self._before is None:
            return {}
        seen, alpha = self._before
        return {"seen": seen, "alpha": alpha}

    def restore(self, state: State) -> None:
        """Go on from an earlier `state`."""
        self._before = (state["seen"], state["alpha"]) if state else None

    def __call__(self, picture: Image, alpha: Matte) -> Matte:
        """The next matte, steadied.

        Args:
            picture: [H, W, 3] what the matte was made from.
            alpha: [H, W], 0..1.

        Returns:
            [H, W], 0..1.
        """
        if self.strength == 0:
            return alpha
        seen = _three_by_three(picture)  # [3, H, W]
        if self._before is not None and self._before[0].shape == seen.shape:
            seen_before, alpha_before = self._before
            keep = self._keep(seen - seen_before, alpha - alpha_before)
            alpha = alpha + keep * (alpha_before - alpha)
            # The picture is remembered as long as the matte: slow motion adds up, and shows.
            seen += keep * (seen_before - seen)
        self._before = (seen, alpha)
        return alpha

    def _keep(self, motion: Matte, disagreement: Matte) -> Matte:
        """[H, W] share of the past in the next matte, from changes [3, H, W] and [H, W]."""
        change = np.abs(motion).max(axis=0)  # [H, W]
        if change.mean() > CUT:
            return np.zeros_like(change)
        stillness = np.clip((MOVED - change) / (MOVED - STILL), 0, 1)
        # Flicker is a small disagreement; a large one is news even where little has moved.
        agreement = 1 - np.clip(2 * np.abs(disagreement) - 1, 0, 1)
        keep: Matte = np.float32(LONGEST_KEEP * self.strength**0.5) * stillness * agreement
        return keep


def _three_by_three(picture: Image) -> Matte:
    """[3, H, W] means over 3x3 neighbours of [H, W, 3], edges repeated: noise is no motion."""
    height, width, _ = picture.shape
    padded = np.empty((3, height + 2, width + 2), np.uint16)  # whole numbers add up fastest
    padded[:, 1:-1, 1:-1] = picture.transpose(2, 0, 1)
    padded[:, 0], padded[:, -1] = padded[:, 1], padded[:, -2]
    padded[:, :, 0], padded[:, :, -1] = padded[:, :, 1], padded[:, :, -2]
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    means: Matte = (rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]) * np.float32(1 / 9)
    return means
