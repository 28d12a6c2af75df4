"""Pictures of meshes: in their colours, as clay, or as a map of errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw

from tpvideo.pipeline.frame import Image
from tpvideo.stages import geometry
from tpvideo.stages.geometry import Array
from tpvideo.stages.mesh import Mesh
from tpvideo.weights.training.heads import raster

CLAY = np.array([0.82, 0.80, 0.78])
AMBIENT = 0.25
LIGHT = np.array([-0.35, -0.55, -0.76])
"""Toward the lamp, in the camera's axes: from the upper left behind the camera."""
VIRIDIS = np.array(
    [[68, 1, 84], [72, 40, 120], [62, 74, 137], [49, 104, 142], [38, 130, 142],
     [31, 158, 137], [53, 183, 121], [109, 205, 89], [180, 222, 44], [253, 231, 37]]
)  # fmt: skip
"""Ten colours of the map by S. van der Walt and N. Smith (CC0), dark blue to yellow."""
BAR_PX = 70
"""Width of the scale beside a map."""


@dataclass(frozen=True, slots=True, eq=False)
class Drawing:
    """Which triangle each pixel shows, and where on it."""

    solid: NDArray[np.bool_]
    """[S, S] where there is one."""
    corners: NDArray[np.int64]
    """[P, 3] its vertices, for each of the P solid pixels."""
    weights: Array
    """[P, 3] their shares."""

    def of(self, values: Array) -> Array:
        """[P, C] what vertices have, [N, C], at the solid pixels."""
        return np.asarray((values[self.corners] * self.weights[..., None]).sum(axis=1))


def drawing(mesh: Mesh, camera: Array, focal: float, side: int) -> Drawing:
    """A mesh as a camera sees it.

    Args:
        camera: [4, 4] world_from_camera.
        focal: in sides of the picture.
        side: of the picture, pixels.
    """
    camera_from_world = np.linalg.inv(camera)[:3].astype(np.float32)
    screen = raster.project(mesh.points, camera_from_world, focal, side)
    nearness, second, third = np.zeros((3, side, side), np.float32)
    hit = np.full((side, side), -1, np.int32)
    both_sides = np.zeros(len(mesh.triangles), np.uint8)
    raster.fill_opaque(
        screen, mesh.triangles.astype(np.int32), both_sides, nearness, hit, second, third
    )
    _close_pinholes(hit, second, third)
    solid = hit >= 0
    shares = np.stack([1 - second[solid] - third[solid], second[solid], third[solid]], axis=1)
    return Drawing(solid, mesh.triangles[hit[solid]], shares.astype(np.float64))


def _close_pinholes(hit: NDArray[np.int32], *shares: NDArray[np.float32]) -> None:
    """Give single pixels that fell between neighbouring triangles what is to their left."""
    solid = hit >= 0
    inner = (slice(1, -1), slice(1, -1))
    around = solid[:-2, 1:-1] & solid[2:, 1:-1] & solid[1:-1, :-2] & solid[1:-1, 2:]
    rows, columns = np.nonzero(around & ~solid[inner])
    for values in (hit, *shares):
        values[rows + 1, columns + 1] = values[rows + 1, columns]


def picture(
    mesh: Mesh,
    camera: Array,
    side: int,
    *,
    focal: float = geometry.FOCAL,
    colours: Array | None = None,
    ambient: float = AMBIENT,
) -> Image:
    """[side, side, 3] a mesh on black.

    Args:
        camera: [4, 4] world_from_camera.
        colours: [N, 3] of the vertices, 0..1; None for clay.
        ambient: share of the light that comes from everywhere, the rest from a lamp beside the
            camera; 1 shows colours as they are.
    """
    drawn = drawing(mesh, camera, focal, side)
    own = CLAY if colours is None else drawn.of(colours)
    if ambient < 1:
        normals = drawn.of(mesh.normals())
        normals /= np.linalg.norm(normals, axis=1, keepdims=True).clip(1e-9)
        toward = camera[:3, :3] @ (LIGHT / np.linalg.norm(LIGHT))
        lit = ambient + (1 - ambient) * (normals @ toward).clip(0)  # the inner side is darkest
        own = own * lit[:, None]
    result = np.zeros((side, side, 3), np.uint8)
    result[drawn.solid] = np.round(255 * np.clip(own, 0, 1))
    return result


def heat(values: Array, most: float) -> Array:
    """[N, 3] colours, 0..1, of values [N] from 0 (dark blue) to `most` and beyond (yellow)."""
    place = (values / most).clip(0, 1) * (len(VIRIDIS) - 1)
    low = np.floor(place).astype(int).clip(max=len(VIRIDIS) - 2)
    share = (place - low)[:, None]
    return np.asarray((VIRIDIS[low] * (1 - share) + VIRIDIS[low + 1] * share) / 255)


def heat_colours(values: Array, region: NDArray[np.bool_], most: float) -> Array:
    """[N, 3] colours of vertices: of their values [N] within the region [N], clay elsewhere."""
    known = np.where(region, values, 0.0)
    return np.where(region[:, None], heat(known, most), CLAY)


def sheet(columns: Sequence[Sequence[Image]], titles: Sequence[str], most: float) -> Image:
    """Columns of pictures, each under its title, and the scale of a map from 0 to `most`."""
    whole = np.concatenate([np.concatenate(list(column)) for column in columns], axis=1)
    height, width = whole.shape[:2]
    page = Pillow.new("RGB", (width + BAR_PX, height))
    page.paste(Pillow.fromarray(whole), (0, 0))
    pen = ImageDraw.Draw(page)
    step = width // len(columns)
    for number, title in enumerate(titles):
        pen.text((number * step + 6, 4), title, fill="white")
    bar = heat(np.linspace(most, 0, height - 40), most)[:, None].repeat(16, axis=1)
    page.paste(Pillow.fromarray(np.round(255 * bar).astype(np.uint8)), (width + 8, 20))
    for share in (0.0, 0.5, 1.0):
        level = 20 + (1 - share) * (height - 41)
        pen.text((width + 28, level - 6), f"{share * most:.3g}", fill="white")
    return np.asarray(page)
