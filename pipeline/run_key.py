"""What must be as it was for an interrupted run to be continued."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from tpvideo.pipeline.config import Settings
from tpvideo.pipeline.record import settings_as_json, sha256_of

LIBRARIES = ("tpvideo", "av", "numpy", "onnxruntime", "Pillow", "torch")
"""Whose versions may change a bit of a picture."""

NO_MATTER = frozenset(
    {"overwrite", "resume", "queue", "batch_size", "device", "precision"}
    | {"max_pixels", "max_frames", "stall_timeout_s"}
)
"""Settings that change no picture, or that the machine's own entries stand for."""


def run_key(
    source: Path, settings: Settings, machine: Mapping[str, Any], models: Mapping[str, Path]
) -> dict[str, str]:
    """Everything that decides what a film becomes, each in words, by its name.

    The source and the models count by their content, so that renamed or copied files are the same.

    Args:
        source: the video.
        settings: of the run.
        machine: device, precision and batch that the settings came to.
        models: the model files, by purpose.
    """
    key = {"source": identity(source)}
    key |= {f"{purpose} file": identity(path) for purpose, path in models.items()}
    for name, value in settings_as_json(settings).items():
        if name not in NO_MATTER:
            key[name.removesuffix("_rad").replace("_", "-")] = str(value)
    key |= {name: str(value) for name, value in machine.items()}
    # Sums are taken in another order where the work is shared among more, or fewer.
    key["share of the processor"] = f"{torch.get_num_threads()} of {os.cpu_count()} cores"
    key |= {f"version of {name}": version(name) for name in LIBRARIES}
    return key


def identity(path: Path) -> str:
    """Length and content of a file, in words."""
    if not path.is_file():
        return "missing"
    state = path.stat()
    return _identity(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=64)  # a batch asks for the same models with every source
def _identity(path: Path, length: int, _time: int) -> str:
    return f"{length} bytes (SHA-256 {sha256_of(path)[:32]})"
