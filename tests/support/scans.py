"""A scan of the ball, as a folder of pictures with their cameras and a mesh."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
from balls import CENTRE, RADIUS, view
from PIL import Image

from tpvideo.stages import geometry
from tpvideo.stages.geometry import Array

LOOK, UNIT = np.array([1.0, 2.0, 3.0]), 8.0


def ball_mesh(rings: int = 24) -> tuple[Array, np.ndarray[tuple[int, ...], np.dtype[np.uint16]]]:
    """World vertices [N, 3] and triangles [M, 3] of the ball; poles along y."""
    polar, around = np.meshgrid(
        np.linspace(0, np.pi, rings + 1), np.linspace(0, 2 * np.pi, 2 * rings + 1), indexing="ij"
    )
    unit = np.stack(
        [np.sin(polar) * np.sin(around), np.cos(polar), np.sin(polar) * np.cos(around)], axis=-1
    )
    width = 2 * rings + 1
    first = (np.arange(rings)[:, None] * width + np.arange(width - 1)).ravel()
    corners = [first, first + width, first + 1, first + 1, first + width, first + width + 1]
    triangles = np.stack(corners, axis=1).reshape(-1, 3).astype(np.uint16)
    return CENTRE + RADIUS * unit.reshape(-1, 3), triangles


def glb(points: Array, triangles: np.ndarray[tuple[int, ...], np.dtype[np.uint16]]) -> bytes:
    """A binary glTF file of one mesh."""
    indices, places = triangles.tobytes(), points.astype(np.float32).tobytes()
    indices += b"\0" * (-len(indices) % 4)
    tree = {
        "asset": {"version": "2.0"},
        "accessors": [
            {"bufferView": 0, "componentType": 5123, "count": triangles.size, "type": "SCALAR"},
            {"bufferView": 1, "componentType": 5126, "count": len(points), "type": "VEC3"},
        ],
        "bufferViews": [
            {"buffer": 0, "byteLength": len(indices)},
            {"buffer": 0, "byteOffset": len(indices), "byteLength": len(places)},
        ],
        "buffers": [{"byteLength": len(indices) + len(places)}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 1}, "indices": 0}]}],
    }
    told = json.dumps(tree).encode()
    told += b" " * (-len(told) % 4)
    chunks = b"".join(
        struct.pack("<II", len(data), kind) + data
        for kind, data in ((0x4E4F534A, told), (0x004E4942, indices + places))
    )
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def save_scan(folder: Path, side: int = 64) -> Path:
    """Stills at yaw 0, 30 and -30 degrees by label cameras, on grey."""
    folder.mkdir()
    stills = []
    for degrees in (30, 0, -30):
        camera, rgba, _ = view(np.radians(degrees), 0.0, side)
        picture = rgba[..., :3] + 0.5 * (1 - rgba[..., 3:])
        name = f"still_yaw{degrees:+03d}.png"
        Image.fromarray(np.round(255 * picture.clip(0, 1)).astype(np.uint8)).save(folder / name)
        stills.append({"file": name, "yaw": degrees, "pitch": 0, "cam2world": camera.tolist()})
    told = {
        "look": LOOK.tolist(),
        "unit": UNIT,
        "intrinsics": [[geometry.FOCAL, 0, 0.5], [0, geometry.FOCAL, 0.5], [0, 0, 1]],
        "stills": stills,
    }
    (folder / "cameras.json").write_text(json.dumps(told))
    points, triangles = ball_mesh()
    (folder / "ball.glb").write_bytes(glb(LOOK + UNIT * points, triangles))
    return folder
