from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from balls import save_balls
from tiny import SIZES
from torch import Tensor

from tpvideo.weights.training.config import Phase, TrainingConfig
from tpvideo.weights.training.loop import Trainer
from tpvideo.weights.training.packed import pack

FIRST = Phase(name="first", samples=8, rate=1e-3)
SECOND = Phase(name="second", samples=8, rate=1e-3, first=False, second=True)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("balls")
    pack(save_balls(folder / "npz", 2), folder / "views")
    return folder / "views"


def settings(views: Path, output: Path, **changes: Any) -> TrainingConfig:
    """Two phases of four steps each; four times the volume's side are the views' 64 pixels."""
    fixed: dict[str, Any] = {
        "views": views,
        "output": output,
        "model": SIZES,
        "phases": (FIRST, SECOND),
        "batch": 2,
        "points": 32,
        "patch": 8,
        "look_steps": 0,
    }
    return TrainingConfig(**{**fixed, **changes})


def snapshot(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in state.items()}


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    """The top-level parts, decoder split once more, of which some tensor differs."""
    names = [name for name, value in after.items() if not torch.equal(value, before[name])]
    return {".".join(name.split(".")[: 2 if name.startswith("decoder.") else 1]) for name in names}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    different = [name for name, value in expected.items() if not torch.equal(found[name], value)]
    assert found.keys() == expected.keys() and not different


@pytest.mark.parametrize(
    ("phase", "learning"),
    [
        (
            FIRST,
            {"psp_encoder", "decoder.backbone", "decoder.decoder", "decoder.superresolution"},
        ),
        (SECOND, {"triplanenet_encoder", "decoder.decoder", "decoder.superresolution"}),
    ],
    ids=["first", "second"],
)
def test_only_what_a_phase_teaches_moves(
    views: Path, tmp_path: Path, phase: Phase, learning: set[str]
) -> None:
    trainer = Trainer(settings(views, tmp_path, phases=(phase,)), CPU)
    before = snapshot(trainer.network.state_dict())
    for _ in range(2):  # an offset U-Net that starts at identity moves at its end first
        trainer.step(phase)
    assert changed(before, trainer.network.state_dict()) == learning


def test_a_branch_held_after_it_learnt_does_not_move(views: Path, tmp_path: Path) -> None:
    trainer = Trainer(settings(views, tmp_path), CPU)
    trainer.step(FIRST)
    before = snapshot(trainer.network.state_dict())
    trainer.step(SECOND)
    moved = changed(before, trainer.network.state_dict())
    assert not moved & {"psp_encoder", "decoder.backbone", "latent_avg"}


def test_training_lowers_the_loss(views: Path, tmp_path: Path) -> None:
    """Always of the same heads, views and squares: how hard a sample is differs more than that."""
    phase = replace(FIRST, samples=10_000, rate=0.2, final=1.0)  # warm-up divides it by 100
    trainer = Trainer(settings(views, tmp_path, phases=(phase,)), CPU)
    sample, places = trainer.views.state, trainer.random.get_state()

    def step() -> float:
        trainer.views.state = sample
        trainer.random.set_state(places)
        return sum(term.weight * term.value.item() for term in trainer.step(phase).values())

    losses = [step() for _ in range(12)]
    assert losses[-1] < 0.8 * losses[0]


def test_a_resumed_run_goes_on_bit_for_bit(views: Path, tmp_path: Path) -> None:
    """Across the change of phases: stopped after three steps of four, then three more."""
    config = settings(views, tmp_path)
    whole = Trainer(config, CPU)
    for _ in range(3):
        whole.step(whole.phase() or FIRST)
    path = whole.save()
    resumed = Trainer(config, CPU)
    resumed.resume(path)
    assert resumed.samples == 6
    for _ in range(3):
        phase, again = whole.phase(), resumed.phase()
        assert phase is not None and phase == again
        terms, found = whole.step(phase), resumed.step(phase)
        assert {k: v.value.item() for k, v in terms.items()} == {
            k: v.value.item() for k, v in found.items()
        }
    assert phase is SECOND
    assert_same(resumed.network.state_dict(), whole.network.state_dict())
    assert_same(resumed.average, whole.average)
    batch, found_batch = whole.views.batch(2), resumed.views.batch(2)
    assert all(torch.equal(a, b) for a, b in zip(found_batch[:5], batch[:5], strict=True))
    assert torch.equal(whole.random.get_state(), resumed.random.get_state())


def test_the_same_settings_train_the_same_network(views: Path, tmp_path: Path) -> None:
    runs = [Trainer(settings(views, tmp_path), CPU) for _ in range(2)]
    for run in runs:
        run.step(FIRST)
    assert_same(runs[0].network.state_dict(), runs[1].network.state_dict())
    other = Trainer(settings(views, tmp_path, seed=1), CPU)
    assert changed(runs[0].network.state_dict(), other.network.state_dict())


def test_a_run_goes_through_its_phases_and_leaves_a_whole_checkpoint(
    views: Path, tmp_path: Path
) -> None:
    short = (replace(FIRST, samples=2), replace(SECOND, samples=2))
    trainer = Trainer(settings(views, tmp_path / "out", phases=short), CPU)
    trainer.run()
    assert trainer.samples == 4 and trainer.phase() is None
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert left - {"board"} == {"checkpoint.pt"}  # the board's where tensorboard is installed
    saved = torch.load(tmp_path / "out/checkpoint.pt", weights_only=True)
    assert saved["samples"] == 4
    assert_same(saved["network"], dict(trainer.network.state_dict()))


def test_a_deadline_stops_a_run_that_can_be_resumed(views: Path, tmp_path: Path) -> None:
    trainer = Trainer(settings(views, tmp_path), CPU)
    trainer.run(deadline_s=0.0)
    assert trainer.samples < 16
    Trainer(trainer.config, CPU).resume(tmp_path / "checkpoint.pt")


def test_the_rate_warms_up_and_decays_within_its_phase(views: Path, tmp_path: Path) -> None:
    slow = Phase(name="slow", samples=800, rate=1e-2, final=0.5)
    last = Phase(name="last", samples=800, rate=4e-2, final=0.5)
    trainer = Trainer(settings(views, tmp_path, phases=(slow, last)), CPU)

    def rate_at(samples: int) -> float:
        trainer.samples = samples
        phase = trainer.phase()
        assert phase is not None
        return trainer._learning_rate(phase)

    assert rate_at(0) == pytest.approx(1e-2 / 100)
    assert rate_at(98) == pytest.approx(1e-2 * 50 / 100 * (1 - 0.5 * 98 / 800))
    assert rate_at(400) == pytest.approx(1e-2 * 0.75)
    assert rate_at(800) == pytest.approx(4e-2 / 100)
    assert rate_at(1200) == pytest.approx(4e-2 * 0.75)


def test_the_average_follows_the_network(views: Path, tmp_path: Path) -> None:
    trainer = Trainer(settings(views, tmp_path, ema=0.9), CPU)
    name = "decoder.decoder.net.2.weight"
    before = trainer.average[name].clone()
    trainer.step(FIRST)
    decay = min(0.9, (1 + 2) / (100 * 2 + 2))  # short at first
    expected = before + (1 - decay) * (trainer.network.state_dict()[name] - before)
    torch.testing.assert_close(trainer.average[name], expected)
