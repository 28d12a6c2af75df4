from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from tpvideo.pipeline.errors import InputError
from tpvideo.weights.evaluation.mesh_formats import read_mesh

SQUARE = [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0.5]]
FAN = [[0, 1, 2], [0, 2, 3]]

ASCII_PLY = """ply
format ascii 1.0
comment of no importance
element vertex 4
property float x
property float y
property float z
property uchar red
element face 1
property list uchar int vertex_index
property uchar flags
end_header
0 0 0 9
1 0 0 9
1 1 0 9
0 1 0.5 9
4 0 1 2 3 7
"""


def big_endian_ply() -> bytes:
    head = (
        "ply\nformat binary_big_endian 1.0\nelement camera 1\nproperty double f\n"
        "element vertex 4\nproperty uchar q\nproperty double z\nproperty float x\n"
        "property float y\nelement face 2\nproperty uchar flags\n"
        "property list uchar uint vertex_indices\nend_header\n"
    )
    body = struct.pack(">d", 4.2)
    body += b"".join(struct.pack(">Bdff", 1, z, x, y) for x, y, z in SQUARE)
    body += b"".join(struct.pack(">BB3I", 0, 3, *triangle) for triangle in FAN)
    return head.encode() + body


OBJ = """# a square
v 0 0 0
v 1 0 0 0.5 0.5 0.5
vt 0 0
v 1 1 0
v 0 1 0.5
f 1/1/1 2/1 3//1 -1
"""


@pytest.mark.parametrize(
    ("name", "data"),
    [("a.ply", ASCII_PLY.encode()), ("b.ply", big_endian_ply()), ("c.obj", OBJ.encode())],
)
def test_a_square_is_read_as_two_triangles(tmp_path: Path, name: str, data: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    points, triangles = read_mesh(path)
    np.testing.assert_allclose(points, SQUARE)
    np.testing.assert_array_equal(triangles, FAN)


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.ply", b"", "not PLY"),
        ("a.ply", ASCII_PLY[:-20].encode(), "cut short"),
        ("a.ply", big_endian_ply()[:-4], "no mesh that can be read"),
        ("a.ply", ASCII_PLY.replace("4 0 1 2 3", "4 0 1 2 9").encode(), "a vertex that is not"),
        ("a.obj", b"v 0 0 0\nv 1 0 0\n", "no faces"),
        ("a.obj", b"v 0 0 nan\nf 1 1 1\n", "nowhere"),
        ("a.obj", b"v a b c\n", "no mesh that can be read"),
        ("a.stl", b"solid", r"one of \.glb \.ply \.obj"),
    ],
)
def test_what_is_no_mesh_is_named(tmp_path: Path, name: str, data: bytes, reason: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(InputError, match=reason):
        read_mesh(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.ply: No such file"):
        read_mesh(tmp_path / "absent.ply")
