"""What a step of training sees, and where batches come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor


class Geometry(NamedTuple):
    """What is known of the target views of rendered heads."""

    depths: Tensor
    """[B, 1, T/2, T/2] depth along the optical axis of the target view; 0 where empty."""
    surface: Tensor
    """[B, P, 3] world points on what the target view sees."""
    toward: Tensor
    """[B, P, 3] unit vectors from those points to the camera."""
    colours: Tensor
    """[B, P, 3] their colours, 0..1."""
    empty: Tensor
    """[B, P, 3] world points that the target view sees through."""


class Batch(NamedTuple):
    """Inputs and targets of B heads; the last two only where a dataset has them."""

    images: Tensor
    """[B, 3, S, S] input views, -1..1, with the flaws of real footage; on black where a matte is
    known."""
    labels: Tensor
    """[B, 25] their cameras."""
    truth: Tensor
    """[B, 3, S, S] the same views without flaws, -1..1."""
    targets: Tensor
    """[B, 3 or 4, T, T] other (sometimes the same) views: RGB, -1..1; premultiplied, with alpha as
    the fourth channel, where a matte is known."""
    target_labels: Tensor
    """[B, 25]."""
    geometry: Geometry | None = None
    deviations: Tensor | None = None
    """[B, 1, S, S] how far the mirrored inputs may be from the truth (the paper's σ), > 0."""

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        geometry = self.geometry and Geometry(*(part.to(device) for part in self.geometry))
        deviations = None if self.deviations is None else self.deviations.to(device)
        images, labels, truth, targets, target_labels = (part.to(device) for part in self[:5])
        return Batch(images, labels, truth, targets, target_labels, geometry, deviations)


class HeldOut(NamedTuple):
    """Views for scores: N heads, each with an input and V targets that do not change."""

    images: Tensor
    """[N, 3, S, S], -1..1."""
    labels: Tensor
    """[N, 25]."""
    targets: Tensor
    """[N, V, 3 or 4, T, T], as in Batch."""
    target_labels: Tensor
    """[N, V, 25]."""


class Sampler(Protocol):
    """A dataset and the random state of the draws from it."""

    def __len__(self) -> int: ...

    def batch(self, size: int) -> Batch:
        """The next batch of `size` heads."""

    def held_out(self, count: int) -> HeldOut:
        """The first `count` heads as they are, for scores."""

    @property
    def state(self) -> dict[str, Any]:
        """What resumes the draws exactly, when set again."""

    @state.setter
    def state(self, saved: dict[str, Any]) -> None: ...


class Mixture:
    """Several datasets as one: each batch is drawn from one of them.

    Args:
        samplers: at least one.
        shares: probability of each, adding up to 1.
        seed: of the choice between them.
    """

    def __init__(self, samplers: Sequence[Sampler], shares: Sequence[float], seed: int) -> None:
        self.samplers = tuple(samplers)
        self.shares = tuple(shares)
        self.random = np.random.default_rng([seed, 7])

    def __len__(self) -> int:
        return sum(len(sampler) for sampler in self.samplers)

    def batch(self, size: int) -> Batch:
        """The next batch, all of it from one dataset."""
        return self.samplers[self.random.choice(len(self.samplers), p=self.shares)].batch(size)

    def held_out(self, count: int) -> HeldOut:
        """Of the first dataset."""
        return self.samplers[0].held_out(count)

    @property
    def state(self) -> dict[str, Any]:
        """What resumes the draws exactly."""
        own = self.random.bit_generator.state
        return {"mixture": own, "samplers": [sampler.state for sampler in self.samplers]}

    @state.setter
    def state(self, saved: dict[str, Any]) -> None:
        self.random.bit_generator.state = saved["mixture"]
        for sampler, state in zip(self.samplers, saved["samplers"], strict=True):
            sampler.state = state
