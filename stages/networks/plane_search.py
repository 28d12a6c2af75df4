"""Tri-planes by optimisation: appendix D of the paper, "tri-plane opt."."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tpvideo.stages.networks.inverters import Subject, Watch, network_of
from tpvideo.stages.networks.likeness import Likeness
from tpvideo.stages.networks.pseudo_views import led_round
from tpvideo.stages.networks.triplanenet import Inversion

TRIES = 20
"""Gradients that one step of L-BFGS takes; 50 steps are the paper's 1K."""
HELD_YAWS_RAD = (-0.6, 0.6)
"""Turns from the crop's camera at which the planes are held to the first branch."""
HOLD = 1.0
"""Factor of that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneSearch:
    """Change the planes themselves by L-BFGS, as far as the first branch's picture allows.

    The paper holds the result by the "discrepancy with the first branch prediction" and does not
    say from which camera. In the crop's own view that would only pull against the crop, so here it
    is taken at two cameras led round the head, where the crop says little; at half the size.

    Args:
        likeness: what is minimised, of the crop and of the held views.
        steps: of L-BFGS, TRIES gradients each.
    """

    likeness: Likeness
    steps: int = 50
    watch: Watch | None = None

    def __call__(self, subject: Subject, before: Inversion | None) -> Inversion:
        """The same latents with other planes."""
        assert before is not None
        decoder = network_of(subject, before).decoder
        ws = before.ws
        label = subject.label if before.labels is None else before.labels
        cameras = torch.cat([led_round(label, yaw) for yaw in HELD_YAWS_RAD])

        def held(planes: Tensor) -> Tensor:
            count = len(cameras)
            both = planes.expand(count, -1, -1, -1), ws.expand(count, -1, -1)
            image = decoder.render(*both, cameras, side=decoder.raw_side // 2, fine=False).image
            return image[:, :3]

        wanted = held(before.planes)
        planes = before.planes.clone().requires_grad_()
        search = torch.optim.LBFGS(
            [planes], max_iter=TRIES, max_eval=TRIES, line_search_fn="strong_wolfe"
        )

        def closure() -> Tensor:
            search.zero_grad()
            seen = decoder.render(planes, ws, label).image
            loss: Tensor = self.likeness(seen, subject.crop).sum()
            loss = loss + HOLD * self.likeness(held(planes), wanted).mean()
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        with torch.enable_grad():
            for step in range(self.steps):
                loss = search.step(closure)  # type: ignore[no-untyped-call]
                if self.watch is not None:
                    self.watch("planes", step + 1, self.steps, float(loss.detach()))
        return before._replace(planes=planes.detach())
