"""`tpvideo weights`: list, fetch, import and check model files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from tpvideo.pipeline.errors import WeightsError
from tpvideo.weights import folder, manifest
from tpvideo.weights.manifest import ModelFile


@click.group()
def weights() -> None:
    """The model files: what there is, what is here, what it may be used for."""


@weights.command("list")
def list_files() -> None:
    """Name every known model file, and whether it is here."""
    for model in manifest.known().values():
        where = "shipped" if model.kind == "shipped" else "here" if model.is_here else "-"
        click.echo(f"{model.name:26} {where:8} {_size(model):>9}  {model.about}")
    own = {model.path.name for model in manifest.known().values()}
    directory = folder.directory()
    for path in sorted(directory.glob("*")) if directory.is_dir() else []:
        if path.suffix in {".safetensors", ".onnx"} and path.name not in own:
            click.echo(f"{path.stem:26} {'yours':8} {_mib(path.stat().st_size):>9}  {path}")


@weights.command()
@click.argument("name")
@click.option("--accept-licence", is_flag=True, help="Agree to the licence without being asked.")
@click.option("--quiet", is_flag=True, help="No progress.")
def pull(name: str, accept_licence: bool, quiet: bool) -> None:
    """Fetch the model file NAME, and convert it where that is needed."""
    model = manifest.entry(name)
    if model.kind == "shipped":
        click.echo(f"{name} comes with the package: {model.path}")
        return
    for needed in model.after:
        if not manifest.entry(needed).is_here:
            _pull(manifest.entry(needed), accept_licence, quiet)
    _pull(model, accept_licence, quiet)


def _pull(model: ModelFile, accept_licence: bool, quiet: bool) -> None:
    if model.is_here:
        click.echo(f"{model.name} is here: {model.path}")
        return
    if model.accept and not _is_agreed(model, accept_licence):
        raise WeightsError(f"{model.name} was not fetched: its licence was not accepted")
    from tpvideo.weights import download

    folder.directory().mkdir(parents=True, exist_ok=True)
    target = folder.directory() / (model.original or model.file)
    with _bytes_shown(model.name, quiet) as progress:
        download.fetch(model, target, progress)
    if model.members:
        download.unpack(model, target)
        click.echo(f"{model.name} is here: {model.path}")
        return
    if model.original is None:
        manifest.record(target.name, manifest.sha256_of(target))
        click.echo(f"{model.name} is here: {target}")
        return
    from tpvideo.weights import convert

    result = convert.import_file(target, name=model.name)
    target.unlink()  # its numbers are in the converted file
    click.echo(f"{model.name} is here: {result}")


def _is_agreed(model: ModelFile, accepted: bool) -> bool:
    """Whether the user agrees to a licence, now or earlier."""
    click.echo(f"{model.name}: {model.licence}", err=True)
    agreement = folder.directory() / "accepted" / model.name
    if agreement.is_file():
        return True
    try:
        if not accepted and not click.confirm("Do you accept this licence?", err=True):
            return False
    except click.Abort:  # nobody is there to ask
        return False
    agreement.parent.mkdir(parents=True, exist_ok=True)
    agreement.write_text(model.licence + "\n", "utf-8")
    return True


@weights.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", help="Call the result this; by default it is named by what it is.")
@click.option(
    "--use-w-avg",
    is_flag=True,
    help="Without EG3D's own file, take the generator's running average for the average latent.",
)
@click.option("--accept-licence", is_flag=True, help="Agree to the licence without being asked.")
def import_(file: Path, name: str | None, use_w_avg: bool, accept_licence: bool) -> None:
    """Convert FILE, a checkpoint of EG3D (.pth, .pkl) or TriPlaneNet (.pt), to a model file.

    Nothing inside FILE is executed. Every key and shape is checked.
    """
    from tpvideo.weights import convert

    target = convert.import_file(file, name=name, use_w_avg=use_w_avg)
    model = manifest.known().get(target.stem)
    if model is not None and model.accept and not _is_agreed(model, accept_licence):
        target.unlink()
        raise WeightsError(f"{model.name} was not imported: its licence was not accepted")
    click.echo(f"{target.stem} is here: {target}")


@weights.command()
@click.argument("names", nargs=-1)
def verify(names: tuple[str, ...]) -> None:
    """Read the model files that are here and compare them with their known hashes."""
    models = [manifest.entry(name) for name in names] or list(manifest.known().values())
    damaged = []
    for model in models:
        state = manifest.health(model)
        if state != "missing" or names:
            click.echo(f"{model.name:26} {state}")
        if state == "damaged" or (names and state == "missing"):
            damaged.append(model.name)
    if damaged:
        raise WeightsError(
            f"not well: {', '.join(damaged)}; delete the file in {folder.directory()} if it is "
            f"there and get it again with `tpvideo weights pull NAME`"
        )


@weights.command("path")
@click.argument("name", required=False)
def path_(name: str | None) -> None:
    """Print where model files are, or where the file of NAME is."""
    if name is None:
        click.echo(folder.directory())
    elif name in manifest.known() and manifest.known()[name].is_here:
        click.echo(manifest.known()[name].path)
    else:
        click.echo(folder.find(name))


@weights.command()
@click.argument("name")
def licence(name: str) -> None:
    """Say what the model file NAME may be used for."""
    click.echo(manifest.entry(name).licence)


def _size(model: ModelFile) -> str:
    if model.path.is_file():
        return _mib(model.path.stat().st_size)
    return _mib(model.bytes) if model.bytes else "?"


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"


@contextmanager
def _bytes_shown(name: str, quiet: bool) -> Iterator[Callable[[int, int | None], object]]:
    """A progress bar on standard error, where that is a terminal."""
    console = Console(stderr=True)
    bar = Progress(
        TextColumn(name),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=quiet or not console.is_terminal,
    )
    with bar:
        task = bar.add_task(name, total=None)
        yield lambda here, total: bar.update(task, completed=here, total=total)
