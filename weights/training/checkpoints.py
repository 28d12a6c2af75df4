"""What leaves a run: model files, and checkpoints small enough to travel."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tpvideo.pipeline.errors import ConfigError, InputError
from tpvideo.weights import store
from tpvideo.weights.training.config import TrainingConfig


def read(path: Path) -> dict[str, Any]:
    """A checkpoint of the trainer, on the CPU.

    Raises:
        InputError: there is none, or it is something else.
    """
    try:
        saved: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises most of Python's own for a file that is damaged
        raise InputError(path, f"no checkpoint of a training run ({error})") from error
    if not isinstance(saved, dict) or "average" not in saved:
        raise InputError(path, "no checkpoint of a training run")
    return saved


def export(config: TrainingConfig, checkpoint: Path, target: Path, scores: str | None) -> None:
    """Write the averaged weights in float16 as a model file that the program loads.

    Its header says how it was made: seed, commit, settings, samples, hours, processor, scores.
    """
    saved = read(checkpoint)
    metadata = {
        "samples": str(saved["samples"]),
        "seed": str(config.seed),
        "commit": commit(),
        "settings": saved.get("settings")
        or json.dumps({"phases": [p.name for p in config.phases]}),
        "hours": f"{saved.get('seconds', 0.0) / 3600:.2f}",
        "machine": str(saved.get("machine", "")),
    }
    if scores is not None:
        metadata["scores"] = scores
    elif saved.get("scores"):
        metadata["scores"] = json.dumps(saved["scores"])
    store.save(target, halved(saved["average"]), config.model, metadata)


def lighten(source: Path, target: Path) -> None:
    """A quarter of a checkpoint: weights and their average in float16, no state of the optimiser.
    A run resumed from it warms up anew, a discriminator begins anew; it does not go on bit for
    bit."""
    saved = read(source)
    for name in ("optimiser", "adversary"):
        saved.pop(name, None)
    for name in ("network", "average"):
        saved[name] = halved(saved[name])
    part = target.with_name(target.name + ".part")
    torch.save(saved, part)
    part.replace(target)


def split(source: Path, folder: Path, piece_bytes: int) -> list[Path]:
    """Cut a file into NAME.000, NAME.001, ... of at most `piece_bytes`; `join` reverses it."""
    if piece_bytes < 1:
        raise ConfigError(f"a piece must have at least one byte, got {piece_bytes}")
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    with open(source, "rb") as file:
        while piece := file.read(piece_bytes):
            path = folder / f"{source.name}.{len(written):03d}"
            path.write_bytes(piece)
            written.append(path)
    return written


def join(folder: Path, target: Path) -> None:
    """Put the pieces of `target`'s name in a folder together again.

    Raises:
        InputError: there are none, or one is missing.
    """
    pieces = sorted(folder.glob(f"{target.name}.[0-9][0-9][0-9]"))
    if [int(piece.suffix[1:]) for piece in pieces] != list(range(len(pieces))) or not pieces:
        raise InputError(folder, f"the pieces {target.name}.000, .001, ... are not all there")
    part = target.with_name(target.name + ".part")
    with open(part, "wb") as file:
        for piece in pieces:
            file.write(piece.read_bytes())
    part.replace(target)


def halved(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, floating-point ones in float16."""
    return {
        name: value.half() if value.is_floating_point() else value for name, value in state.items()
    }


def commit() -> str:
    """The checkout's commit; `unknown` outside one."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            check=False,
            cwd=Path(__file__).parent,
        )
    except OSError:  # no git on this machine
        return "unknown"
    return found.stdout.strip() or "unknown"
