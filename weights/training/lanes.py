"""Batches prepared ahead of time, side by side, in an order that can be resumed exactly."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

from tpvideo.weights.training.batch import Batch, HeldOut, Sampler


class _Made(NamedTuple):
    batch: Batch
    state: dict[str, Any]
    """Of the lane's sampler behind it."""


class Lanes:
    """Several samplers of one dataset, each with a thread that prepares its next batch; batches
    are handed out in turn. A GPU waits less; with one lane nothing would be gained by it.

    Args:
        samplers: at least one, of different seeds.
        size: of every batch.
    """

    def __init__(self, samplers: Sequence[Sampler], size: int) -> None:
        self.samplers = tuple(samplers)
        self.size = size
        self.turn = 0
        self.states = [sampler.state for sampler in self.samplers]
        self.pool = ThreadPoolExecutor(len(self.samplers), thread_name_prefix="lane")
        self.coming: list[Future[_Made]] = []

    def __len__(self) -> int:
        return len(self.samplers[0])

    def batch(self, size: int) -> Batch:
        """The next batch; `size` is the size of all of them."""
        assert size == self.size
        if not self.coming:
            self.coming = [self.pool.submit(self._make, sampler) for sampler in self.samplers]
        lane = self.turn
        made = self.coming[lane].result()
        self.states[lane] = made.state
        self.coming[lane] = self.pool.submit(self._make, self.samplers[lane])
        self.turn = (lane + 1) % len(self.samplers)
        return made.batch

    def _make(self, sampler: Sampler) -> _Made:
        batch = sampler.batch(self.size)
        return _Made(batch, sampler.state)

    def held_out(self, count: int) -> HeldOut:
        """As any of the samplers has them."""
        return self.samplers[0].held_out(count)

    @property
    def state(self) -> dict[str, Any]:
        """What resumes the draws exactly: where each lane stood behind its last batch handed
        out. What is prepared and not handed out is made again."""
        return {"turn": self.turn, "lanes": list(self.states)}

    @state.setter
    def state(self, saved: dict[str, Any]) -> None:
        for future in self.coming:
            future.result()
        self.coming = []
        self.turn = saved["turn"]
        self.states = list(saved["lanes"])
        for sampler, state in zip(self.samplers, self.states, strict=True):
            sampler.state = state

    def close(self) -> None:
        """End the threads; what is being prepared is lost."""
        self.pool.shutdown(cancel_futures=True)
