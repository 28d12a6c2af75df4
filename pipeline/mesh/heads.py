"""One frame's head in 3D, by whichever inverter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from tpvideo.pipeline import app
from tpvideo.pipeline.config import Settings
from tpvideo.pipeline.editing.faces import Studio
from tpvideo.pipeline.errors import ConfigError, InputError, NoFaceError
from tpvideo.pipeline.frame import Face, Posed, StreamInfo
from tpvideo.pipeline.runner import Pipeline, read
from tpvideo.stages.decode import FileSource
from tpvideo.stages.face import FaceCrop
from tpvideo.stages.invert import network_input
from tpvideo.stages.limits import Limits
from tpvideo.stages.mesh import Mesh, surface
from tpvideo.stages.mesh_views import drawn_level, painted, seen_part
from tpvideo.stages.networks.inverters_by_steps import PREDICTIONS, expanded, inverter
from tpvideo.stages.networks.triplanenet import TriPlaneNet
from tpvideo.stages.paint import crop_at
from tpvideo.weights.evaluation.inverters import SIDE_PX, load_likeness

PAINT_PX = 512
"""Side of the crop that vertices take the source's colours from: finer than a grid of 256."""


@dataclass(frozen=True, slots=True, eq=False)
class Lifted:
    """A head in 3D."""

    method: str
    """What inverted it."""
    posed: Posed
    face: Face
    """With the camera that the method ended with."""
    network: TriPlaneNet
    """What draws it."""
    ws: Tensor
    """[1, L, D]."""
    planes: Tensor
    """[1, 3 C, H, W]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How a surface is taken out of a volume."""

    grid: int = 256
    """Samples along each axis of the box."""
    level: float | None = None
    """Raw density of the surface; None for that which pictures are drawn through."""
    whole: bool = False
    """Also what no camera sees."""
    source_colours: bool = True
    """Take the source's colours where it shows the surface."""


def studio_for(settings: Settings, methods: Sequence[str]) -> Studio:
    """The networks; made lean where nothing is optimised.

    Raises:
        ConfigError: there is no such method.
    """
    for method in methods:
        try:
            inverter(method)
        except ValueError as error:
            raise ConfigError(f"--method: {error}") from error
    predicted = all(name in PREDICTIONS for method in methods for name in expanded(method))
    return Studio.load(settings, is_lean=predicted)


def posed_at(studio: Studio, source: Path, frame: int) -> tuple[Posed, Face]:
    """A frame, counted from 0, and its face, found in this frame alone.

    Raises:
        InputError: the source ends before.
        NoFaceError: the frame shows no face.
    """
    settings = studio.settings
    kept = _First()
    limits = Limits(pixels=settings.max_pixels, frames=settings.max_frames)
    decoded = read(FileSource(source, decoder=settings.decoder, limits=limits, skip=frame))
    matting = app.matting_stage(settings, studio.machine, studio.networks)
    kept.pipeline = app.posed(
        decoded, matting, FaceCrop(studio.networks.finder, choose=settings.face)
    ).into(kept)
    kept.pipeline.run()
    if kept.posed is None:
        raise InputError(source, f"it ends before frame {frame}; frames count from 0")
    if kept.posed.face is None:
        raise NoFaceError(f"no face in frame {frame} of {source}; --frame takes another")
    return kept.posed, kept.posed.face


def lifted(studio: Studio, posed: Posed, face: Face, method: str, steps: int) -> Lifted:
    """A face put into 3D."""
    network, device = studio.networks.triplane, studio.machine.device
    is_predicted = all(name in PREDICTIONS for name in expanded(method))
    crop, label = network_input([face], network.side if is_predicted else SIDE_PX, device)
    likeness = None if is_predicted else load_likeness(device)[0]
    found = inverter(method, likeness, steps=steps)(crop, label, network)
    camera = face.camera if found.labels is None else found.labels[0].cpu().numpy()
    return Lifted(
        method,
        posed,
        replace(face, camera=camera.astype(np.float32)),
        found.tuned or network,
        found.ws,
        found.planes,
    )


def mesh_of(head: Lifted, shape: Shape) -> tuple[Mesh, float]:
    """A head's surface with colours, and the level that it lies at.

    Raises:
        ConfigError: there is none at the level that was asked for.
    """
    generator, planes = head.network.decoder, head.planes.float()
    level = drawn_level(generator, planes) if shape.level is None else shape.level
    mesh = surface(generator, planes, level, shape.grid)
    if not shape.whole:
        mesh = seen_part(mesh, generator, planes)
    if not shape.source_colours:
        return painted(mesh, generator, planes), level
    picture = crop_at(head.posed.rgb, head.face, PAINT_PX)
    return painted(mesh, generator, planes, head.face, picture), level


class _First:
    """A sink that keeps the first packet and then ends the run."""

    def __init__(self) -> None:
        self.posed: Posed | None = None
        self.pipeline: Pipeline | None = None

    def open(self, info: StreamInfo) -> None:
        """Nothing is written."""

    def consume(self, item: Posed) -> None:
        """Keep it."""
        if self.posed is None:
            self.posed = item
            if self.pipeline is not None:
                self.pipeline.stop()

    def finish(self) -> None:
        """Nothing is written."""

    def close(self) -> None:
        """Nothing is held."""
