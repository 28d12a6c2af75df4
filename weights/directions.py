"""Directions: what can be changed about a face, and the file that holds them.

A direction moves the latents, or the planes themselves. The file is safetensors: for a direction
in W a tensor NAME [L, D], for one in the planes NAME.maps [3, r, h, w] and NAME.mixes [3, C, r],
whose product it is, and for either NAME.motion [3, h, w] where it is known; all for strength 1, in
float16. Its header says which generator they are of:
to another one they mean nothing, so it is refused there.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tpvideo.pipeline.errors import ConfigError, WeightsError
from tpvideo.stages.networks.editing import Shift
from tpvideo.weights import folder

FORMAT = "tpvideo directions 1"
GENERATOR = "decoder."
"""Keys of the tensors that turn latents into planes and planes into pictures."""
ENDING = ".directions"
RANK = 4
"""Maps that a plane's direction is kept as; what they leave out is mostly noise of its finding."""

Space = Literal["latents", "planes"]


@dataclass(frozen=True, slots=True, eq=False)
class Direction:
    """One change."""

    space: Space
    """What is moved."""
    shift: Tensor
    """What strength 1 adds, float32: [L, D] to the latents, zero in layers that it leaves alone,
    or [3 C, h, w] to the planes."""
    about: str
    """How it was found, for people."""
    layers: tuple[int, int] | None = None
    """The first and the last layer that it changes, in W."""
    motion: Tensor | None = None
    """[3, h, w] see Shift; None where it is not known."""


@dataclass(frozen=True, slots=True, eq=False)
class Directions:
    """The directions of a file."""

    generator: str
    """What `generator_of` gives for the model they are of."""
    model: str
    """That model's name when they were found, for messages."""
    by_name: Mapping[str, Direction] = field(default_factory=dict)

    def shift(self, edits: Sequence[tuple[str, float]], source: object) -> Shift:
        """What all edits together add to a face.

        Args:
            edits: names and strengths.
            source: where the directions are from, for the message.

        Raises:
            ConfigError: a name is not among them.
        """
        total: dict[str, Tensor] = {}
        for name, strength in edits:
            if name not in self.by_name:
                known = ", ".join(self.by_name)
                raise ConfigError(f"{source} has no direction {name}; it has {known}")
            direction = self.by_name[name]
            moved = strength * direction.shift
            total[direction.space] = total.get(direction.space, 0) + moved
            if direction.motion is not None:
                total["motion"] = total.get("motion", 0) + strength * direction.motion
        return Shift(total.get("latents"), total.get("planes"), total.get("motion"))


def write(path: str | os.PathLike[str], directions: Directions) -> None:
    """Write a file; it appears under its name only when whole.

    Raises:
        WeightsError: it cannot be written.
    """
    target = Path(path)
    part = target.with_name(target.name + f".part{os.getpid()}")
    about = {
        name: {"space": each.space, "about": each.about, "layers": each.layers}
        for name, each in directions.by_name.items()
    }
    header = {
        "format": FORMAT,
        "generator": directions.generator,
        "model": directions.model,
        "directions": json.dumps(about),
    }
    tensors: dict[str, Tensor] = {}
    for name, each in directions.by_name.items():
        tensors |= _packed(name, each)
        if each.motion is not None:
            tensors[f"{name}.motion"] = each.motion.contiguous()
    try:
        save_file({key: values.half() for key, values in tensors.items()}, part, metadata=header)
        os.replace(part, target)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"cannot write {target}: {error}") from error
    finally:
        part.unlink(missing_ok=True)


def _packed(name: str, direction: Direction) -> dict[str, Tensor]:
    if direction.space == "latents":
        return {name: direction.shift.contiguous()}
    height, width = direction.shift.shape[1:]
    planes = direction.shift.reshape(3, -1, height * width)
    across, spread, maps = torch.linalg.svd(planes, full_matrices=False)
    root = spread[:, :RANK].sqrt()  # halves of the size in either factor, for float16
    mixes = across[:, :, :RANK] * root[:, None]
    maps = maps[:, :RANK] * root[:, :, None]
    return {
        f"{name}.mixes": mixes.contiguous(),
        f"{name}.maps": maps.reshape(3, -1, height, width).contiguous(),
    }


