"""A network that learns to tell renderings from pictures, and the term for deceiving it.

The paper trains without one; Live 3D Portrait (Trevithick et al. 2023) has one. The losses are the
non-saturating logistic ones (Goodfellow et al. 2014) with R1, the squared gradient at real
pictures (Mescheder et al. 2018), every few steps as StyleGAN2's paper has it.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tpvideo.stages.networks.discriminator import Discriminator
from tpvideo.weights.training.config import AdversaryConfig


class Adversary:
    """The discriminator, its optimiser and its count of steps; all of it in `state_dict`.

    Args:
        config: its settings.
        channels: of the pictures that it judges.
    """

    def __init__(self, config: AdversaryConfig, channels: int) -> None:
        self.config = config
        self.network = Discriminator(channels, config.widths)
        self.optimiser = torch.optim.Adam(
            self.network.parameters(), lr=config.rate, betas=(0.0, 0.99)
        )
        self.steps = 0

    def to(self, device: torch.device) -> None:
        """Move the network."""
        self.network.to(device)

    def __call__(self, rendered: Tensor, real: Tensor) -> Tensor:
        """Learn from one batch, then judge its renderings.

        Args:
            rendered, real: [B, C, H, W], -1..1, float32.

        Returns:
            Scalar, 0 for renderings that pass for real; its gradient reaches `rendered` alone.
        """
        self.network.requires_grad_(True)
        self.optimiser.zero_grad(set_to_none=True)
        self._loss(rendered.detach(), real).backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        self.steps += 1
        self.network.requires_grad_(False)
        return F.softplus(-self.network(rendered)).mean()

    def _loss(self, rendered: Tensor, real: Tensor) -> Tensor:
        is_due = bool(self.config.r1) and self.steps % self.config.r1_every == 0
        real = real.detach().requires_grad_(is_due)
        said = self.network(real)
        loss = F.softplus(self.network(rendered)).mean() + F.softplus(-said).mean()
        if is_due:
            slope = torch.autograd.grad(said.sum(), real, create_graph=True)[0]
            penalty = slope.square().sum(dim=(1, 2, 3)).mean()
            loss = loss + self.config.r1 / 2 * self.config.r1_every * penalty
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Everything that resuming needs."""
        return {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "steps": self.steps,
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.network.load_state_dict(saved["network"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.steps = saved["steps"]
