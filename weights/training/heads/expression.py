"""What a face does: weights of the pack's expression modes (ARKit's names)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.random import Generator

from tpvideo.weights.training.heads.pack import SIDES, Pack

Expression = Mapping[str, float]
"""Weight, 0..1, of each mode that is not at rest."""

_GAZE = ("eyeLookOut", "eyeLookIn", "eyeLookUp", "eyeLookDown")


def draw_expression(pack: Pack, rng: Generator) -> dict[str, float]:
    """A new expression from the generator's next draws: mostly talking, smiling or at rest."""
    return _Sketch(rng).draw(pack)


def set_gaze(weights: dict[str, float], across: float, up: float) -> None:
    """Turn both eyes, in place: across > 0 toward the person's own left (+x), about 0.6 rad at 1;
    up > 0 upward, about 0.5 rad at 1."""
    for side in SIDES:
        for name in _GAZE:
            weights.pop(name + side, None)
    outward, inward = ("_L", "_R") if across > 0 else ("_R", "_L")
    weights["eyeLookOut" + outward] = weights["eyeLookIn" + inward] = abs(float(across))
    vertical = "eyeLookUp" if up > 0 else "eyeLookDown"
    weights[vertical + "_L"] = weights[vertical + "_R"] = abs(float(up))


class _Sketch:
    """An expression being put together."""

    def __init__(self, rng: Generator) -> None:
        self.rng = rng
        self.weights: dict[str, float] = {}

    def draw(self, pack: Pack) -> dict[str, float]:
        rng = self.rng
        kinds = ["neutral", "talk", "smile", "emotion", "random"]
        kind = str(rng.choice(kinds, p=[0.2, 0.35, 0.22, 0.13, 0.1]))
        if kind == "talk":
            self.sound(str(rng.choice(["a", "e", "o", "u", "m", "f", "s"])))
        if kind == "smile" or (kind == "talk" and rng.random() < 0.25):
            self.smile()
        if kind == "emotion":
            self.emotion(str(rng.choice(["sad", "angry", "surprise", "disgust"])))
        if kind == "random":
            names = [name for name in pack.expressions if not name.startswith("eyeLook")]
            for name in rng.choice(names, 6, replace=False):
                self.weights[str(name)] = float(rng.uniform(0, 0.5))
        self.both("browInnerUp", max(0, rng.normal(0, 0.15)))
        self.both("browOuterUp", max(0, rng.normal(0, 0.15)))
        self.both("browDown", max(0, rng.normal(0, 0.12)))
        blink = rng.random()
        if blink < 0.06:
            self.both("eyeBlink", rng.uniform(0.85, 1))
        elif blink < 0.25:
            self.both("eyeBlink", rng.uniform(0.1, 0.45))
        across = np.clip(rng.normal(0, 0.28), -0.8, 0.8)
        set_gaze(self.weights, across, np.clip(rng.normal(-0.02, 0.18), -0.5, 0.5))
        known = pack.expression_index
        return {k: min(v, 1.0) for k, v in self.weights.items() if k in known and v > 0}

    def both(self, name: str, value: float) -> None:
        """Add to the left and the right mode, not quite evenly."""
        skew = self.rng.normal(0, 0.08)
        for side, amount in zip(SIDES, (value + skew, value - skew), strict=True):
            before = self.weights.get(name + side, 0)
            self.weights[name + side] = before + float(np.clip(amount, 0, 1))

    def one(self, name: str, value: float) -> None:
        """Add to a mode that has no sides."""
        self.weights[name] = self.weights.get(name, 0) + float(np.clip(value, 0, 1))

    def sound(self, sound: str) -> None:
        uniform = self.rng.uniform
        if sound == "a":
            self.one("jawOpen", uniform(0.25, 0.7))
        elif sound == "e":
            self.one("jawOpen", uniform(0.1, 0.3))
            self.both("mouthStretch", uniform(0.2, 0.5))
            self.both("mouthUpperUp", uniform(0, 0.4))
            self.both("mouthLowerDown", uniform(0.1, 0.5))
        elif sound == "o":
            self.one("jawOpen", uniform(0.2, 0.5))
            self.one("mouthFunnel", uniform(0.3, 0.8))
        elif sound == "u":
            self.one("jawOpen", uniform(0.05, 0.2))
            self.one("mouthPucker", uniform(0.4, 0.9))
        elif sound == "m":
            self.both("mouthPress", uniform(0.1, 0.6))
            self.one("mouthRollLower", uniform(0, 0.3))
        elif sound == "f":
            self.one("mouthRollLower", uniform(0.2, 0.6))
            self.both("mouthUpperUp", uniform(0.1, 0.4))
        elif sound == "s":
            self.both("mouthStretch", uniform(0.1, 0.4))
            self.one("jawOpen", uniform(0.03, 0.12))
            self.both("mouthLowerDown", uniform(0.1, 0.4))

    def smile(self) -> None:
        uniform, normal = self.rng.uniform, self.rng.normal
        width = uniform(0.25, 1)
        self.both("mouthSmile", width)
        self.both("cheekSquint", width * uniform(0.2, 0.8))
        self.both("eyeSquint", width * uniform(0, 0.5))
        self.one("jawOpen", max(0, normal(0.02, 0.12)))
        self.both("mouthUpperUp", max(0, normal(0.1, 0.25)))
        self.both("mouthDimple", uniform(0, 0.4))

    def emotion(self, emotion: str) -> None:
        uniform = self.rng.uniform
        if emotion == "sad":
            self.both("browInnerUp", uniform(0.4, 1))
            self.both("mouthFrown", uniform(0.3, 0.9))
            self.one("mouthShrugLower", uniform(0, 0.5))
        elif emotion == "angry":
            self.both("browDown", uniform(0.4, 1))
            self.both("eyeSquint", uniform(0.1, 0.5))
            self.both("mouthPress", uniform(0, 0.6))
            self.both("noseSneer", uniform(0, 0.5))
        elif emotion == "surprise":
            self.both("browInnerUp", uniform(0.5, 1))
            self.both("browOuterUp", uniform(0.5, 1))
            self.both("eyeWide", uniform(0.3, 0.9))
            self.one("jawOpen", uniform(0.1, 0.6))
        elif emotion == "disgust":
            self.both("noseSneer", uniform(0.4, 1))
            self.both("mouthUpperUp", uniform(0.2, 0.7))
            self.both("browDown", uniform(0.1, 0.6))