def read(path: str | os.PathLike[str], model: str | os.PathLike[str]) -> Directions:
    """The directions of a file, for a model.

    Args:
        path: of the file.
        model: name or path of the model they are to be used with.

    Raises:
        WeightsError: it is missing, damaged, no such file, or of another model.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = dict(file.metadata() or {})
            tensors = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        line = str(error).strip().split("\n")[0]
        raise WeightsError(f"cannot read {path} as directions: {line}") from error
    if header.get("format") != FORMAT:
        raise WeightsError(f"{path} is no directions file; tpvideo edit --discover makes one")
    if header.get("generator") != generator_of(model):
        raise WeightsError(
            f"{path} holds directions of another generator, that of {header.get('model')}, which "
            f"mean nothing to {model}; find its own with tpvideo edit"
        )
    try:
        about = json.loads(header["directions"])
        by_name = {name: _unpacked(name, facts, tensors) for name, facts in about.items()}
        if not by_name:
            raise ValueError("it names no direction")
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{path} is damaged: {error}") from error
    return Directions(header["generator"], header.get("model", ""), by_name)


def _unpacked(name: str, facts: Mapping[str, object], tensors: Mapping[str, Tensor]) -> Direction:
    about, layers = str(facts["about"]), facts["layers"]
    motion = tensors.get(f"{name}.motion")
    if motion is not None and (motion.dim() != 3 or len(motion) != 3):
        raise ValueError(f"{name}.motion is not [3, h, w]")
    if facts["space"] == "planes":
        maps, mixes = tensors[f"{name}.maps"], tensors[f"{name}.mixes"]
        planes = torch.einsum("pcr,prhw->pchw", mixes, maps)
        return Direction("planes", planes.flatten(0, 1), about, motion=motion)
    if facts["space"] != "latents" or not isinstance(layers, list):
        raise ValueError(f"{name} moves what is not known")
    if tensors[name].dim() != 2:
        raise ValueError(f"{name} is not [L, D]")
    return Direction("latents", tensors[name], about, (int(layers[0]), int(layers[1])), motion)


def locate(path: str | None, model: str) -> Path:
    """The file that was named, or the one that belongs to a model: `NAME.directions.safetensors`
    where the model is.

    Raises:
        WeightsError: there is none.
    """
    if path is not None:
        found = Path(path)
        if not found.is_file():
            raise WeightsError(f"no directions file {found}")
        return found
    beside = beside_model(model)
    if beside.is_file():
        return beside
    raise WeightsError(
        f"the model {model} comes with no directions; name a file with --directions, or find some "
        f"with tpvideo edit"
    )


def beside_model(model: str) -> Path:
    """Where a model's own directions are, if it has some."""
    own = folder.locate(model)
    return own.with_name(own.stem + ENDING + own.suffix)


def generator_of(model: str | os.PathLike[str]) -> str:
    """32 hexadecimal digits that are the same for models with the same generator.

    Raises:
        WeightsError: the model is missing or damaged.
    """
    path = folder.locate(model)
    state = path.stat()
    return _generator_of(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=16)
def _generator_of(path: Path, _length: int, _time: int) -> str:
    digest = hashlib.sha256()
    try:
        with safe_open(path, framework="pt") as file:
            for key in sorted(key for key in file.keys() if key.startswith(GENERATOR)):  # noqa: SIM118
                values = file.get_tensor(key).contiguous()
                digest.update(f"{key} {values.dtype} {list(values.shape)}".encode())
                digest.update(values.reshape(-1).view(torch.uint8).numpy().tobytes())
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"cannot read {path} as safetensors: {error}") from error
    return digest.hexdigest()[:32]
