"""What an earlier frame saw of a head stands in for what is hidden of it now.

Of every shot the frames are kept that saw the head furthest from its left and from its right. When
it turns, the one that saw the side now hidden tells which colours belong there; detail.py lays them
on. Coherent3D (CVPR 2025) argues for such a reference; there, trained networks fuse it into the
planes. An average of the planes, weighted by what each frame saw, was tried and gained nothing; see
docs/steadiness.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from tpvideo.pipeline.checkpoint import State
from tpvideo.pipeline.errors import ConfigError
from tpvideo.pipeline.frame import Earlier, Face, Head
from tpvideo.stages import geometry, pixels
from tpvideo.stages.detail import Recalled

FURTHEST_RAD = 0.9
"""Yaw beyond which a frame shows too little of a face to be remembered."""

NEAR_RAD = 0.05
"""A frame that comes so near to the furthest is as good, and newer."""

TURNED_RAD = 0.3
"""How much further off one kept frame must be than the other to count in full. In between it fades,
so that nothing jumps where the one takes over from the other."""

LEAST_CONFIDENCE = 0.5
"""A frame below it is not remembered."""


class HeadMemory:
    """The two frames of a shot that saw the head furthest from either side.

    Args:
        smooth: strength, 0 (off) to 1; from 0.5 on, the remembered counts in full.

    Raises:
        ConfigError: the strength is out of range.
    """

    def __init__(self, smooth: float) -> None:
        if not 0 <= smooth <= 1:
            raise ConfigError(f"smoothing must be between 0 and 1, got {smooth}")
        self.smooth = smooth
        self.forget()

    def forget(self) -> None:
        """Begin a new shot."""
        self._left: Face | None = None  # seen from about the least yaw of the shot
        self._right: Face | None = None  # and from about the greatest
        self._yaws_rad = (math.inf, -math.inf)  # these two

    def state(self) -> State:
        """What is remembered of the shot; see Stage.state."""
        if self._left is None or self._right is None:
            return {}
        sides = {"left": _as_state(self._left), "right": _as_state(self._right)}
        return {**sides, "yaws_rad": list(self._yaws_rad)}

    def restore(self, state: State) -> None:
        """Go on from an earlier `state`."""
        self.forget()
        if state:
            self._left, self._right = Face(**state["left"]), Face(**state["right"])
            least, most = state["yaws_rad"]
            self._yaws_rad = least, most

    def __call__(self, face: Face) -> Earlier | None:
        """Take in the next face of the shot; which earlier one saw the side that is hidden now."""
        smooth = self.smooth  # a knob may turn meanwhile
        if smooth == 0:
            self.forget()
            return None
        self._learn(face)
        if self._left is None or self._right is None:
            return None
        least, most = self._yaws_rad
        past_middle = 2 * _yaw(face) - least - most  # from the one end less from the other
        further = self._left if past_middle > 0 else self._right
        share = min(1.0, abs(past_middle) / TURNED_RAD) * min(1.0, 2 * smooth)
        return Earlier(further, share) if share > 0 else None

    def _learn(self, face: Face) -> None:
        yaw = _yaw(face)
        if face.confidence < LEAST_CONFIDENCE or abs(yaw) > FURTHEST_RAD:
            return
        kept = replace(face, room=None)
        least, most = self._yaws_rad
        if yaw < least + NEAR_RAD:
            self._left = kept
        if yaw > most - NEAR_RAD:
            self._right = kept
        self._yaws_rad = min(least, yaw), max(most, yaw)


def recalled(heads: Sequence[Head], faces: Sequence[Face], device: torch.device) -> Recalled | None:
    """What is remembered of B heads for detail.sharpen; None where it is nothing.

    Args:
        heads: with what they remember.
        faces: the same heads' own frames.
    """
    if all(head.earlier is None for head in heads):
        return None
    earlier = [head.earlier or Earlier(face, 0.0) for head, face in zip(heads, faces, strict=True)]
    shares = np.array([each.share for each in earlier], np.float32)
    return Recalled(
        crops=[each.face.crop for each in earlier],
        mattes=[each.face.alpha for each in earlier],
        labels=pixels.to_rows([each.face.camera for each in earlier], device),
        shares=pixels.to_rows(list(shares), device)[:, None, None, None],
    )


def _yaw(face: Face) -> float:
    return geometry.angles(face.camera[:16].reshape(4, 4))[0]


def _as_state(face: Face) -> State:
    return {
        "crop": face.crop,
        "alpha": face.alpha,
        "camera": face.camera,
        "image_from_crop": face.image_from_crop,
        "confidence": float(face.confidence),
    }
