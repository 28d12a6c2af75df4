"""Meshes out of files, as photogrammetry and scanners leave them: GLB, PLY and OBJ."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tpvideo.pipeline.errors import InputError
from tpvideo.stages.geometry import Array
from tpvideo.weights.evaluation.mesh import Triangles, read_glb

KINDS = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4",
    "float": "f4", "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2",
    "int32": "i4", "uint32": "u4", "float32": "f4", "float64": "f8",
}  # fmt: skip
"""Names of numbers in PLY, old and new."""
ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">"}


def read_mesh(path: Path) -> tuple[Array, Triangles]:
    """Vertices [N, 3] and triangles [M, 3] of a file; faces of more corners become fans.

    Raises:
        InputError: there is none, or it cannot be read as what its suffix says.
    """
    if path.suffix.lower() == ".glb":
        return read_glb(path)
    readers: dict[str, Callable[[bytes], tuple[Array, Triangles]]] = {".ply": _ply, ".obj": _obj}
    if path.suffix.lower() not in readers:
        raise InputError(path, "a mesh's suffix must be one of .glb .ply .obj")
    try:
        points, triangles = readers[path.suffix.lower()](path.read_bytes())
        if not len(triangles):
            raise ValueError("it has no faces")
        if triangles.min() < 0 or triangles.max() >= len(points):
            raise ValueError("a face names a vertex that is not there")
        if not np.isfinite(points).all():
            raise ValueError("a vertex is nowhere")
    except OSError as error:
        raise InputError(path, error.strerror or str(error)) from error
    except (ValueError, KeyError, IndexError, StopIteration) as error:
        raise InputError(path, f"no mesh that can be read ({error})") from error
    return points, triangles


def _obj(data: bytes) -> tuple[Array, Triangles]:
    points: list[list[float]] = []
    triangles: list[tuple[int, int, int]] = []
    for line in data.decode("utf-8", "replace").splitlines():
        kind, *words = line.split() or [""]
        if kind == "v":
            points.append([float(word) for word in words[:3]])
        elif kind == "f":
            # 7/2/3 is vertex, texture, normal; -1 is the vertex before.
            corners = [int(word.split("/")[0]) for word in words]
            triangles += _fan([c - 1 if c > 0 else len(points) + c for c in corners])
    return np.array(points, np.float64).reshape(-1, 3), _numbers(triangles)


def _ply(data: bytes) -> tuple[Array, Triangles]:
    head, mark, body = data.partition(b"end_header\n")
    if not data.startswith(b"ply") or not mark:
        raise ValueError("not PLY")
    lines = [line.split() for line in head.decode("ascii", "replace").splitlines()]
    order = next(words[1] for words in lines if words[:1] == ["format"])
    elements: list[tuple[str, int, list[list[str]]]] = []
    for words in lines:
        if words[:1] == ["element"]:
            elements.append((words[1], int(words[2]), []))
        elif words[:1] == ["property"]:
            elements[-1][2].append(words[1:])
    reader = _Words(body) if order == "ascii" else _Bytes(body, ORDERS[order])
    points, triangles = np.empty((0, 3)), _numbers([])
    for name, count, properties in elements:
        if name == "vertex":
            columns = [words[1] for words in properties]
            rows = reader.table([KINDS[words[0]] for words in properties], count)
            points = rows[:, [columns.index(axis) for axis in "xyz"]]
        elif name == "face":
            triangles = _numbers(
                [each for face in reader.faces(properties, count) for each in face]
            )
            break
        else:
            reader.table([KINDS[words[0]] for words in properties], count)
    return points, triangles


class _Words:
    """Numbers of an ASCII file."""

    def __init__(self, body: bytes) -> None:
        self.words = body.split()
        self.at = 0

    def table(self, kinds: list[str], count: int) -> Array:
        """[count, len(kinds)]."""
        return np.array(self._take(count * len(kinds)), np.float64).reshape(count, len(kinds))

    def faces(
        self, properties: list[list[str]], count: int
    ) -> Iterator[list[tuple[int, int, int]]]:
        """The triangles of each face."""
        for _ in range(count):
            for words in properties:
                length = int(self._take(1)[0]) if words[0] == "list" else 1
                corners = self._take(length)
                if words[0] == "list" and words[-1].startswith("vertex_ind"):
                    yield _fan([int(corner) for corner in corners])

    def _take(self, count: int) -> list[bytes]:
        taken = self.words[self.at : self.at + count]
        if len(taken) < count:
            raise ValueError("it is cut short")
        self.at += count
        return taken


class _Bytes:
    """Numbers of a binary file."""

    def __init__(self, body: bytes, order: str) -> None:
        self.body, self.order, self.at = body, order, 0

    def table(self, kinds: list[str], count: int) -> Array:
        """[count, len(kinds)]."""
        rows = self._take([(str(n), self.order + kind) for n, kind in enumerate(kinds)], count)
        columns = [rows[name].astype(np.float64) for name in rows.dtype.names or ()]
        return np.stack(columns, axis=1) if columns else np.empty((count, 0))

    def faces(
        self, properties: list[list[str]], count: int
    ) -> Iterator[list[tuple[int, int, int]]]:
        """The triangles of each face."""
        for _ in range(count):
            for words in properties:
                if words[0] != "list":
                    self._take(self.order + KINDS[words[0]], 1)
                    continue
                length = int(self._take(self.order + KINDS[words[1]], 1)[0])
                corners = self._take(self.order + KINDS[words[2]], length)
                if words[3].startswith("vertex_ind"):
                    yield _fan(corners.astype(int).tolist())

    def _take(self, kind: str | list[tuple[str, str]], count: int) -> NDArray[np.void]:
        wanted = np.dtype(kind)
        taken = np.frombuffer(self.body, wanted, count, self.at)  # ValueError where it is short
        self.at += count * wanted.itemsize
        return taken


def _fan(corners: list[int]) -> list[tuple[int, int, int]]:
    return [(corners[0], *pair) for pair in pairwise(corners[1:])]


def _numbers(triangles: list[tuple[int, int, int]]) -> Triangles:
    return np.array(triangles, np.int64).reshape(-1, 3)
