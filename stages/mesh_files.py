"""Meshes into files: PLY, OBJ and GLB, with normals and colours of the vertices.

Three short formats, written here: a library for them would be ten times the code of this file and
one more thing to install. All keep EG3D's world as it is: y up, the face toward +z, right-handed,
which are glTF's own axes.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tpvideo.pipeline.errors import OutputError
from tpvideo.pipeline.frame import Image, Rendered, Stamp
from tpvideo.stages.mesh import Mesh
from tpvideo.stages.pictures import output_errors, part_of, save_picture

Coloured = NDArray[np.uint8]

INDICES = "indices"
MATTE = {
    "pbrMetallicRoughness": {"metallicFactor": 0, "roughnessFactor": 1},
    "doubleSided": True,  # an open surface: seen from inside, it should not vanish
}
"""Of glTF."""


def save_mesh(mesh: Mesh, target: Path) -> None:
    """Write a mesh as its suffix says; it appears under its name only when whole.

    Raises:
        OutputError: the suffix is not known, or the file cannot be written.
    """
    write = writer_for(target)
    with whole(target) as part:
        part.write_bytes(write(mesh))


def save_image(picture: Image, target: Path) -> None:
    """Write a picture [H, W, 3], likewise.

    Raises:
        OutputError: the file cannot be written.
    """
    with whole(target) as part:
        save_picture(Rendered(Stamp(0, 0), picture), part)


@contextmanager
def whole(target: Path) -> Iterator[Path]:
    """A hidden name to write to, which then becomes the target's."""
    part = part_of(target)
    try:
        with output_errors(target):
            yield part
            os.replace(part, target)
    finally:
        with suppress(OSError):  # renamed, or never made
            part.unlink()


def writer_for(target: Path) -> Callable[[Mesh], bytes]:
    """What turns a mesh into the bytes of such a file.

    Raises:
        OutputError: the suffix is not known.
    """
    known = {".ply": ply, ".obj": obj, ".glb": glb}
    if target.suffix.lower() not in known:
        raise OutputError(target, f"the suffix of a mesh must be one of {' '.join(known)}")
    return known[target.suffix.lower()]


def ply(mesh: Mesh) -> bytes:
    """Binary little-endian PLY; colours in sRGB."""
    fields: list[tuple[str, str]] = [(name, "<f4") for name in ("x", "y", "z", "nx", "ny", "nz")]
    if mesh.colours is not None:
        fields += [(name, "u1") for name in ("red", "green", "blue")]
    vertices = np.empty(len(mesh.points), fields)
    numbers = np.concatenate([mesh.points, mesh.normals()], axis=1)
    for (name, _), column in zip(fields, [*numbers.T, *_bytes(mesh).T], strict=True):
        vertices[name] = column
    faces = np.empty(len(mesh.triangles), [("count", "u1"), ("corners", "<i4", 3)])
    faces["count"], faces["corners"] = 3, mesh.triangles
    kinds = {"<f4": "float", "u1": "uchar"}
    header = [
        "ply", "format binary_little_endian 1.0",
        "comment EG3D scene units: y up, the face toward +z",
        f"element vertex {len(vertices)}",
        *(f"property {kinds[kind]} {name}" for name, kind in fields),
        f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header",
    ]  # fmt: skip
    return "\n".join([*header, ""]).encode() + vertices.tobytes() + faces.tobytes()


def obj(mesh: Mesh) -> bytes:
    """Wavefront OBJ; colours, sRGB in 0..1, behind the coordinates, as most programs read them."""
    rows = np.concatenate([mesh.points, _bytes(mesh) / 255], axis=1)
    lines = ["# EG3D scene units: y up, the face toward +z"]
    lines += ["v " + " ".join(f"{number:.6g}" for number in row) for row in rows.tolist()]
    lines += ["vn {:.4f} {:.4f} {:.4f}".format(*row) for row in mesh.normals().tolist()]
    lines += ["f {0}//{0} {1}//{1} {2}//{2}".format(*row) for row in (mesh.triangles + 1).tolist()]
    return "\n".join([*lines, ""]).encode()


def glb(mesh: Mesh) -> bytes:
    """Binary glTF 2.0, one mesh of one primitive; colours linear, as glTF has them."""
    arrays = _gltf_arrays(mesh)
    views, accessors, at = [], [], 0
    for number, (name, (array, facts)) in enumerate(arrays.items()):
        target = 34963 if name == INDICES else 34962
        views.append({"buffer": 0, "byteOffset": at, "byteLength": array.nbytes, "target": target})
        accessors.append({"bufferView": number, "count": len(array), **facts})
        at += array.nbytes  # each a whole number of four bytes
    attributes = {name: number for number, name in enumerate(arrays) if name != INDICES}
    tree = {
        "asset": {"version": "2.0", "generator": "tpvideo"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": attributes, "indices": 0, "material": 0}]}],
        "materials": [MATTE],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": at}],
    }
    told = json.dumps(tree).encode()
    told += b" " * (-len(told) % 4)
    binary = b"".join(array.tobytes() for array, _ in arrays.values())
    chunks = _chunk(told, 0x4E4F534A) + _chunk(binary, 0x004E4942)
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def _gltf_arrays(mesh: Mesh) -> dict[str, tuple[NDArray[np.generic], dict[str, object]]]:
    """What the file holds, in this order: arrays, and what their accessors say of them."""
    points = mesh.points.astype("<f4")
    bounds = {"min": points.min(axis=0).tolist(), "max": points.max(axis=0).tolist()}
    found: dict[str, tuple[NDArray[np.generic], dict[str, object]]] = {
        INDICES: (
            mesh.triangles.astype("<u4").reshape(-1, 1), {"componentType": 5125, "type": "SCALAR"}
        ),
        "POSITION": (points, {"componentType": 5126, "type": "VEC3", **bounds}),
        "NORMAL": (mesh.normals().astype("<f4"), {"componentType": 5126, "type": "VEC3"}),
    }  # fmt: skip
    if mesh.colours is not None:
        opaque = np.full((len(points), 4), 65535, "<u2")
        opaque[:, :3] = np.round(65535 * linear(mesh.colours))
        facts = {"componentType": 5123, "type": "VEC4", "normalized": True}
        found["COLOR_0"] = opaque, facts
    return found


def linear(colours: Coloured) -> NDArray[np.float64]:
    """sRGB levels as linear light, 0..1 (IEC 61966-2-1)."""
    unit = colours / 255
    return np.where(unit <= 0.04045, unit / 12.92, ((unit + 0.055) / 1.055) ** 2.4)


def _chunk(data: bytes, kind: int) -> bytes:
    return struct.pack("<II", len(data), kind) + data


def _bytes(mesh: Mesh) -> Coloured:
    """[N, 3] colours, or [N, 0] where there are none."""
    return np.empty((len(mesh.points), 0), np.uint8) if mesh.colours is None else mesh.colours
