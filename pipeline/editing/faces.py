"""Faces from whatever shows some: photographs, clips, folders of them, and synthetic heads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tpvideo.pipeline import app
from tpvideo.pipeline.config import Settings
from tpvideo.pipeline.errors import InputError, NoFaceError
from tpvideo.pipeline.frame import Face, Posed, Stamp, StreamInfo
from tpvideo.pipeline.runner import Pipeline, read
from tpvideo.stages import geometry, pixels
from tpvideo.stages.decode import FileSource
from tpvideo.stages.face import FaceCrop
from tpvideo.stages.invert import network_input
from tpvideo.stages.limits import Limits
from tpvideo.stages.networks.triplanenet import mirror

HEADS = ".npz"
MIRRORED = np.concatenate(
    [
        np.arange(16, -1, -1),  # jaw
        np.arange(26, 16, -1),  # brows
        [27, 28, 29, 30, 35, 34, 33, 32, 31],  # nose
        [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40],  # eyes
        [54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55],  # lips outside
        [64, 63, 62, 61, 60, 67, 66, 65],  # and inside
    ]
)
"""The landmark (iBUG's 68) that each becomes in a mirror."""


@dataclass(frozen=True, slots=True)
class Studio:
    """The networks, loaded once, and where they run."""

    settings: Settings
    machine: app.Machine
    networks: app.Networks

    @classmethod
    def load(cls, settings: Settings, *, is_lean: bool = True) -> Studio:
        """As for a run with these settings; not lean where something will be optimised."""
        machine = app.pick_machine(settings)
        app.share_cores()
        networks = app.load_networks(settings, machine)
        if is_lean:
            machine = app.working_machine(machine, networks)
        else:
            machine = replace(machine, dtype=torch.float32)
        return cls(settings, machine, networks)

    def faces(self, path: Path, most: int) -> Iterator[tuple[str, Posed]]:
        """The frames with a face of a file or of the files of a folder, with names.

        Args:
            path: a photograph, a clip, a file of synthetic heads, or a folder of such.
            most: of one file: the first frames with a face, the first views.

        Raises:
            InputError: there is no such file, or it shows no pictures.
        """
        if path.is_dir():
            for file in sorted(file for file in path.iterdir() if _may_show_faces(file)):
                yield from self.faces(file, most)
        elif path.suffix == HEADS:
            yield from heads_of(path, most)
        else:
            if not path.is_file():
                raise InputError(path, "no such file or folder")
            kept = _Kept(most)
            self._cut_out(path, kept)
            yield from ((f"{path.stem} {item.stamp.index}", item) for item in kept.found)

    def _cut_out(self, path: Path, kept: _Kept) -> None:
        settings = self.settings
        limits = Limits(pixels=settings.max_pixels, frames=settings.max_frames)
        matting = app.matting_stage(settings, self.machine, self.networks)
        face = FaceCrop(self.networks.finder, choose=settings.face)
        source = read(FileSource(path, trim=settings.trim, limits=limits))
        kept.pipeline = app.posed(source, matting, face).into(kept)
        kept.pipeline.run()

    def tensors(self, faces: Sequence[Face], *, mirrored: bool = False) -> tuple[Tensor, Tensor]:
        """[B, 3, side, side] pictures and [B, 25] cameras for an inverter; with `mirrored` as
        many again, flipped."""
        network = self.networks.triplane
        pictures, labels = network_input(faces, network.side, self.machine.device)
        if not mirrored:
            return pictures, labels
        return torch.cat([pictures, pictures.flip(-1)]), torch.cat([labels, mirror(labels)])


def every_face(studio: Studio, paths: Sequence[Path], most: int) -> Iterator[tuple[str, Posed]]:
    """The faces of all paths, one after another.

    Raises:
        NoFaceError: there is none at all.
    """
    count = 0
    for path in paths:
        for found in studio.faces(path, most):
            count += 1
            yield found
    if not count:
        raise NoFaceError(f"no face in {', '.join(map(str, paths))}")


def heads_of(path: Path, most: int) -> Iterator[tuple[str, Posed]]:
    """The views of a file of the head generator as faces.

    Raises:
        InputError: it is no such file.
    """
    try:
        with np.load(path) as views:
            rgba, cameras = views["rgba"][:most], views["c2w"][:most]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(path, f"it holds no synthetic heads: {error}") from error
    for number, (picture, camera) in enumerate(zip(rgba, cameras, strict=True)):
        unit = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
        straight = unit[:, :3] / unit[:, 3:].clamp(min=1e-2)
        crop = pixels.to_images(straight.clamp(0, 1) * 2 - 1)[0]
        face = Face(
            crop=crop,
            alpha=np.ascontiguousarray(picture[..., 3]),
            camera=geometry.label(camera),
            image_from_crop=np.eye(2, 3),
            confidence=1.0,
        )
        yield f"{path.stem} {number}", Posed(Stamp(number, number), crop, face)


def landmarks_of(folder: Path) -> NDArray[np.float32] | None:
    """[68, 3] mean landmarks, made symmetric, of a folder of synthetic heads; None where there are
    none."""
    found = []
    for file in sorted(folder.glob(f"*{HEADS}")):
        with np.load(file) as views:
            if "lm68_3d" in views:
                found.append(views["lm68_3d"])
    if not found:
        return None
    mean = np.mean(found, axis=0)
    mirrored = mean[MIRRORED] * np.array([-1, 1, 1])
    return np.asarray((mean + mirrored) / 2, np.float32)


def _may_show_faces(file: Path) -> bool:
    return file.is_file() and not file.name.startswith(".") and file.suffix not in {".json", ".txt"}


class _Kept:
    """A sink that keeps the first faces and then ends the run."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.found: list[Posed] = []
        self.pipeline: Pipeline | None = None

    def open(self, info: StreamInfo) -> None:
        """Nothing is written."""

    def consume(self, item: Posed) -> None:
        """Keep a face."""
        if item.face is not None and len(self.found) < self.most:
            self.found.append(item)
            if len(self.found) == self.most and self.pipeline is not None:
                self.pipeline.stop()

    def finish(self) -> None:
        """Nothing is written."""

    def close(self) -> None:
        """Nothing is held."""
