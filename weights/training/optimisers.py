"""Ranger, the paper's optimiser: rectified Adam (Liu et al. 2019), with Lookahead around it.

Rectified Adam is torch's. Lookahead is short enough to stand here; the collections of optimisers
that have a Ranger add gradient centralisation to it, which the paper does not mention.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


class Lookahead:
    """Every few steps, come back part of the way (Zhang et al. 2019, algorithm 1).

    Args:
        inner: the optimiser that makes the steps.
        every: k, steps between two returns.
        share: α, how far the slow weights go toward the fast ones, 0..1.
    """

    def __init__(self, inner: torch.optim.Optimizer, *, every: int = 6, share: float = 0.5) -> None:
        self.inner = inner
        self.every, self.share = every, share
        self.steps = 0
        self.slow = [parameter.detach().clone() for parameter in self._parameters()]

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Those of the inner optimiser."""
        return self.inner.param_groups

    def zero_grad(self, set_to_none: bool = True) -> None:
        """As torch's optimisers do."""
        self.inner.zero_grad(set_to_none=set_to_none)

    @torch.no_grad()
    def step(self) -> None:
        """One step; every k-th also moves the slow weights and puts them in place."""
        self.inner.step()
        self.steps += 1
        if self.steps % self.every:
            return
        for slow, parameter in zip(self.slow, self._parameters(), strict=True):
            slow.lerp_(parameter, self.share)
            parameter.copy_(slow)

    def state_dict(self) -> dict[str, Any]:
        """Everything that resuming needs."""
        return {"inner": self.inner.state_dict(), "slow": self.slow, "steps": self.steps}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.inner.load_state_dict(saved["inner"])
        self.slow = [
            slow.to(parameter).clone()
            for slow, parameter in zip(saved["slow"], self._parameters(), strict=True)
        ]
        self.steps = saved["steps"]

    def _parameters(self) -> Iterable[Tensor]:
        return (p for group in self.inner.param_groups for p in group["params"])


Optimiser = torch.optim.Adam | Lookahead


def make_optimiser(kind: str, parameters: Iterable[nn.Parameter]) -> Optimiser:
    """`adam`, or `ranger`: rectified Adam with betas 0.95 and 0.999, inside Lookahead."""
    if kind == "ranger":
        return Lookahead(torch.optim.RAdam(parameters, betas=(0.95, 0.999)))
    return torch.optim.Adam(parameters, betas=(0.9, 0.99))
