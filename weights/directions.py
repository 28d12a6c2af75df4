"""Directions in W: what they are, how they are found, and the file that holds them.

A file is safetensors with one tensor [L, D] for each direction, the change of the latents at
strength 1, and a header that says which generator they are of. A direction means nothing to
another generator, so the file is refused there.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tpvideo.pipeline.errors import ConfigError, WeightsError
from tpvideo.weights import folder

FORMAT = "tpvideo directions 1"
GENERATOR = "decoder.backbone.synthesis."
"""Keys of the tensors that turn latents into planes."""
ENDING = ".directions"


@dataclass(frozen=True, slots=True, eq=False)
class Direction:
    """One change of the latents."""

    shift: Tensor
    """[L, D] float32, what strength 1 adds; zero in the layers that it leaves alone."""
    layers: tuple[int, int]
    """The first and the last layer that it changes."""
    scale: float
    """Length of `shift` over all layers, in the latents' own units."""
    about: str
    """How it was found, for people."""


@dataclass(frozen=True, slots=True, eq=False)
class Directions:
    """The directions of a file."""

    by_name: Mapping[str, Direction]
    generator: str
    """What `generator_of` gives for the model they are of."""
    model: str
    """That model's name when they were found, for messages."""

    def shift(self, edits: Sequence[tuple[str, float]], source: object) -> Tensor:
        """[L, D] what all edits together add to the latents.

        Args:
            edits: names and strengths.
            source: where the directions are from, for the message.

        Raises:
            ConfigError: a name is not among them.
        """
        total = torch.zeros_like(next(iter(self.by_name.values())).shift)
        for name, strength in edits:
            if name not in self.by_name:
                known = ", ".join(self.by_name)
                raise ConfigError(f"{source} has no direction {name}; it has {known}")
            total = total + strength * self.by_name[name].shift
        return total


def principal(latents: Tensor, count: int, layers: tuple[int, int]) -> list[Direction]:
    """The ways in which latents differ most, as GANSpace finds them: principal components, each
    as long as one standard deviation (Härkönen et al. 2020, section 3.1).

    Args:
        latents: [N, L, D] of many faces.
        count: how many components.
        layers: the first and the last layer that are looked at and changed.

    Raises:
        ConfigError: there are too few faces.
    """
    faces = len(latents)
    if faces <= count:
        raise ConfigError(
            f"{count} components need at least {count + 1} faces with different latents, got "
            f"{faces}; give more faces, or ask for fewer with --components"
        )
    chosen = latents[:, layers[0] : layers[1] + 1]
    flat = (chosen - chosen.mean(dim=0)).flatten(1).double()  # [N, l D]
    _, spread, across = torch.linalg.svd(flat, full_matrices=False)
    deviations = spread / (faces - 1) ** 0.5
    shares = spread.square() / spread.square().sum()
    found = []
    for deviation, axis, share in zip(deviations[:count], across, shares, strict=False):
        # A component and its opposite are the same; its largest entry decides, so that it is
        # found alike on every machine.
        axis = axis * torch.sign(axis[axis.abs().argmax()])
        shift = torch.zeros(latents.shape[1:])
        shift[layers[0] : layers[1] + 1] = (deviation * axis).reshape(chosen.shape[1:]).float()
        about = f"principal component of {faces} faces, {100 * float(share):.1f} % of the variance"
        found.append(_direction(shift, layers, about))
    return found


def contrast(
    with_it: Tensor, without: Tensor, layers: tuple[int, int], *, ridge: float = 0.0
) -> Direction:
    """What tells labelled faces apart: the difference of their means, or, with a ridge, of a
    linear regression of the label on the latents, as long as the difference along it.

    Args:
        with_it, without: [N, L, D] and [M, L, D] latents; as many of each are taken for pairs
            by nobody: only their means count.
        layers: the first and the last layer that are looked at and changed.
        ridge: 0, or the weight of the penalty in variances of the latents; the larger, the
            nearer to the difference of means.
    """
    part = slice(layers[0], layers[1] + 1)
    one, other = with_it[:, part].flatten(1).double(), without[:, part].flatten(1).double()
    apart = one.mean(dim=0) - other.mean(dim=0)
    if ridge > 0:
        centred = torch.cat([one - one.mean(dim=0), other - other.mean(dim=0)])
        covariance = centred.T @ centred / len(centred)
        penalty = ridge * covariance.diagonal().mean() * torch.eye(len(apart), dtype=apart.dtype)
        axis = torch.linalg.solve(covariance + penalty, apart)
        axis = axis / axis.norm()
        apart = axis * (axis @ apart)
    shift = torch.zeros(with_it.shape[1:])
    shift[part] = apart.reshape(shift[part].shape).float()
    how = f"ridge regression ({ridge:g})" if ridge > 0 else "difference of means"
    about = f"{how} between {len(with_it)} faces with it and {len(without)} without"
    return _direction(shift, layers, about)


def _direction(shift: Tensor, layers: tuple[int, int], about: str) -> Direction:
    return Direction(shift, layers, float(shift.norm()), about)


def write(path: str | os.PathLike[str], directions: Directions) -> None:
    """Write a file; it appears under its name only when whole.

    Raises:
        WeightsError: it cannot be written.
    """
    target = Path(path)
    part = target.with_name(target.name + f".part{os.getpid()}")
    about = {
        name: {k: v for k, v in _facts(each).items()} for name, each in directions.by_name.items()
    }
    header = {
        "format": FORMAT,
        "generator": directions.generator,
        "model": directions.model,
        "directions": json.dumps(about),
    }
    tensors = {name: each.shift.half().contiguous() for name, each in directions.by_name.items()}
    try:
        save_file(tensors, part, metadata=header)
        os.replace(part, target)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"cannot write {target}: {error}") from error
    finally:
        part.unlink(missing_ok=True)


def _facts(direction: Direction) -> dict[str, object]:
    facts = asdict(direction)
    del facts["shift"]
    return facts


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
            shifts = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        line = str(error).strip().split("\n")[0]
        raise WeightsError(f"cannot read {path} as directions: {line}") from error
    if header.get("format") != FORMAT:
        raise WeightsError(f"{path} is no directions file; tpvideo edit --discover makes one")
    if header.get("generator") != generator_of(model):
        raise WeightsError(
            f"{path} holds directions of another generator, that of {header.get('model')}, which "
            f"mean nothing to {model}; find its own with tpvideo edit --discover"
        )
    try:
        about = json.loads(header["directions"])
        by_name = {
            name: Direction(
                shifts[name],
                (int(facts["layers"][0]), int(facts["layers"][1])),
                float(facts["scale"]),
                str(facts["about"]),
            )
            for name, facts in about.items()
        }
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise WeightsError(f"{path} has a damaged header: {error}") from error
    shapes = {tuple(shift.shape) for shift in shifts.values()}
    if not by_name or len(shapes) != 1 or len(next(iter(shapes))) != 2:
        raise WeightsError(f"{path} is damaged: its directions are not all of one [L, D]")
    return Directions(by_name, header["generator"], header.get("model", ""))


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
    own = folder.locate(model)
    beside = own.with_name(own.stem + ENDING + own.suffix)
    if beside.is_file():
        return beside
    raise WeightsError(
        f"the model {model} comes with no directions; name a file with --directions, or find some "
        f"with tpvideo edit --discover"
    )


def generator_of(model: str | os.PathLike[str]) -> str:
    """32 hexadecimal digits that are the same for models with the same synthesis network.

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
                digest.update(values.view(-1).view(torch.uint8).numpy().tobytes())
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"cannot read {path} as safetensors: {error}") from error
    return digest.hexdigest()[:32]
