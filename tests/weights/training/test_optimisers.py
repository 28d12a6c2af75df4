from __future__ import annotations

import torch
from torch import nn

from tpvideo.weights.training.optimisers import Lookahead, make_optimiser


def test_every_kth_step_comes_back_half_way() -> None:
    parameter = nn.Parameter(torch.zeros(1))
    optimiser = Lookahead(torch.optim.SGD([parameter], lr=1.0), every=3, share=0.5)
    seen = []
    for _ in range(6):
        parameter.grad = torch.tensor([-1.0])  # each plain step adds one
        optimiser.step()
        seen.append(parameter.item())
    assert seen == [1, 2, 1.5, 2.5, 3.5, 3.0]  # 0 + (3 - 0)/2, then 1.5 + (4.5 - 1.5)/2


def test_held_parameters_stay_exactly() -> None:
    held, free = (nn.Parameter(torch.full((1,), 0.1)) for _ in range(2))
    optimiser = make_optimiser("ranger", [held, free])
    for _ in range(7):
        free.grad = torch.ones(1)
        optimiser.step()
    assert held.item() == torch.tensor(0.1).item() and free.item() != held.item()


def test_ranger_resumes_exactly_between_two_returns() -> None:
    def run(
        steps: int, state: dict[str, object] | None = None, start: float = 1.0
    ) -> tuple[nn.Parameter, Lookahead]:
        parameter = nn.Parameter(torch.tensor([start]))
        optimiser = make_optimiser("ranger", [parameter])
        assert isinstance(optimiser, Lookahead)
        if state is not None:
            optimiser.load_state_dict(state)
        for _ in range(steps):
            optimiser.zero_grad()
            (parameter**2).sum().backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        return parameter, optimiser

    whole, _ = run(11)
    half, optimiser = run(4)
    resumed, _ = run(7, optimiser.state_dict(), half.item())
    assert torch.equal(resumed, whole) and not torch.equal(resumed, half)
