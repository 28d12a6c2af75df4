"""What cameras see of a volume's surface: which part of it means something, and in what colours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tpvideo.pipeline.errors import ConfigError
from tpvideo.pipeline.frame import Face, Image
from tpvideo.stages import geometry
from tpvideo.stages.geometry import Array
from tpvideo.stages.mesh import Mesh, largest_piece, with_even_rim
from tpvideo.stages.networks.generator import Generator
from tpvideo.stages.networks.volume import camera_rays, composite

LOOK_PX = 128
"""Side of the pictures that visibility is read from."""

SEEN_YAWS_RAD = np.linspace(-0.85, 0.85, 7)
SEEN_PITCHES_RAD = (-0.25, 0.0, 0.25)
"""Cameras such as models are trained with. What none of them sees, nothing has ever shaped: there
the small model has a second face at the back of the head."""

BEHIND = 0.02
"""How far (scene units) behind what a camera sees a point still counts as seen."""


SKIN = (-0.01, 0.03)
"""From where (scene units) before the surface to where behind it colours are added up."""
SKIN_SAMPLES = 8
POINTS_AT_ONCE = 1 << 15
"""Vertices coloured together; bounds the memory, not the result."""


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """A volume as one camera sees it."""

    camera: Array
    """[4, 4] world_from_camera."""
    focal: float
    depth: Array
    """[S, S] distance along each ray."""
    alpha: Array
    """[S, S] opacity, 0..1."""

    @classmethod
    def of(
        cls, generator: Generator, planes: Tensor, camera: Array, focal: float = geometry.FOCAL
    ) -> Sight:
        """Look at planes [1, 3 C, H, W]."""
        label = torch.from_numpy(geometry.label(camera, focal))[None].to(planes.device)
        with torch.inference_mode():
            seen = generator.look(planes, label, side=LOOK_PX, coloured=False)
        depth, alpha = (
            part.reshape(LOOK_PX, LOOK_PX).double().cpu().numpy()
            for part in (seen.depths, seen.alphas)
        )
        return cls(camera, focal, depth, alpha)

    def project(self, points: Array) -> tuple[Array, Array]:
        """[N, 2] places of world points [N, 3] in the picture, 0..1 where they are in it, and [N]
        distances from the camera."""
        local = (points - self.camera[:3, 3]) @ self.camera[:3, :3]
        places = self.focal * local[:, :2] / local[:, 2:] + 0.5
        return places, np.linalg.norm(local, axis=1)

    def sees(self, points: Array) -> NDArray[np.bool_]:
        """[N] which of the world points [N, 3] are in the picture and not hidden."""
        places, distance = self.project(points)
        inside = ((places >= 0) & (places < 1)).all(axis=1)
        column, row = (places.clip(0, 1 - 1e-9) * LOOK_PX).astype(int).T
        near = distance < self.depth[row, column] + BEHIND
        return np.asarray(inside & near & (self.alpha[row, column] > 0.5))


def drawn_level(generator: Generator, planes: Tensor) -> float:
    """The raw density through whose surface pictures are drawn: its median where the front camera
    sees something solid.

    Args:
        planes: [1, 3 C, H, W].

    Raises:
        ConfigError: nothing solid is to be seen.
    """
    label = torch.from_numpy(geometry.label(geometry.label_camera(0.0, 0.0)))[None]
    label = label.to(planes.device)
    with torch.inference_mode():
        seen = generator.look(planes, label, side=LOOK_PX, coloured=False)
        rays = camera_rays(label, LOOK_PX)
        sigmas = generator.query(planes, rays.origins + rays.directions * seen.depths).sigmas
        solid = sigmas[seen.alphas > 0.9]
    if not len(solid):
        raise ConfigError("the volume shows nothing solid; --level says where its surface is")
    return float(solid.median())


def seen_part(mesh: Mesh, generator: Generator, planes: Tensor) -> Mesh:
    """What cameras from the front and the sides see of a surface, in one piece.

    Args:
        planes: [1, 3 C, H, W].

    Raises:
        ConfigError: they see nothing of it.
    """
    seen = np.zeros(len(mesh.points), bool)
    for camera in _cameras():
        seen |= Sight.of(generator, planes, camera).sees(mesh.points)
    kept = mesh.part(with_even_rim(mesh, seen))
    if not len(kept.triangles):
        raise ConfigError("no camera sees the surface; try another --level, or --whole")
    return largest_piece(kept)


def _cameras() -> Iterator[Array]:
    for yaw in SEEN_YAWS_RAD:
        for pitch in SEEN_PITCHES_RAD:
            yield geometry.label_camera(float(yaw), pitch)


def painted(
    mesh: Mesh,
    generator: Generator,
    planes: Tensor,
    face: Face | None = None,
    picture: Image | None = None,
) -> Mesh:
    """A surface with the volume's colours, or where the source shows it, the source's.

    Args:
        planes: [1, 3 C, H, W].
        face: the source's matte and camera; None for the volume's colours alone.
        picture: [S, S, 3] the source's crop, of any size; the face's own where None.
    """
    own = _from_volume(mesh, generator, planes)
    if face is not None:
        crop = face.crop if picture is None else picture
        sight = Sight.of(generator, planes, *camera_of(face))
        shown, trust = _from_source(mesh, sight, crop, face.alpha)
        own += trust[:, None] * (shown - own)
    return replace(mesh, colours=np.round(255 * own.clip(0, 1)).astype(np.uint8))


def camera_of(face: Face) -> tuple[Array, float]:
    """[4, 4] world_from_camera of a face's crop, and its focal length."""
    return face.camera[:16].reshape(4, 4).astype(np.float64), float(face.camera[16])


