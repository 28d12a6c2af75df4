"""Meshes against a reference: a table, and a map of where they are wrong."""

from __future__ import annotations

from collections.abc import Sequence

from tpvideo.pipeline.errors import ConfigError
from tpvideo.pipeline.frame import Image
from tpvideo.pipeline.mesh.heads import Lifted
from tpvideo.pipeline.mesh.picture import heat_colours, picture, sheet
from tpvideo.pipeline.mesh.reference import landmarks_of
from tpvideo.stages import geometry
from tpvideo.stages.facefinder import Finder
from tpvideo.stages.mesh import Mesh
from tpvideo.weights.evaluation.surfaces import Errors, Reference

VIEWS_RAD = (0.0, -0.9, 0.9)
MAP_PX = 384
SOFT = 0.6
"""Ambient light of a map, so that its colours can be held against the scale."""

Result = tuple[str, Mesh, Errors]
"""A method, its mesh and how wrong that is."""


def compared(head: Lifted, mesh: Mesh, reference: Reference, finder: Finder) -> Errors:
    """How far a head's surface is from a reference.

    Raises:
        NoFaceError: a landmark of the source does not lie on the surface.
        ConfigError: nothing of the surface lies in the face.
    """
    landmarks = landmarks_of(mesh, head.posed.rgb, head.face, finder)
    errors = Errors.of(mesh.points, mesh.areas(), landmarks, reference)
    if not errors.region.any():
        raise ConfigError(
            "nothing of the mesh lies in the reference's face; are its landmarks right?"
        )
    return errors


def table(results: Sequence[Result]) -> str:
    """Markdown, in distances between the eyes of the reference."""
    lines = [
        "| method | average distance | median | 95 % below | landmarks after the fit (RMS) |",
        "|---|---|---|---|---|",
    ]
    for method, _, errors in results:
        numbers = (errors.mean, errors.quantile(0.5), errors.quantile(0.95), errors.fit)
        lines.append(f"| {method} | " + " | ".join(f"{n:.3f}" for n in numbers) + " |")
    return "\n".join(lines)


def heat_map(results: Sequence[Result], most: float) -> Image:
    """A column for each method, its mesh from three sides in the colours of its distances."""
    columns = []
    for _, mesh, errors in results:
        colours = heat_colours(errors.distances, errors.region, most)
        cameras = [geometry.label_camera(yaw, 0.0) for yaw in VIEWS_RAD]
        columns.append(
            [picture(mesh, camera, MAP_PX, colours=colours, ambient=SOFT) for camera in cameras]
        )
    titles = [f"{method}  {errors.mean:.3f}" for method, _, errors in results]
    return sheet(columns, titles, most)
