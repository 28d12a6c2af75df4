"""A scan in a GLB file, and what a camera sees of it: silhouette and depth."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tpvideo.pipeline.errors import InputError
from tpvideo.stages.geometry import Array

JSON_CHUNK, BINARY_CHUNK = 0x4E4F534A, 0x004E4942
COMPONENTS = {5121: np.uint8, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
"""glTF 2.0, section 3.6.2.2."""
WIDTHS = {"SCALAR": 1, "VEC3": 3}

Triangles = NDArray[np.int64]


def read_glb(path: Path) -> tuple[Array, Triangles]:
    """Vertices [N, 3] and triangles [M, 3] of the first mesh of a binary glTF 2.0 file, as they
    are stored: a node's own transform is not applied.

    Raises:
        InputError: it is no such file, or its mesh is stored in a way that is not read here.
    """
    try:
        data = path.read_bytes()
        magic, version, _ = struct.unpack_from("<4sII", data)
        if magic != b"glTF" or version != 2:
            raise ValueError("not binary glTF 2.0")
        tree, binary = _chunks(data)
        primitive = tree["meshes"][0]["primitives"][0]
        points = _accessor(tree, binary, primitive["attributes"]["POSITION"])
        triangles = _accessor(tree, binary, primitive["indices"]).reshape(-1, 3).astype(np.int64)
        if triangles.max() >= len(points):
            raise ValueError("a triangle names a vertex that is not there")
    except OSError as error:
        raise InputError(path, error.strerror or str(error)) from error
    except (ValueError, KeyError, IndexError, TypeError, struct.error) as error:
        raise InputError(path, f"no mesh that can be read ({error})") from error
    return points.astype(np.float64), triangles


def _chunks(data: bytes) -> tuple[dict[str, Any], bytes]:
    found: dict[int, bytes] = {}
    at = 12
    while at + 8 <= len(data):
        length, kind = struct.unpack_from("<II", data, at)
        found.setdefault(kind, data[at + 8 : at + 8 + length])
        at += 8 + length
    return json.loads(found[JSON_CHUNK]), found[BINARY_CHUNK]


def _accessor(tree: dict[str, Any], binary: bytes, number: int) -> NDArray[Any]:
    accessor = tree["accessors"][number]
    view = tree["bufferViews"][accessor["bufferView"]]
    if "byteStride" in view or "sparse" in accessor:
        raise ValueError("interleaved or sparse data")
    width = WIDTHS[accessor["type"]]
    offset = view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
    kind, count = COMPONENTS[accessor["componentType"]], accessor["count"] * width
    return np.frombuffer(binary, kind, count, offset).reshape(-1, width)


def depth_map(
    points: Array, triangles: Triangles, camera_from_world: Array, focal: float, side: int
) -> NDArray[np.float32]:
    """[side, side] depth of the nearest surface along the optical axis, 0 where there is none.

    Every triangle is sampled twice as densely as the pixels, and each sample falls into one.

    Args:
        points: [N, 3].
        camera_from_world: [4, 4], OpenCV axes.
        focal: in sides of the picture, whose middle is the principal point.
    """
    local = points @ camera_from_world[:3, :3].T + camera_from_world[:3, 3]
    flat = (focal * local[:, :2] / local[:, 2:] + 0.5) * side
    corners = np.concatenate([flat, local[:, 2:]], axis=1)[triangles]  # [M, 3, 3] x, y, depth
    corners = corners[(corners[..., 2] > 0).all(axis=1)]
    longest = np.linalg.norm(corners[:, :, :2] - np.roll(corners, 1, axis=1)[:, :, :2], axis=2)
    steps = 2 ** np.ceil(np.log2(2 * longest.max(axis=1).clip(1, 4 * side))).astype(int)
    nearest = np.full(side * side, np.inf)
    for count in np.unique(steps):
        own = corners[steps == count]
        samples = np.einsum("sk,mkc->msc", _barycentric(int(count)), own)
        cells = np.floor(samples[..., :2])
        # What the triangle's plane has in the middle of the pixel, within the triangle's depths.
        across = (_slopes(own)[:, None] * (cells + 0.5 - samples[..., :2])).sum(axis=2)
        depth = samples[..., 2] + across
        depth = depth.clip(own[..., 2].min(axis=1)[:, None], own[..., 2].max(axis=1)[:, None])
        inside = ((cells >= 0) & (cells < side)).all(axis=2)
        column, row = cells[inside].astype(np.int64).T
        np.minimum.at(nearest, row * side + column, depth[inside])
    nearest[np.isinf(nearest)] = 0
    return nearest.reshape(side, side).astype(np.float32)


def _slopes(corners: Array) -> Array:
    """[M, 2] change of depth to the right and down on triangles [M, 3, 3] (x, y, depth); 0 for
    those seen edge on."""
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    normal = np.cross(first, second)
    upright = np.abs(normal[:, 2:]) > 1e-9
    return np.where(upright, -normal[:, :2] / np.where(upright, normal[:, 2:], 1.0), 0.0)


def _barycentric(steps: int) -> Array:
    """[S, 3] weights of the corners, `steps` to an edge."""
    a, b = np.meshgrid(np.arange(steps + 1), np.arange(steps + 1))
    keep = a + b <= steps
    first, second = a[keep] / steps, b[keep] / steps
    return np.stack([first, second, 1 - first - second], axis=1)
