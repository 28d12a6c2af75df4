"""python -m tpvideo.weights.training CONFIG.toml: train the tri-plane model.

    python -m tpvideo.weights.training CONFIG.toml [--minutes M] [--threads N] [--resume FILE]
    python -m tpvideo.weights.training pack NPZ_FOLDER VIEWS_FOLDER
    python -m tpvideo.weights.training export CONFIG.toml FILE.safetensors

docs/training.md explains the settings and the other commands.
"""

from __future__ import annotations

import logging
from itertools import chain
from pathlib import Path

import click
import torch
from PIL import Image as Pillow

from tpvideo.pipeline.errors import ConfigError, TpvideoError
from tpvideo.stages.networks.uncertainty import UncertaintyNet
from tpvideo.weights import store
from tpvideo.weights.evaluation import figures
from tpvideo.weights.evaluation.heldout import HeldOut
from tpvideo.weights.evaluation.variants import tables
from tpvideo.weights.training import ablation, checkpoints, datasets, eg3d_folder
from tpvideo.weights.training.config import TrainingConfig
from tpvideo.weights.training.loop import Trainer
from tpvideo.weights.training.packed import pack as pack_views

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
ANY = click.Path(path_type=Path)


class Commands(click.Group):
    """Trains when the first word is no command but a file of settings; says errors in one line."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["train", *args]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except TpvideoError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=Commands)
def main() -> None:
    """Train the tri-plane model: CONFIG.toml [OPTIONS], or one of the commands below."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", force=True)


