"""python -m tpvideo.weights.training CONFIG.toml: train the tri-plane model.

python -m tpvideo.weights.training pack NPZ_FOLDER VIEWS_FOLDER
python -m tpvideo.weights.training train CONFIG.toml [--minutes M] [--threads N]
python -m tpvideo.weights.training export CONFIG.toml FILE.safetensors
"""

from __future__ import annotations

import json
import logging
import subprocess
from pathlib import Path

import click
import torch

from tpvideo.weights import store
from tpvideo.weights.training.config import TrainingConfig
from tpvideo.weights.training.data import pack as pack_views
from tpvideo.weights.training.loop import Trainer


@click.group()
def main() -> None:
    """Train the tri-plane model on views of synthetic heads."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")


@main.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("views", type=click.Path(path_type=Path))
@click.option("--limit", type=int, default=None, help="Take the first N heads only.")
def pack(folder: Path, views: Path, limit: int | None) -> None:
    """Join the generator's npz files into arrays for training."""
    pack_views(folder, views, limit)


@main.command()
@click.argument("settings", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--minutes", type=float, default=None, help="Stop, resumable, after this long.")
@click.option("--threads", type=int, default=None, help="CPU threads.")
def train(settings: Path, minutes: float | None, threads: int | None) -> None:
    """Train, resuming from the checkpoint in the output folder where there is one."""
    if threads:
        torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    config = TrainingConfig.read(settings)
    trainer = Trainer(config, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    checkpoint = config.output / "checkpoint.pt"
    if checkpoint.exists():
        trainer.resume(checkpoint)
    trainer.run(deadline_s=None if minutes is None else 60 * minutes)


@main.command()
@click.argument("settings", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("target", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--scores", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def export(settings: Path, target: Path, scores: Path | None) -> None:
    """Write the averaged weights as a model file that the program loads."""
    config = TrainingConfig.read(settings)
    saved = torch.load(config.output / "checkpoint.pt", map_location="cpu", weights_only=True)
    metadata = {
        "samples": str(saved["samples"]),
        "seed": str(config.seed),
        "commit": _commit(),
        "settings": json.dumps({"phases": [phase.name for phase in config.phases]}),
    }
    if scores is not None:
        metadata["scores"] = scores.read_text()
    state = {
        name: value.half() if value.is_floating_point() else value
        for name, value in saved["average"].items()
    }
    store.save(target, state, config.model, metadata)


def _commit() -> str:
    found = subprocess.run(
        ["git", "rev-parse", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    )
    return found.stdout.strip() or "unknown"


if __name__ == "__main__":
    main()