def _from_volume(mesh: Mesh, generator: Generator, planes: Tensor) -> Array:
    """[N, 3] colours, 0..1, as a short ray through the surface, straight inward, adds them up: on
    the surface itself the volume is thin, and nobody ever saw its colours there alone."""
    depths = torch.linspace(*SKIN, SKIN_SAMPLES, device=planes.device)
    found = []
    whole = (torch.as_tensor(part, dtype=torch.float32) for part in (mesh.points, mesh.normals()))
    points, normals = (torch.split(part.to(planes.device), POINTS_AT_ONCE) for part in whole)
    for point, normal in zip(points, normals, strict=True):
        count = len(point)
        along = point[:, None] - depths[:, None] * normal[:, None]  # [N, S, 3]
        with torch.inference_mode():
            colours, sigmas = generator.query(planes, along.reshape(1, -1, 3))
            seen = composite(
                colours.reshape(1, count, SKIN_SAMPLES, -1),
                sigmas.reshape(1, count, SKIN_SAMPLES),
                depths.expand(1, count, SKIN_SAMPLES),
                generator.density_gain,
            )
        straight = seen.features[0, :, :3] / seen.alphas[0].clamp(min=0.05)
        found.append(straight.double().cpu().numpy())
    return np.concatenate(found)


def _from_source(mesh: Mesh, sight: Sight, crop: Image, matte: Image) -> tuple[Array, Array]:
    """[N, 3] colours, 0..1, of the crop at each vertex, and [N] how far they are trusted: as far
    as the source sees the surface, faces it, and shows the person there."""
    places, _ = sight.project(mesh.points)
    toward = sight.camera[:3, 3] - mesh.points
    toward /= np.linalg.norm(toward, axis=1, keepdims=True)
    facing = (mesh.normals() * toward).sum(axis=1)
    person = looked_up(matte[..., None], places)[:, 0] / 255
    trust = ((facing - 0.2) / 0.3).clip(0, 1) * ((person - 0.5) / 0.4).clip(0, 1)
    return looked_up(crop, places) / 255, trust * sight.sees(mesh.points)


def looked_up(picture: NDArray[np.uint8], places: Array) -> Array:
    """[N, C] bilinear samples of a picture [H, W, C] at places [N, 2] (x, y), 0..1; beyond its
    border, the border."""
    height, width = picture.shape[:2]
    x, y = (places * (width, height) - 0.5).clip(0, (width - 1, height - 1)).T
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    right, below = (left + 1).clip(max=width - 1), (top + 1).clip(max=height - 1)
    u, v = (x - left)[:, None], (y - top)[:, None]
    upper = picture[top, left] * (1 - u) + picture[top, right] * u
    lower = picture[below, left] * (1 - u) + picture[below, right] * u
    return np.asarray(upper * (1 - v) + lower * v)