@main.command()
@click.argument("settings", type=FILE)
@click.option("--minutes", type=float, default=None, help="Stop, resumable, after this long.")
@click.option("--threads", type=click.IntRange(min=1), default=None, help="CPU threads.")
@click.option("--resume", type=FILE, default=None, help="Go on from this checkpoint.")
@click.option("--set", "changes", multiple=True, help="table.name=VALUE instead of the file's.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
def train(
    settings: Path,
    minutes: float | None,
    threads: int | None,
    resume: Path | None,
    changes: tuple[str, ...],
    device: str,
) -> None:
    """Train, from --resume, else from the checkpoint in the output folder where there is one."""
    if threads:
        torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    config = TrainingConfig.read(settings, changes)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    trainer = Trainer(config, torch.device(device))
    own = config.output / "checkpoint.pt"
    try:
        if resume is not None or own.exists():
            trainer.resume(resume or own)
        trainer.run(deadline_s=None if minutes is None else 60 * minutes)
    finally:
        trainer.close()


@main.command()
@click.argument("variants", type=FILE)
@click.argument("heads", type=FOLDER)
@click.option("--limit", type=click.IntRange(min=2), default=None, help="Score the first N heads.")
@click.option("--threads", type=click.IntRange(min=1), default=None, help="CPU threads.")
@click.option("--set", "changes", multiple=True, help="table.name=VALUE in all variants.")
@click.option("--against", default=None, metavar="NAME", help="Reference; the first variant.")
@click.option("--sheet", type=ANY, default=None, help="Show some heads by each variant, as PNG.")
def ablate(
    variants: Path,
    heads: Path,
    limit: int | None,
    threads: int | None,
    changes: tuple[str, ...],
    against: str | None,
    sheet: Path | None,
) -> None:
    """Train every variant of a file (see ablations.toml), score it on the held-out heads (npz
    files) in HEADS, and print a table; what was scored before is not trained again."""
    if threads:
        torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    listed = ablation.read(variants, changes)
    held_out = HeldOut.read(heads, limit)
    rows = list(chain(*ablation.run(listed, held_out)))
    click.echo(tables(rows, against or listed[0].name))
    if sheet is not None:
        networks = (ablation.saved(variant.config) for variant in listed)
        Pillow.fromarray(figures.beside(networks, held_out)).save(sheet)


@main.command()
@click.argument("checkpoint", type=FILE)
@click.argument("heads", type=FOLDER)
@click.argument("picture", type=ANY)
def uncertainty(checkpoint: Path, heads: Path, picture: Path) -> None:
    """Show how far the σ network of a run's CHECKPOINT believes in the mirror images of the first
    held-out heads (npz files) in HEADS, as PICTURE."""
    network = UncertaintyNet()
    state = checkpoints.read(checkpoint).get("uncertainty")
    if state is None:
        raise ConfigError(f"{checkpoint} has no σ network: its run had no mirror loss")
    store.fit(network, state, checkpoint)
    sheet, (least, most) = figures.uncertainties(network, HeldOut.read(heads, figures.SHOWN))
    Pillow.fromarray(sheet).save(picture)
    click.echo(f"σ from {least:.3f} (black) to {most:.3f} (white)")


@main.command()
@click.argument("heads", type=FOLDER)
@click.argument("folder", type=ANY)
@click.option("--views", type=click.IntRange(min=1), default=1, help="Of each head.")
@click.option("--limit", type=int, default=None, help="Take the first N heads only.")
@click.option("--shift", type=float, default=0.0, metavar="SHARE", help="Move pictures off their "
              "cameras to the right, by a share of their side.")  # fmt: skip
def photographs(heads: Path, folder: Path, views: int, limit: int | None, shift: float) -> None:
    """Write the generator's npz files in HEADS as a folder in EG3D's format, with depths."""
    pictures = eg3d_folder.of_heads(heads, views=views, most=limit)
    eg3d_folder.write((eg3d_folder.shifted(picture, shift) for picture in pictures), folder)


@main.command()
@click.argument("model")
@click.argument("dataset", type=FOLDER)
@click.argument("folder", type=ANY)
@click.option("--count", type=click.IntRange(min=1), default=1000, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
def samples(model: str, dataset: Path, folder: Path, count: int, seed: int) -> None:
    """Draw heads from MODEL's own generator before the cameras of DATASET, and write them as a
    folder in EG3D's format."""
    network, _ = store.load(model)
    source = datasets.open_plain(dataset, network, seed=seed)
    eg3d_folder.write(eg3d_folder.of_generator(network, source, count, seed), folder)


@main.command()
@click.argument("folder", type=FOLDER)
@click.argument("views", type=ANY)
@click.option("--limit", type=int, default=None, help="Take the first N heads only.")
def pack(folder: Path, views: Path, limit: int | None) -> None:
    """Join the generator's npz files into arrays for training."""
    pack_views(folder, views, limit)


@main.command()
@click.argument("settings", type=FILE)
@click.argument("target", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--checkpoint", type=FILE, default=None, help="Instead of the output folder's.")
@click.option("--scores", type=FILE, default=None, help="Text that goes into the file's header.")
def export(settings: Path, target: Path, checkpoint: Path | None, scores: Path | None) -> None:
    """Write the averaged weights as a model file that the program loads."""
    config = TrainingConfig.read(settings)
    source = checkpoint or config.output / "checkpoint.pt"
    checkpoints.export(config, source, target, None if scores is None else scores.read_text())


@main.command()
@click.argument("checkpoint", type=FILE)
@click.argument("target", type=ANY)
def light(checkpoint: Path, target: Path) -> None:
    """Write a checkpoint of a quarter of the size, without the optimiser's state."""
    checkpoints.lighten(checkpoint, target)


@main.command()
@click.argument("file", type=FILE)
@click.argument("folder", type=ANY)
@click.option("--mib", type=float, default=15.5, show_default=True, help="Largest piece.")
def split(file: Path, folder: Path, mib: float) -> None:
    """Cut a file into pieces NAME.000, NAME.001, ... in FOLDER."""
    checkpoints.split(file, folder, int(mib * 2**20))


@main.command()
@click.argument("folder", type=FOLDER)
@click.argument("target", type=ANY)
def join(folder: Path, target: Path) -> None:
    """Put the pieces TARGET.000, TARGET.001, ... of FOLDER together again."""
    checkpoints.join(folder, target)


if __name__ == "__main__":
    main()
