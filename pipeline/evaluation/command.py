"""`tpvideo eval --model NAME PATHS...`: tables of what a model is worth."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from tpvideo.pipeline import config, progress
from tpvideo.pipeline.errors import ConfigError, InputError
from tpvideo.pipeline.options import (
    FACE_MODEL,
    MATTING,
    MODEL,
    PRECISION,
)

if TYPE_CHECKING:
    from tpvideo.pipeline import app
    from tpvideo.weights.evaluation.report import Finding

Kind = Literal["heads", "scan", "eg3d", "clip"]


@click.command("eval", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@MODEL
@click.option(
    "--limit", type=click.IntRange(min=1), help="Heads, cameras, pictures or frames of each path."
)
@click.option("--csv", "as_csv", type=click.Path(path_type=Path), help="Write every picture's row.")
@click.option("--json", "as_json", type=click.Path(path_type=Path), help="Write everything.")
@click.option("--sheet", type=click.Path(path_type=Path), help="Write some pictures as one PNG.")
@click.option(
    "--method",
    "methods",
    metavar="A,B,...|all",
    help="Compare these inverters on held-out heads: docs/inversion.md.",
)
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="With --method: gradients that an optimisation takes.",
)
@PRECISION
@MATTING
@FACE_MODEL
def evaluate(
    paths: tuple[Path, ...],
    limit: int | None,
    as_csv: Path | None,
    as_json: Path | None,
    sheet: Path | None,
    methods: str | None,
    steps: int,
    **settings: Any,
) -> None:
    """Score a model on each of PATHS, on the CPU, and print Markdown tables.

    \b
    A path is one of
      a folder of held-out heads    *.npz of the head generator
      a scan with its cameras       cameras.json, the stills that it names, one .glb
      a folder in EG3D's format     dataset.json with labels of 25 numbers
      a clip or a photograph        shown again from its own camera

    docs/evaluation.md says what each number is.
    """
    kinds = [kind_of(path) for path in paths]
    # As the paper's same view: what each frame shows, from where it was taken, on black.
    chosen = config.Settings(view="follow", background="black", device="cpu", **settings)
    with progress.notices(shown=True):
        judge = _judge(chosen, methods, steps)
        findings = []
        for path, kind in zip(paths, kinds, strict=True):
            finding = judge(path, kind, limit)
            click.echo(f"{finding}\n")
            findings.append(finding)
    _write(findings, chosen, as_csv, as_json, sheet)


def _judge(
    settings: config.Settings, methods: str | None, steps: int
) -> Callable[[Path, Kind, int | None], Finding]:
    if methods is None:
        return Judge.load(settings)
    from tpvideo.pipeline.evaluation.comparison import Comparison

    return Comparison.load(settings.model, methods, steps)


def kind_of(path: Path) -> Kind:
    """What a path holds.

    Raises:
        InputError: it is not there.
        ConfigError: it is a folder of nothing that is known.
    """
    if path.is_file():
        return "clip"
    if not path.is_dir():
        raise InputError(path, "no such file or folder")
    if (path / "cameras.json").is_file():
        return "scan"
    if (path / "dataset.json").is_file():
        return "eg3d"
    if any(path.glob("*.npz")):
        return "heads"
    raise ConfigError(
        f"{path} holds nothing to score: neither held-out heads (*.npz), nor a scan "
        "(cameras.json), nor a folder in EG3D's format (dataset.json)"
    )


@dataclass(frozen=True, slots=True)
class Judge:
    """The networks, loaded once."""

    settings: config.Settings
    machine: app.Machine
    networks: app.Networks

    @classmethod
    def load(cls, settings: config.Settings) -> Judge:
        """As for a run with these settings."""
        from tpvideo.pipeline import app

        machine = app.pick_machine(settings)
        app.share_cores()
        networks = app.load_networks(settings, machine)
        return cls(settings, app.working_machine(machine, networks), networks)

    def __call__(self, path: Path, kind: Kind, limit: int | None) -> Finding:
        """What is found of one path."""
        from tpvideo.pipeline.evaluation import clip
        from tpvideo.weights.evaluation import heldout, photographs, scan

        network = self.networks.triplane
        if kind == "heads":
            return heldout.evaluate(network, path, limit)
        if kind == "eg3d":
            return photographs.evaluate(network, path, limit)
        run = (self.settings, self.machine, self.networks)
        if kind == "scan":
            return scan.evaluate(network, path, lambda still: clip.face_in(still, *run), limit)
        return clip.evaluate(path, *run, most=limit)


def _write(
    findings: list[Finding],
    settings: config.Settings,
    as_csv: Path | None,
    as_json: Path | None,
    sheet: Path | None,
) -> None:
    from tpvideo.weights.evaluation import report

    if as_csv is not None:
        report.write_csv(findings, as_csv)
    if as_json is not None:
        about = {
            "tpvideo": version("tpvideo"),
            "model": settings.model,
            "date": date.today().isoformat(),
            "machine": f"{platform.machine()} {platform.system()}",
        }
        report.write_json(findings, about, as_json)
    if sheet is not None:
        report.write_sheet(findings, sheet)
