"""A mesh to measure against, and where the five landmarks of its face are."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tpvideo.pipeline.errors import InputError, NoFaceError
from tpvideo.pipeline.frame import Face, Image
from tpvideo.pipeline.mesh.picture import drawing, picture
from tpvideo.stages import geometry
from tpvideo.stages.facefinder import FaceBox, Finder
from tpvideo.stages.geometry import Array
from tpvideo.stages.media import expect_file
from tpvideo.stages.mesh import Mesh
from tpvideo.weights.evaluation.mesh import Triangles, depth_map
from tpvideo.weights.evaluation.mesh_formats import read_mesh
from tpvideo.weights.evaluation.scan import Scan
from tpvideo.weights.evaluation.surfaces import Reference

CAMERAS = "cameras.json"
LOOK_PX = 512
"""Side of the pictures and depth maps that landmarks are read from."""
REACH = 0.03
"""How far (sides of a picture) beside the surface a landmark may fall."""
DISTANCE = 6.0
"""Of a camera from a reference's middle, in its radii."""


def read_reference(path: Path, finder: Finder, landmarks: Path | None) -> Reference:
    """A mesh and its landmarks: from a file; or found in the most frontal still of the
    cameras.json beside it; or found in pictures of the mesh itself.

    Raises:
        InputError: a file cannot be read.
        ConfigError: cameras.json is not as it should be.
        NoFaceError: no face is found.
    """
    expect_file(path)
    is_scan = path.suffix.lower() == ".glb" and (path.parent / CAMERAS).is_file()
    if landmarks is None and is_scan:
        return _of_scan(Scan.read(path.parent, 2), finder)
    points, triangles = read_mesh(path)
    if landmarks is not None:
        return Reference(points, triangles, read_landmarks(landmarks))
    return _of_mesh(path, points, triangles, finder)


def read_landmarks(path: Path) -> Array:
    """[5, 3] from a JSON file that is a list of five lists: the eye that is left in a frontal
    picture, the other, the tip of the nose, the left corner of the mouth and the right one.

    Raises:
        InputError: it holds anything else.
    """
    try:
        found = np.array(json.loads(path.read_text("utf-8")), np.float64)
    except OSError as error:
        raise InputError(path, error.strerror or str(error)) from error
    except (ValueError, TypeError) as error:
        raise InputError(path, f"not a JSON list of five points ({error})") from error
    if found.shape != (5, 3) or not np.isfinite(found).all():
        raise InputError(path, "not a JSON list of five points [x, y, z]")
    return found


def _of_scan(scan: Scan, finder: Finder) -> Reference:
    front = scan.stills[0]
    reading = _five(front.rgb, finder)
    if reading is None:
        raise NoFaceError(f"no face is found in {front.name}; --landmarks names a file with them")
    side = front.rgb.shape[0]
    camera_from_world = np.asarray(np.linalg.inv(front.world_from_camera), np.float64)
    seen = depth_map(scan.points, scan.triangles, camera_from_world, scan.focal, side)
    places = reading / side
    return Reference(
        scan.points,
        scan.triangles,
        lifted_points(places, seen, front.world_from_camera, scan.focal),
    )


def _of_mesh(path: Path, points: Array, triangles: Triangles, finder: Finder) -> Reference:
    """Look at a mesh from four sides, for y up and for z up; the side with the surest face is the
    front."""
    mesh = Mesh(points, triangles)
    found: list[tuple[float, Array, Array]] = []
    for camera, focal in _around(points):
        shown = picture(mesh, camera, LOOK_PX, focal=focal)
        boxes = finder.find(shown)
        if boxes:
            reading = finder.read(shown, boxes[0])
            facing = math.cos(reading.yaw_rad) * math.cos(reading.pitch_rad)
            seen = z_depth(mesh, camera, focal)
            at = lifted_points(reading.points / LOOK_PX, seen, camera, focal)
            found.append((reading.score * facing, at, camera))
    if not found:
        raise NoFaceError(
            f"no face is found in pictures of {path}; --landmarks names a file with its landmarks"
        )
    return Reference(points, triangles, max(found, key=lambda one: one[0])[1])


def _around(points: Array) -> Iterator[tuple[Array, float]]:
    """Cameras [4, 4] about a mesh, and their focal length: all of it is in the picture."""
    low, high = points.min(axis=0), points.max(axis=0)
    middle, radius = (low + high) / 2, float(np.linalg.norm(high - low)) / 2
    z_up = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    for turn in (np.eye(3), z_up):
        for quarter in range(4):
            toward = geometry.direction(quarter * math.pi / 2, 0.0)
            camera = geometry.aimed_camera(DISTANCE * radius * toward, np.zeros(3))
            camera[:3] = turn @ camera[:3]
            camera[:3, 3] += middle
            yield camera, DISTANCE / 2.2


def z_depth(mesh: Mesh, camera: Array, focal: float) -> NDArray[np.float32]:
    """[LOOK_PX, LOOK_PX] depth along the optical axis; 0 where nothing is."""
    drawn = drawing(mesh, camera, focal, LOOK_PX)
    depth = np.zeros((LOOK_PX, LOOK_PX), np.float32)
    depth[drawn.solid] = drawn.of((mesh.points - camera[:3, 3]) @ camera[:3, 2:3])[:, 0]
    return depth


def _five(rgb: Image, finder: Finder) -> Array | None:
    """[5, 2] landmarks (pixels) of the largest face; None where there is none."""
    boxes = finder.find(rgb)
    return finder.read(rgb, boxes[0]).points if boxes else None


def landmarks_of(mesh: Mesh, rgb: Image, face: Face, finder: Finder) -> Array:
    """[5, 3] where a head's surface has what its source shows at the landmarks.

    Args:
        mesh: of the head.
        rgb: [H, W, 3] the source.
        face: its crop and the camera that the head was inverted with.
    """
    turn, crop_px = face.image_from_crop, face.crop.shape[0]
    centre = turn[:, :2] @ [crop_px / 2, crop_px / 2] + turn[:, 2]
    box = FaceBox(centre, face.side_px, math.atan2(turn[1, 0], turn[0, 0]), 1.0)
    points = finder.read(rgb, box).points
    in_crop = np.linalg.solve(turn[:, :2], (points - turn[:, 2]).T).T
    camera = face.camera[:16].reshape(4, 4).astype(np.float64)
    focal = float(face.camera[16])
    return lifted_points(in_crop / crop_px, z_depth(mesh, camera, focal), camera, focal)


def lifted_points(
    places: Array, depth: NDArray[np.float32], world_from_camera: Array, focal: float
) -> Array:
    """[N, 3] world points of a surface at places [N, 2] (0..1) of a picture.

    Args:
        depth: [S, S] along the optical axis, 0 where nothing is.

    Raises:
        NoFaceError: a place is beside the surface.
    """
    side = depth.shape[0]
    rows, columns = np.nonzero(depth)
    found = []
    for place in places:
        apart = np.hypot(columns + 0.5 - place[0] * side, rows + 0.5 - place[1] * side)
        if not len(apart) or apart.min() > max(1.0, REACH * side):
            raise NoFaceError("a landmark of the face does not lie on the surface")
        nearest = apart.argmin()
        along = float(depth[rows[nearest], columns[nearest]])
        found.append([*((place - 0.5) / focal * along), along, 1.0])
    return np.asarray((np.array(found) @ world_from_camera.T)[:, :3])
