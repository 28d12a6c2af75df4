"""Directions from faces: their latents or planes, gathered and handed to weights.discovery."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from tpvideo.pipeline.editing.faces import Studio, every_face, landmarks_of
from tpvideo.pipeline.errors import ConfigError, OutputError
from tpvideo.pipeline.frame import Face
from tpvideo.stages.invert import in_precision
from tpvideo.weights import directions, discovery
from tpvideo.weights.directions import Direction, Directions

TOGETHER = 8
"""Faces encoded at once."""
Item = TypeVar("Item")


def discovered(
    studio: Studio,
    paths: Sequence[Path],
    count: int,
    layers: discovery.Layers | None,
    *,
    most: int,
    samples: int,
) -> dict[str, Direction]:
    """Principal components c0, c1, ... of the latents of faces; of the generator's own samples
    where no path is given."""
    network = studio.networks.triplane
    if paths:
        latents = torch.cat(list(_latents(studio, _faces(studio, paths, most))))
    else:
        latents = discovery.sampled_latents(network, samples)
    chosen = expect_layers(layers, network.decoder.latents)
    found = discovery.principal(latents.cpu(), count, chosen)
    return {f"c{number}": direction for number, direction in enumerate(found)}


def told_apart(
    studio: Studio,
    with_it: Path,
    without: Path,
    space: directions.Space,
    layers: discovery.Layers | None,
    *,
    ridge: float,
    most: int,
    mirrored: bool,
) -> Direction:
    """What tells the faces of one path from those of another."""

    if space == "planes":
        found = discovery.plane_contrast(
            _planes(studio, _faces(studio, [with_it], most), mirrored=mirrored),
            _planes(studio, _faces(studio, [without], most), mirrored=mirrored),
        )
        return replace(found, motion=_motion(studio, with_it, without))
    chosen = expect_layers(layers, studio.networks.triplane.decoder.latents)
    one, other = (
        torch.cat(list(_latents(studio, _faces(studio, [path], most), mirrored=mirrored))).cpu()
        for path in (with_it, without)
    )
    return discovery.contrast(one, other, chosen, ridge=ridge)


def check_target(path: Path, model: str) -> None:
    """Raise what `keep` would raise after all the work."""
    if path.exists():
        directions.read(path, model)
    elif not path.parent.is_dir():
        raise OutputError(path, "its folder does not exist")


def keep(path: Path, found: dict[str, Direction], model: str) -> Directions:
    """Write directions of a model into a file; those of other names that it has stay.

    Raises:
        WeightsError: the file holds something else, or directions of another model.
    """
    before = directions.read(path, model).by_name if path.exists() else {}
    kept = Directions(directions.generator_of(model), Path(model).name, {**before, **found})
    directions.write(path, kept)
    return kept


def only(known: Directions, names: Iterable[str]) -> Directions:
    """Some of the directions of a file."""
    return Directions(known.generator, known.model, {name: known.by_name[name] for name in names})


def expect_layers(layers: discovery.Layers | None, latents: int) -> discovery.Layers:
    """The layers asked for, or all.

    Raises:
        ConfigError: the model has not as many.
    """
    first, last = layers or (0, latents - 1)
    if not 0 <= first <= last < latents:
        raise ConfigError(f"the model has layers 0-{latents - 1}, got {first}-{last}")
    return first, last


def _faces(studio: Studio, paths: Sequence[Path], most: int) -> Iterator[Face]:
    for _, item in every_face(studio, paths, most):
        assert item.face is not None
        yield item.face


def _motion(studio: Studio, with_it: Path, without: Path) -> Tensor | None:
    """Where surfaces were before, from the landmarks of synthetic heads; None for other faces."""
    after, before = landmarks_of(with_it), landmarks_of(without)
    if after is None or before is None:
        return None
    one, other = (torch.from_numpy(points) for points in (before, after))
    return discovery.motion(one, other, studio.networks.triplane.decoder.box)


def _latents(studio: Studio, faces: Iterable[Face], *, mirrored: bool = False) -> Iterator[Tensor]:
    """Batches [B, L, D]."""
    for batch in _batches(faces, TOGETHER):
        with torch.inference_mode(), in_precision(studio.machine.device, studio.machine.dtype):
            pictures, _ = studio.tensors(batch, mirrored=mirrored)
            yield studio.networks.triplane.encode(pictures)


def _planes(studio: Studio, faces: Iterable[Face], *, mirrored: bool) -> Iterator[Tensor]:
    """Batches [B, 3 C, H, W] of refined planes."""
    for batch in _batches(faces, studio.machine.batch):
        with torch.inference_mode(), in_precision(studio.machine.device, studio.machine.dtype):
            found = studio.networks.triplane.invert(*studio.tensors(batch, mirrored=mirrored))
        yield found.planes.cpu()


def _batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
