"""The answer of an inversion's first branch, kept for some frames of a shot.

Latents say who somebody is and in which light, and hardly change from frame to frame; the second
branch compares what they draw with every frame and corrects it. So most frames need the second
branch alone, a third less work (docs/performance.md has the difference).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tpvideo.pipeline.checkpoint import State
from tpvideo.pipeline.errors import ConfigError
from tpvideo.stages.networks.triplanenet import TriPlaneNet
from tpvideo.stages.replay import replayed


class FirstAnswer(NamedTuple):
    """What the first branch says of a picture."""

    latents: Tensor
    """[1, L, D]."""
    planes: Tensor
    """[1, 3 C, H, W]."""


class FirstBranch:
    """Answers for one frame after another, and looks at every n-th.

    Args:
        network: in evaluation mode.
        every: n; 1 looks at every frame.

    Raises:
        ConfigError: n is below 1.
    """

    def __init__(self, network: TriPlaneNet, every: int) -> None:
        if every < 1:
            raise ConfigError(f"the first branch looks at every n-th frame, n >= 1, got {every}")
        device = network.latent_avg.device
        self._encode = replayed("invert", network.encode, device)
        self._draw_planes = replayed("invert", network.decoder.planes, device)
        self._device = device
        self.every = every
        self.forget()

    def forget(self) -> None:
        """Begin a new shot: the next frame is looked at."""
        self._age = 0  # frames since the first branch looked, that one included
        self._latents: Tensor | None = None  # [1, L, D]
        self._answer: FirstAnswer | None = None

    def state(self) -> State:
        """What is kept; see Stage.state."""
        if self._latents is None:
            return {}
        return {"age": self._age, "latents": self._latents.cpu().numpy().copy()}

    def restore(self, state: State) -> None:
        """Go on from an earlier `state`."""
        self.forget()
        if state:
            latents = np.asarray(state["latents"], np.float32)
            self._latents = torch.from_numpy(latents).to(self._device)
            self._age = int(state["age"])

    def __call__(self, picture: Callable[[], Tensor]) -> FirstAnswer:
        """The answer for the next frame.

        Args:
            picture: [1, 3, side, side] of it, as TriPlaneNet.invert takes it; called where it is
                looked at.
        """
        if self._latents is None or self._age >= self.every:
            self.forget()
            self._latents = self._encode(picture())
        if self._answer is None:
            self._answer = FirstAnswer(self._latents, self._draw_planes(self._latents))
        self._age += 1
        return self._answer


def together(answers: Sequence[FirstAnswer]) -> FirstAnswer:
    """[B, ...] of B answers; one for all of them is not copied."""
    first = answers[0]
    if all(answer is first for answer in answers):
        count = len(answers)
        return FirstAnswer(*(each.expand(count, *each.shape[1:]) for each in first))
    return FirstAnswer(*(torch.cat(parts) for parts in zip(*answers, strict=True)))
