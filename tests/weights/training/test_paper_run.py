"""The paper's losses and schedule on both kinds of dataset, at a size that a test can take."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from balls import save_balls
from eg3d_folder import save_folder
from tiny import SIZES

from tpvideo.pipeline.errors import ConfigError, WeightsError
from tpvideo.stages.networks.triplanenet import TriPlaneNet
from tpvideo.weights import store
from tpvideo.weights.training.config import PaperWeights, Share, TrainingConfig
from tpvideo.weights.training.loop import Trainer
from tpvideo.weights.training.packed import pack

CPU = torch.device("cpu")
ROOT = Path(__file__).resolve().parents[3]
NAMES = ["first", "both", "second"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_folder(tmp_path_factory.mktemp("eg3d"), confidence=False)


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("balls")
    pack(save_balls(made / "npz", 2), made / "views")
    return made / "views"


@pytest.fixture(autouse=True)
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TPVIDEO_WEIGHTS", str(tmp_path / "weights"))


def published(folder: Path, output: Path, **changes: Any) -> TrainingConfig:
    """ffhq512.toml with another folder, another model, two steps a phase, and nothing to load."""
    config = TrainingConfig.read(ROOT / "weights/training/ffhq512.toml")
    phases = tuple(replace(phase, samples=4) for phase in config.phases)
    assert config.paper is not None
    fixed: dict[str, Any] = {
        "views": folder, "output": output, "model": {**SIZES, "image_channels": 3}, "batch": 2,
        "phases": phases, "further": (), "start": "", "trunks": "", "look_steps": 0,
        "paper": replace(config.paper, side=32),
    }  # fmt: skip
    return replace(config, **{**fixed, **changes})


def test_the_published_settings_are_the_papers() -> None:
    config = TrainingConfig.read(ROOT / "weights/training/ffhq512.toml")
    assert config.paper == PaperWeights()
    ends = [phase.samples // config.batch for phase in config.phases]
    assert [sum(ends[: n + 1]) for n in range(3)] == [20_000, 500_000, 1_500_000]
    assert [(p.first, p.second, p.generator) for p in config.phases] == [
        (True, False, False), (True, True, False), (False, True, False),
    ]  # fmt: skip
    assert {(p.rate, p.final) for p in config.phases} == {(1e-4, 1.0)}
    with torch.device("meta"):
        TriPlaneNet(**config.model)  # the published sizes


def test_the_published_settings_take_steps_on_a_folder_of_photographs(
    folder: Path, tmp_path: Path
) -> None:
    trainer = Trainer(published(folder, tmp_path), CPU)
    before = {k: v.clone() for k, v in trainer.network.state_dict().items()}
    terms = []
    while (phase := trainer.phase()) is not None:
        terms.append(set(trainer.step(phase)))
    first = {"first pixel", "first mirror pixel", "first uncertainty"}
    second = {name.replace("first", "second") for name in first}
    assert terms == [first, first, first | second, first | second, second, second]
    after = trainer.network.state_dict()
    moved = {k.split(".")[0] for k, v in after.items() if not torch.equal(v, before[k])}
    assert moved == {"psp_encoder", "triplanenet_encoder"}  # never the generator


def test_a_run_on_photographs_shows_and_scores_held_out_ones(folder: Path, tmp_path: Path) -> None:
    config = published(folder, tmp_path, held_out=folder, look_steps=2)
    phases = tuple(replace(phase, samples=2) for phase in config.phases)
    trainer = Trainer(replace(config, phases=phases), CPU)
    trainer.run()
    assert trainer.samples == 6 and set(trainer.scores) == {"psnr", "ssim"}
    names = sorted(path.name for path in tmp_path.glob("sheet-*.png"))
    assert names == ["sheet-00000004.png", "sheet-00000006.png"]


def test_the_same_losses_run_on_our_own_views_beside_the_known_ones(
    views: Path, tmp_path: Path
) -> None:
    loss = replace(TrainingConfig.read(ROOT / "weights/training/default.toml").loss, alpha=0.0)
    config = published(views, tmp_path, loss=loss, patch=8, points=16)
    trainer = Trainer(config, CPU)
    names = set(trainer.step(config.phases[1]))
    assert {"first pixel", "second pixel", "image", "depth", "opaque"} < names
    assert "alpha" not in names  # factor 0


def test_a_run_with_ranger_and_the_map_resumes_bit_for_bit(folder: Path, tmp_path: Path) -> None:
    config = published(folder, tmp_path)
    whole = Trainer(config, CPU)
    for _ in range(3):
        whole.step(whole.phase() or config.phases[0])
    path = whole.save()
    resumed = Trainer(config, CPU)
    resumed.resume(path)
    for _ in range(3):
        phase = whole.phase()
        assert phase is not None and phase == resumed.phase()
        whole.step(phase)
        resumed.step(phase)
    for name, value in whole.network.state_dict().items():
        assert torch.equal(resumed.network.state_dict()[name], value), name
    assert whole.paper_terms is not None and resumed.paper_terms is not None
    pairs = zip(
        whole.paper_terms.state_dict().items(),
        resumed.paper_terms.state_dict().items(),
        strict=True,
    )
    assert all(a == b and torch.equal(v, w) for (a, v), (b, w) in pairs)


def test_several_folders_are_drawn_from_by_their_shares(
    folder: Path, views: Path, tmp_path: Path
) -> None:
    config = published(folder, tmp_path, further=(Share(folder=views, share=0.5),))
    trainer = Trainer(config, CPU)
    state = trainer.views.state
    kinds = [trainer.views.batch(2).geometry is None for _ in range(12)]
    assert {True, False} == set(kinds) and len(trainer.views) == 4 + 2
    trainer.views.state = state
    assert [trainer.views.batch(2).geometry is None for _ in range(12)] == kinds


def test_a_run_starts_from_a_model_where_its_tensors_fit(
    folder: Path, views: Path, tmp_path: Path
) -> None:
    torch.manual_seed(7)
    model = {**SIZES, "image_channels": 3}
    other = TriPlaneNet(**model)
    store.save(tmp_path / "other.safetensors", other.state_dict(), model)
    start = str(tmp_path / "other.safetensors")
    trainer = Trainer(published(folder, tmp_path / "out", start=start), CPU)
    for name, value in other.state_dict().items():
        assert torch.equal(trainer.network.state_dict()[name], value), name
    surface = torch.full((SIZES["side"], SIZES["side"]), 0.125)
    model = {**model, "canonical": True}
    canonical = {**other.state_dict(), "surface": surface}
    store.save(tmp_path / "other.safetensors", canonical, model)
    trainer = Trainer(published(views, tmp_path / "out", start=start, model=model), CPU)
    assert torch.equal(trainer.network.surface, surface)  # not that of these views
    with pytest.raises(WeightsError, match=r"trunks = 'ir-se50' needs .*model_ir_se50.pth"):
        Trainer(published(folder, tmp_path / "out", trunks="ir-se50"), CPU)


def test_what_does_not_fit_is_said(folder: Path, views: Path, tmp_path: Path) -> None:
    model = {**SIZES, "raw_side": 32}
    with pytest.raises(ConfigError, match=r"views of 64 pixels, .* raw_side to 16, .*--size 128"):
        Trainer(published(views, tmp_path, model=model), CPU)
    with pytest.raises(ConfigError, match="canonical = true needs a mean head"):
        Trainer(published(folder, tmp_path, model={**SIZES, "canonical": True}), CPU)
    with pytest.raises(ConfigError, match=r"\[model\] builds no network: .*bogus"):
        Trainer(published(folder, tmp_path, model={"bogus": 1}), CPU)
    silent = Trainer(published(folder, tmp_path, paper=None), CPU)
    with pytest.raises(ConfigError, match="leave no loss term"):
        silent.step(silent.config.phases[0])
    path = silent.save()
    other = Trainer(published(folder, tmp_path, model={**SIZES, "style_dim": 32}), CPU)
    with pytest.raises(ConfigError, match="holds another model than the settings"):
        other.resume(path)


def test_odd_widths_fall_back_to_float32(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = {**SIZES, "superres_widths": [16, 12]}
    trainer = Trainer(published(folder, tmp_path, model=model, precision="bfloat16"), CPU)
    assert trainer.dtype == torch.float32
    assert "no multiple of 8 (superres_widths=12)" in caplog.text
