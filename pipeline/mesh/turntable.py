"""A film of a head that turns to and fro: its volume, its surface in colours and as clay."""

from __future__ import annotations

import math
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path

import numpy as np

from tpvideo.pipeline import app
from tpvideo.pipeline.editing.faces import Studio
from tpvideo.pipeline.frame import Head, Inverted, Rendered, Stamp, StreamInfo
from tpvideo.pipeline.mesh.heads import Lifted
from tpvideo.pipeline.mesh.picture import picture
from tpvideo.stages import geometry
from tpvideo.stages.encode import FileSink
from tpvideo.stages.mesh import Mesh
from tpvideo.stages.provenance import Provenance

RATE = Fraction(25)
FRAMES = 100
WIDEST_RAD = 0.8
"""The paper's widest views."""


def write_turntable(studio: Studio, head: Lifted, mesh: Mesh, target: Path) -> None:
    """Write one swing as a film of three pictures side by side; it can be played in a loop.

    Raises:
        OutputError: it cannot be written.
    """
    size = studio.settings.size
    view = app.novel_view(studio.settings, studio.machine, head.network)
    sink = turntable_sink(studio, target)
    info = StreamInfo(3 * size, size, RATE, 1 / RATE, FRAMES)
    assert mesh.colours is not None
    colours = mesh.colours / 255
    item = Inverted(
        head.posed.stamp, head.posed.rgb, head.face, Head(head.ws[0], head.planes[0].float())
    )
    try:
        view.open(info)
        sink.open(info)
        for number in range(FRAMES):
            yaw = WIDEST_RAD * math.sin(2 * math.pi * number / FRAMES)
            view.yaw_rad = yaw
            [drawn] = view.process([item])
            camera = geometry.look_at_camera(yaw)
            painted = picture(mesh, camera, size, colours=colours, ambient=1.0)
            row = np.concatenate([drawn.rgb, painted, picture(mesh, camera, size)], axis=1)
            sink.consume(Rendered(Stamp(number, number), row))
        sink.finish()
    finally:
        sink.close()
        view.close()


def turntable_sink(studio: Studio, target: Path) -> FileSink:
    """What writes the film.

    Raises:
        OutputError: the suffix is not a film's.
    """
    settings = studio.settings
    note = Provenance(
        version=version("tpvideo"), yaw_rad=0.0, pitch_rad=0.0, view="turntable",
        model=Path(settings.model).name, audio="none",
    )  # fmt: skip
    return FileSink(target, source=None, overwrite=settings.overwrite, provenance=note)
