"""`tpvideo mesh SOURCE -o head.ply`: a head's surface, its turntable, its distance from a scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tpvideo.pipeline import config, progress
from tpvideo.pipeline.errors import ConfigError, OutputError
from tpvideo.pipeline.options import (
    DEVICE,
    FACE,
    FACE_MODEL,
    MATTING,
    MODEL,
    choice,
)

if TYPE_CHECKING:
    from tpvideo.pipeline.editing.faces import Studio
    from tpvideo.pipeline.mesh.heads import Lifted, Shape
    from tpvideo.stages.mesh import Mesh
    from tpvideo.weights.evaluation.surfaces import Reference


@click.command(
    "mesh", context_settings={"help_option_names": ["-h", "--help"], "show_default": True}
)
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    "--frame", type=click.IntRange(min=0), default=0, help="Which frame of a film, from 0."
)
@click.option(
    "-o",
    "--target",
    "targets",
    metavar="OUT",
    multiple=True,
    type=click.Path(path_type=Path),
    help=".ply, .obj or .glb; may be given several times. Left out, and nothing else asked for, a "
    ".ply named after source and frame.",
)
@click.option(
    "--grid",
    type=click.IntRange(16, 512),
    default=256,
    help="Samples of the density along each axis.",
)
@click.option(
    "--level",
    type=float,
    show_default="where pictures see the surface",
    help="Raw density at which the surface lies.",
)
@click.option("--whole", is_flag=True, help="Also what no camera sees, such as the back.")
@click.option(
    "--colours",
    type=click.Choice(["source", "volume"]),
    default="source",
    help="source: the frame's where it shows the surface, else the volume's.",
)
@click.option(
    "--turntable",
    metavar="FILM",
    type=click.Path(path_type=Path),
    help="Write a film of the head turning: its volume, its surface in colours and as clay.",
)
@click.option(
    "--reference",
    metavar="SCAN",
    type=click.Path(path_type=Path),
    help="Measure against this .glb, .ply or .obj, in distances between the eyes.",
)
@click.option(
    "--landmarks",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Five points on the reference, as JSON. [default: found in its pictures]",
)
@click.option(
    "--heatmap",
    metavar="PICTURE",
    type=click.Path(path_type=Path),
    help="Show the distances from three sides.",
)
@click.option(
    "--most", type=float, default=0.2, help="Distance at the upper end of the map's colours."
)
@click.option(
    "--method",
    "methods",
    multiple=True,
    default=["encoder"],
    metavar="NAME",
    help="What inverts; as of tpvideo invert. Several are compared with --reference.",
)
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    default=1000,
    help="Gradients that each optimisation of a method takes.",
)
@click.option("--size", type=int, default=512, help="Side of the film's pictures, pixels.")
@MODEL
@MATTING
@FACE_MODEL
@FACE
@click.option("--decoder", type=choice(config.Decoder), default="av")
@DEVICE
@click.option("--overwrite", is_flag=True, help="Replace targets that exist.")
@click.option("--quiet", is_flag=True, help="Say nothing but errors.")
def mesh(
    source: Path,
    frame: int,
    targets: tuple[Path, ...],
    grid: int,
    level: float | None,
    whole: bool,
    colours: str,
    turntable: Path | None,
    reference: Path | None,
    landmarks: Path | None,
    heatmap: Path | None,
    most: float,
    methods: tuple[str, ...],
    steps: int,
    quiet: bool,
    **settings: Any,
) -> None:
    """Take the head in a frame of SOURCE, a video or photograph, out of its volume as a mesh.

    \b
    tpvideo mesh talk.mp4 --frame 30 -o head.ply
    tpvideo mesh photo.jpg -o head.glb --turntable turn.mp4
    tpvideo mesh photo.jpg --reference scan.glb --heatmap heat.png

    docs/geometry.md has the coordinates and what the distances are.
    """
    chosen = config.Settings(precision="float32", **settings)
    if not (targets or turntable or reference):
        targets = (source.with_name(f"{source.stem}_frame{frame}.ply"),)
    errand = Errand(
        source, frame, targets, turntable, reference, landmarks, heatmap, most, methods, steps
    )
    errand.check(chosen.overwrite)
    with progress.notices(shown=not quiet):
        from tpvideo.pipeline.mesh.heads import Shape, studio_for
        from tpvideo.stages.mesh import load_marching_cubes

        load_marching_cubes()  # what is missing is said before any work
        shape = Shape(grid=grid, level=level, whole=whole, source_colours=colours == "source")
        said = errand.run(studio_for(chosen, methods), shape)
    if not quiet:
        click.echo("\n".join(said))


@dataclass(frozen=True, slots=True)
class Errand:
    """What to make of which frame."""

    source: Path
    frame: int
    targets: tuple[Path, ...]
    turntable: Path | None
    reference: Path | None
    landmarks: Path | None
    heatmap: Path | None
    most: float
    methods: tuple[str, ...]
    steps: int

    def check(self, overwrite: bool) -> None:
        """Refuse what cannot be done, before any work.

        Raises:
            ConfigError: options that do not go together.
            OutputError: a target exists, or has a suffix that is not known.
        """
        if len(self.methods) > 1 and (self.targets or self.turntable):
            raise ConfigError("several --method are for --reference; -o and --turntable take one")
        if self.reference is None and (self.heatmap or self.landmarks):
            raise ConfigError("--heatmap and --landmarks need a --reference to measure against")
        if not self.most > 0:
            raise ConfigError(f"--most must be above 0, got {self.most:g}")
        for target in (*self.targets, self.turntable, self.heatmap):
            if target is not None and target.exists() and not overwrite:
                raise OutputError(target, "it exists; --overwrite replaces it")
            if target is not None and not target.parent.is_dir():
                raise OutputError(target, f"there is no folder {target.parent}")
        self._check_suffixes()

    def _check_suffixes(self) -> None:
        from tpvideo.stages.codecs import MOVIE_FORMATS
        from tpvideo.stages.mesh_files import writer_for
        from tpvideo.stages.pictures import PICTURE_SUFFIXES

        for path in self.targets:
            writer_for(path)
        for target, what, known in (
            (self.turntable, "a turntable", MOVIE_FORMATS),
            (self.heatmap, "a heat map", PICTURE_SUFFIXES),
        ):
            if target is not None and target.suffix.lower() not in known:
                raise OutputError(target, f"the suffix of {what} must be one of {' '.join(known)}")

    def run(self, studio: Studio, shape: Shape) -> list[str]:
        """Do it all; what there is to say of it, line by line."""
        from tpvideo.pipeline.mesh.heads import lifted, mesh_of, posed_at

        truth = self._reference(studio)
        posed, face = posed_at(studio, self.source, self.frame)
        said: list[str] = []
        made: list[tuple[Lifted, Mesh]] = []
        for method in self.methods:
            head = lifted(studio, posed, face, method, self.steps)
            found, level = mesh_of(head, shape)
            made.append((head, found))
            said.append(
                f"{method}: {len(found.points)} vertices, {len(found.triangles)} triangles at "
                f"density {level:.3g}"
            )
        said += self._written(studio, *made[0])
        if truth is not None:
            said += self._compared(studio, made, truth)
        return said

    def _written(self, studio: Studio, head: Lifted, found: Mesh) -> list[str]:
        from tpvideo.pipeline.mesh.turntable import write_turntable
        from tpvideo.stages.mesh_files import save_mesh

        for target in self.targets:
            save_mesh(found, target)
        if self.turntable is not None:
            write_turntable(studio, head, found, self.turntable)
        return [f"wrote {path}" for path in (*self.targets, self.turntable) if path is not None]

    def _reference(self, studio: Studio) -> Reference | None:
        from tpvideo.pipeline.mesh.reference import read_reference

        if self.reference is None:
            return None
        return read_reference(self.reference, studio.networks.finder, self.landmarks)

    def _compared(
        self, studio: Studio, made: Sequence[tuple[Lifted, Mesh]], truth: Reference
    ) -> list[str]:
        from tpvideo.pipeline.mesh.comparison import compared, heat_map, table
        from tpvideo.stages.mesh_files import save_image

        finder = studio.networks.finder
        results = [
            (head.method, found, compared(head, found, truth, finder)) for head, found in made
        ]
        said = ["", table(results), ""]
        if self.heatmap is not None:
            save_image(heat_map(results, self.most), self.heatmap)
            said.append(f"wrote {self.heatmap}")
        return said
