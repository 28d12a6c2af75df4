from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from balls import save_balls
from click.testing import CliRunner
from PIL import Image
from tiny import SIZES

from tpvideo.pipeline.errors import ConfigError, InputError
from tpvideo.weights import store
from tpvideo.weights.training import checkpoints
from tpvideo.weights.training.__main__ import main
from tpvideo.weights.training.config import Phase, TrainingConfig
from tpvideo.weights.training.loop import Trainer
from tpvideo.weights.training.packed import pack

CPU = torch.device("cpu")

SETTINGS = """
views = "{folder}/views"
held_out = "{folder}/held"
output = "{folder}/out"
batch = 2
points = 16
patch = 8
look_steps = 2
keep_samples = 4
[[phases]]
name = "one"
samples = 8
rate = 1e-3
second = true
[model]
"""


def toml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else json.dumps(value)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with views, held-out views, settings, and the run of those settings."""
    folder = tmp_path_factory.mktemp("run")
    pack(save_balls(folder / "npz", 3), folder / "views")
    pack(folder / "npz", folder / "held", limit=2)
    tables = {key: value for key, value in SIZES.items() if isinstance(value, dict)}
    plain = "".join(f"{k} = {toml(v)}\n" for k, v in SIZES.items() if k not in tables)
    nested = "".join(
        f"[model.{name}]\n" + "".join(f"{k} = {toml(v)}\n" for k, v in table.items())
        for name, table in tables.items()
    )
    (folder / "run.toml").write_text(SETTINGS.format(folder=folder) + plain + nested)
    result = CliRunner().invoke(main, [str(folder / "run.toml"), "--device", "cpu"])
    assert result.exit_code == 0, result.output
    return folder


def test_one_command_trains_and_shows_what_it_does(made: Path) -> None:
    out = made / "out"
    sheets = sorted(path.name for path in out.glob("sheet-*.png"))
    assert sheets == ["sheet-00000004.png", "sheet-00000008.png"]
    # Two heads; input, three turned views, one from the target's camera, the target; 64 pixels.
    with Image.open(out / sheets[-1]) as sheet:
        assert sheet.size == (6 * 64, 2 * 64)
    saved = checkpoints.read(out / "checkpoint.pt")
    assert saved["samples"] == 8 and set(saved["scores"]) == {"psnr", "ssim"}
    assert saved["seconds"] > 0 and "CPU" in saved["machine"]


def test_the_board_has_losses_scores_and_sheets(made: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs the training extra")
    (events,) = (made / "out/board").glob("events*")
    content = events.read_bytes()
    assert b"held out/psnr" in content and b"sheet" in content


def test_an_exported_model_says_how_it_was_made_and_runs(made: Path, tmp_path: Path) -> None:
    target = tmp_path / "model.safetensors"
    result = CliRunner().invoke(main, ["export", str(made / "run.toml"), str(target)])
    assert result.exit_code == 0, result.output
    config, header = store.header(target)
    assert config["raw_side"] == SIZES["raw_side"]
    assert header["samples"] == "8" and header["seed"] == "0" and len(header["commit"]) >= 7
    assert set(json.loads(header["scores"])) == {"psnr", "ssim"}
    again = TrainingConfig.parse(json.loads(header["settings"]), "the header")
    assert again == TrainingConfig.read(made / "run.toml")  # one file of settings reproduces it
    network, _ = store.load(target)
    assert network.side == SIZES["side"]


def test_a_run_goes_on_from_any_kept_checkpoint_bit_for_bit(made: Path, tmp_path: Path) -> None:
    """The last one is there after the whole run; the kept one is where half of it was done."""
    config = TrainingConfig.read(made / "run.toml")
    whole = Trainer(config, CPU)
    phase = config.phases[0]
    for _ in range(2):
        whole.step(phase)
    path = whole.save()
    kept = path.with_name("checkpoint-00000004.pt")
    for _ in range(2):
        whole.step(phase)
    whole.save()
    resumed = Trainer(config, CPU)
    resumed.resume(kept)
    for _ in range(2):
        resumed.step(phase)
    for name, value in whole.network.state_dict().items():
        assert torch.equal(resumed.network.state_dict()[name], value), name


def test_a_light_checkpoint_is_small_and_goes_on_with_a_new_warm_up(
    made: Path, tmp_path: Path
) -> None:
    source, target = made / "out/checkpoint.pt", tmp_path / "light.pt"
    result = CliRunner().invoke(main, ["light", str(source), str(target)])
    assert result.exit_code == 0, result.output
    assert target.stat().st_size < 0.4 * source.stat().st_size
    config = TrainingConfig.read(made / "run.toml")
    trainer = Trainer(config, CPU)
    trainer.resume(target)
    assert trainer.samples == 8
    assert trainer._learning_rate(Phase(name="x", samples=100, rate=1.0)) == pytest.approx(
        0.01,
        rel=0.1,  # the first of 100 steps of warm-up
    )


def test_pieces_are_put_together_again(tmp_path: Path) -> None:
    source = tmp_path / "file.bin"
    source.write_bytes(bytes(range(256)) * 9)
    pieces = checkpoints.split(source, tmp_path / "pieces", 1000)
    assert [piece.stat().st_size for piece in pieces] == [1000, 1000, 304]
    checkpoints.join(tmp_path / "pieces", tmp_path / "pieces/file.bin")
    assert (tmp_path / "pieces/file.bin").read_bytes() == source.read_bytes()
    pieces[1].unlink()
    with pytest.raises(InputError, match=r"the pieces file.bin.000, .001, ... are not all there"):
        checkpoints.join(tmp_path / "pieces", tmp_path / "file.bin")
    with pytest.raises(ConfigError, match="at least one byte"):
        checkpoints.split(source, tmp_path, 0)


def test_what_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "no.pt").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"no\.pt: no checkpoint of a training run"):
        checkpoints.read(tmp_path / "no.pt")
    torch.save({"a": 1}, tmp_path / "no.pt")
    with pytest.raises(InputError, match="no checkpoint of a training run"):
        checkpoints.read(tmp_path / "no.pt")


def test_errors_are_one_line_of_the_command(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text("views = 3")
    result = CliRunner().invoke(main, [str(tmp_path / "run.toml")])
    assert result.exit_code == 1 and result.output.startswith("Error: ")
    assert len(result.output.splitlines()) == 1
