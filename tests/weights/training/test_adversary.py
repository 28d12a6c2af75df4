from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from balls import save_balls
from tiny import SIZES
from torch import Tensor, nn

from tpvideo.pipeline.errors import ConfigError
from tpvideo.weights.training import checkpoints
from tpvideo.weights.training.adversary import Adversary
from tpvideo.weights.training.config import AdversaryConfig, Phase, TrainingConfig
from tpvideo.weights.training.loop import Trainer
from tpvideo.weights.training.packed import pack

CPU = torch.device("cpu")
PHASE = Phase(name="adversarial", samples=100, rate=1e-3, adversarial=0.1)


class Mean(nn.Module):
    """Says twice the sum of a picture's pixels and nothing about its parts."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(2.0))

    def forward(self, pictures: Tensor) -> Tensor:
        return self.slope * pictures.sum(dim=(1, 2, 3), keepdim=True)


def test_the_losses_are_the_published_ones() -> None:
    """One pixel: logits 2 x, so that the gradient at a real picture is 2 everywhere."""
    adversary = Adversary(AdversaryConfig(r1=0.5, r1_every=3), channels=1)
    adversary.network = Mean()  # type: ignore[assignment]
    rendered, real = torch.full((1, 1, 1, 1), -0.25), torch.full((1, 1, 1, 1), 0.5)
    plain = math.log1p(math.exp(-0.5)) + math.log1p(math.exp(-1.0))
    penalty = 0.5 / 2 * 3 * 2**2
    found = []
    for steps in range(4):
        adversary.steps = steps
        found.append(adversary._loss(rendered, real).item())
    assert found == pytest.approx([plain + penalty, plain, plain, plain + penalty])
    adversary.optimiser = torch.optim.SGD(adversary.network.parameters(), lr=0.0)  # type: ignore[assignment]
    assert adversary(rendered, real).item() == pytest.approx(math.log1p(math.exp(0.5)))


def test_it_learns_to_tell_renderings_from_pictures() -> None:
    torch.manual_seed(0)
    adversary = Adversary(AdversaryConfig(widths=(8, 8)), channels=3)
    flat, striped = torch.zeros(2, 3, 16, 16), torch.ones(2, 3, 16, 16)
    striped[:, :, ::2] = -1
    for _ in range(60):
        deceit = adversary(flat, striped)
    assert adversary.steps == 60
    assert (adversary.network(striped) > 0).all() and (adversary.network(flat) < 0).all()
    assert deceit.item() > math.log(2)  # worse than a guess


def test_the_term_teaches_the_renderer_alone() -> None:
    torch.manual_seed(0)
    adversary = Adversary(AdversaryConfig(widths=(8, 8)), channels=3)
    rendered = torch.zeros(2, 3, 16, 16, requires_grad=True)
    deceit = adversary(rendered, torch.ones(2, 3, 16, 16))
    learnt = [parameter.clone() for parameter in adversary.network.parameters()]
    gradients = [parameter.grad for parameter in adversary.network.parameters()]
    before = [gradient.clone() for gradient in gradients if gradient is not None]
    deceit.backward()  # type: ignore[no-untyped-call]
    assert rendered.grad is not None and rendered.grad.abs().max() > 0
    for parameter, old, gradient in zip(
        adversary.network.parameters(), learnt, before, strict=True
    ):
        assert torch.equal(parameter, old)
        assert parameter.grad is not None and torch.equal(parameter.grad, gradient)


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("balls")
    pack(save_balls(folder / "npz", 2), folder / "views")
    return folder / "views"


def settings(views: Path, output: Path, **changes: Any) -> TrainingConfig:
    fixed: dict[str, Any] = {
        "views": views,
        "output": output,
        "model": SIZES,
        "phases": (PHASE,),
        "batch": 2,
        "points": 16,
        "patch": 8,
        "look_steps": 0,
        "adversary": AdversaryConfig(widths=(8, 8), r1_every=2),
    }
    return TrainingConfig(**{**fixed, **changes})


def test_an_adversarial_phase_trains_both_and_resumes_bit_for_bit(
    views: Path, tmp_path: Path
) -> None:
    config = settings(views, tmp_path)
    whole = Trainer(config, CPU)
    terms = whole.step(PHASE)
    assert terms["adversarial"].weight == 0.1 and terms["adversarial"].value > 0
    path = whole.save()
    resumed = Trainer(config, CPU)
    resumed.resume(path)
    for _ in range(2):
        whole.step(PHASE)
        resumed.step(PHASE)
    assert whole.adversary is not None and resumed.adversary is not None
    assert resumed.adversary.steps == whole.adversary.steps == 3
    for one, other in (
        (whole.network, resumed.network),
        (whole.adversary.network, resumed.adversary.network),
    ):
        for name, value in one.state_dict().items():
            assert torch.equal(other.state_dict()[name], value), name


def test_phases_without_the_term_have_no_discriminator(views: Path, tmp_path: Path) -> None:
    plain = replace(PHASE, adversarial=0.0)
    assert Trainer(settings(views, tmp_path, phases=(plain,)), CPU).adversary is None
    trainer = Trainer(settings(views, tmp_path, phases=(plain, PHASE)), CPU)
    assert "adversarial" not in trainer.step(plain)
    assert trainer.adversary is not None and trainer.adversary.steps == 0


def test_a_light_checkpoint_has_no_discriminator_and_goes_on(views: Path, tmp_path: Path) -> None:
    config = settings(views, tmp_path)
    trainer = Trainer(config, CPU)
    trainer.step(PHASE)
    checkpoints.lighten(trainer.save(), tmp_path / "light.pt")
    resumed = Trainer(config, CPU)
    resumed.resume(tmp_path / "light.pt")
    assert resumed.adversary is not None and resumed.adversary.steps == 0
    resumed.step(PHASE)


def test_settings_of_the_adversary_are_read_and_checked(views: Path, tmp_path: Path) -> None:
    table = {
        "views": "v", "output": "o", "model": SIZES,
        "phases": [{"name": "one", "samples": 4, "rate": 1e-3, "adversarial": 0.05}],
        "adversary": {"rate": 2e-3, "widths": [16, 32]},
    }  # fmt: skip
    config = TrainingConfig.parse(table, "here")
    assert config.adversary == AdversaryConfig(rate=2e-3, widths=(16, 32))
    assert config.is_adversarial
    with pytest.raises(ConfigError, match="squares are too small"):
        settings(views, tmp_path, patch=5, adversary=AdversaryConfig())
    with pytest.raises(ConfigError, match="the rate must be positive"):
        AdversaryConfig(rate=0.0)
