"""Scores on pictures of a real scan from known cameras: one of them is the input, cut out and given
a camera by the program's own face stage, as a photograph would be."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as Pillow
from torch import Tensor

from tpvideo.pipeline.errors import ConfigError, NoFaceError
from tpvideo.pipeline.frame import Face, Image
from tpvideo.stages import geometry, pixels
from tpvideo.stages.geometry import Array
from tpvideo.stages.networks.triplanenet import TriPlaneNet
from tpvideo.weights.evaluation.baselines import person_colour
from tpvideo.weights.evaluation.heldout import DEPTH, QUALITY, margins
from tpvideo.weights.evaluation.mesh import Triangles, depth_map, read_glb
from tpvideo.weights.evaluation.report import FAR_RAD, Finding, Group, Row, tall_table
from tpvideo.weights.evaluation.similarity import Similarity
from tpvideo.weights.evaluation.views import (
    DETAIL,
    MEAN_DEPTH,
    MODEL,
    Case,
    Target,
    attempts,
    scored,
    sheet_of,
)

DEPTH_PX = 128
"""Side of the maps that depths are compared in."""


@dataclass(frozen=True, slots=True)
class Still:
    """A picture of the scan."""

    path: Path
    rgb: Image
    """[S, S, 3]."""
    world_from_camera: Array
    """[4, 4] in the scan's own world."""

    @property
    def name(self) -> str:
        """The file's, without its suffix."""
        return self.path.stem


@dataclass(frozen=True, slots=True)
class Scan:
    """A folder of cameras.json, the pictures that it lists, and the scan as a .glb."""

    stills: list[Still]
    points: Array
    """[N, 3] vertices in the world of the cameras."""
    triangles: Triangles
    focal: float
    """In sides of the pictures."""

    @classmethod
    def read(cls, folder: Path, most: int | None = None) -> Scan:
        """
        Raises:
            ConfigError: cameras.json is not as it should be, or there is no scan.
            InputError: the scan cannot be read.
        """
        path = folder / "cameras.json"
        meshes = sorted(folder.glob("*.glb"))
        if len(meshes) != 1:
            raise ConfigError(f"{folder} should hold one scan as .glb, found {len(meshes)}")
        try:
            told: dict[str, Any] = json.loads(path.read_text("utf-8"))
            listed = sorted(told["stills"], key=_turn)[:most]
            stills = [
                Still(
                    folder / still["file"],
                    np.asarray(Pillow.open(folder / still["file"]).convert("RGB")),
                    np.array(still["cam2world"], np.float64).reshape(4, 4),
                )
                for still in listed
            ]
            look, unit = np.array(told["look"], np.float64), float(told["unit"])
            focal = float(told["intrinsics"][0][0])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path} does not tell the cameras of a scan: {error}") from error
        if len(stills) < 2:
            raise ConfigError(f"{path} should list at least two stills, found {len(stills)}")
        points, triangles = read_glb(meshes[0])
        return cls(stills, (points - look) / unit, triangles, focal)

    def depth(self, still: Still, side: int) -> Tensor:
        """[1, 1, side, side] depth in the scan's units, 0 where it is not."""
        camera_from_world = np.asarray(np.linalg.inv(still.world_from_camera), np.float64)
        seen = depth_map(self.points, self.triangles, camera_from_world, self.focal, side)
        return torch.from_numpy(seen)[None, None]


def _turn(still: dict[str, Any]) -> float:
    """How far from frontal."""
    return abs(float(still["yaw"])) + abs(float(still["pitch"]))


def evaluate(
    network: TriPlaneNet,
    folder: Path,
    face_of: Callable[[Path], Face | None],
    most: int | None = None,
) -> Finding:
    """Foreground PSNR and SSIM within the scan's silhouette, and the error of the visible face's
    depth, from every camera but the input's.

    Args:
        face_of: the program's own way from a picture to a crop and a camera.
        most: take only the cameras nearest to the front.
    """
    scan = Scan.read(folder, most)
    front = scan.stills[0]
    face = face_of(front.path)
    if face is None:
        raise NoFaceError(f"no face is found in {front.name} of {folder}")
    fit = Fit.of(scan, front, face)
    front_mask = scan.depth(front, front.rgb.shape[0]) > 0
    case = Case(
        face,
        _unit(front) * front_mask,
        person_colour(face.crop, face.alpha, (1, 1)),
        [_target(scan, still, fit) for still in scan.stills],
    )
    source_yaw = geometry.angles(fit.camera(front.world_from_camera))[0]
    rows: list[Row] = []
    strips: dict[str, list[Tensor]] = {"truth": []}
    for made in attempts(network, case):
        rows.append(scored(made, source_yaw, made.target.name))
        if made.method == MODEL:
            strips["truth"].append(made.target.truth)
        if made.method in (MODEL, DETAIL, MEAN_DEPTH):
            strips.setdefault(made.method, []).append(made.picture)
    return _finding(folder, rows, front.name, sheet_of(list(strips.values()), 128))


def _finding(folder: Path, rows: list[Row], front: str, sheet: Image) -> Finding:
    others = [row for row in rows if row.name != front]
    lines = list(_lines(list(dict.fromkeys(row.name for row in rows)), front))
    surfaces = [row for row in rows if row.method in (MODEL, MEAN_DEPTH)]
    views = len({row.name for row in others})
    notes = [
        f"The input is {front}, cut out and given a camera by the program's own face stage; "
        f"{views} other views by their true cameras relative to it. Foreground PSNR in dB ± "
        "standard error over views / foreground SSIM within the scan's silhouette, on black. "
        "Second table: mean absolute depth error of the visible face in distances between the "
        "eyes, without its median offset / with it.",
        "There is no mean head of one; what the input does not show of the reprojection has the "
        "mean colour of the person.",
        *margins(others),
    ]
    tables = [tall_table(rows, lines, QUALITY), tall_table(surfaces, lines, DEPTH)]
    return Finding("scan", str(folder), rows, tables, notes, sheet)


def _lines(names: Sequence[str], front: str) -> Iterator[Group]:
    """Every view by itself, then those far from the input's, and all but that one."""
    for name in names:
        yield Group(name, partial(_is, name))
    yield Group(f"turned by ≥ {FAR_RAD}", lambda row: row.is_far)
    yield Group("all but the input", lambda row: row.name != front)


def _is(name: str, row: Row) -> bool:
    return row.name == name


@dataclass(frozen=True, slots=True)
class Fit(Similarity):
    """The similarity from the scan's world to that of the label cameras."""

    focal: float
    """Of the scan's cameras."""

    @classmethod
    def of(cls, scan: Scan, still: Still, face: Face) -> Fit:
        """As the face stage's crop and camera have it.

        The crop's camera is the still's, turned to the crop's middle and about its axis. Its
        side gives the scale of a head as far away as the mean landmarks are; how far away they
        are in the scan is read from it. Cameras that see equal crops are taken to be equal, so
        that a crop larger or smaller than the still's own framing costs some perspective.
        """
        side = still.rgb.shape[0]
        label = face.camera[:16].reshape(4, 4).astype(np.float64)
        seen = (geometry.MEAN_LANDMARKS - label[:3, 3]) @ label[:3, :3]  # [5, 3]
        in_crop = (geometry.FOCAL * seen[:, :2] / seen[:, 2:] + 0.5) * face.crop.shape[0]
        turn = face.image_from_crop
        in_still = in_crop @ turn[:, :2].T + turn[:, 2]
        depth = scan.depth(still, side)[0, 0].numpy()
        column, row = np.floor(in_still).astype(int).clip(0, side - 1).T
        found = depth[row, column]
        if not (found > 0).any():
            raise NoFaceError(f"the face found in {still.name} does not lie on the scan")
        share = face.side_px / side
        mean = float(seen[:, 2].mean())
        scale = mean / float(found[found > 0].mean()) * scan.focal / geometry.FOCAL / share
        crop_from_still = _aimed(turn, face.crop.shape[0], side, scan.focal)
        middle = crop_from_still @ _point(in_still.mean(axis=0), found, side, scan.focal)
        shift = seen.mean(axis=0) - scale * middle
        rotation = label[:3, :3] @ crop_from_still @ still.world_from_camera[:3, :3].T
        at_camera = label[:3, :3] @ shift + label[:3, 3]
        offset = at_camera - scale * rotation @ still.world_from_camera[:3, 3]
        return cls(scale, rotation, offset, scan.focal)

    def camera(self, world_from_camera: Array) -> Array:
        """[4, 4] a camera of the scan in the labels' world."""
        moved = np.eye(4)
        moved[:3, :3] = self.rotation @ world_from_camera[:3, :3]
        moved[:3, 3] = self.points(world_from_camera[None, :3, 3])[0]
        return moved

    def label(self, world_from_camera: Array) -> Tensor:
        """[1, 25] the same camera moved along its line to the head's centre to the distance of
        label cameras, its lens as much shorter or longer: volumes are looked for there."""
        camera = self.camera(world_from_camera)
        line = camera[:3, 3] - geometry.HEAD_CENTRE
        usual = np.linalg.norm(geometry.label_camera(0, 0)[:3, 3] - geometry.HEAD_CENTRE)
        ratio = usual / np.linalg.norm(line)
        camera[:3, 3] = geometry.HEAD_CENTRE + ratio * line
        return torch.from_numpy(geometry.label(camera, self.focal * float(ratio)))[None]


def _aimed(turn: Array, crop_px: int, side: int, focal: float) -> Array:
    """[3, 3] rotation from the still's camera to one that has the crop's middle in its own, with
    the crop's sides level."""
    middle = turn[:, :2] @ [crop_px / 2, crop_px / 2] + turn[:, 2]
    forward = np.array([*((middle / side - 0.5) / focal), 1.0])
    forward /= np.linalg.norm(forward)
    right = np.array([turn[0, 0], turn[1, 0], 0.0])
    right -= forward * (right @ forward)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(forward, right), forward])


def _point(middle: Array, depths: Array, side: int, focal: float) -> Array:
    """[3] in camera coordinates: a place [2] of the still (pixels) at the mean of the depths."""
    depth = float(depths[depths > 0].mean())
    return np.array([*((middle / side - 0.5) / focal * depth), depth])


def _target(scan: Scan, still: Still, fit: Fit) -> Target:
    label = fit.label(still.world_from_camera)
    mask = (scan.depth(still, still.rgb.shape[0]) > 0).float()
    camera = label[0, :16].reshape(4, 4).double().numpy()
    camera_from_world = np.asarray(np.linalg.inv(camera), np.float64)
    depth = depth_map(
        fit.points(scan.points), scan.triangles, camera_from_world, float(label[0, 16]), DEPTH_PX
    )
    return Target(
        still.name, label, _unit(still) * mask, mask, depth=torch.from_numpy(depth)[None, None]
    )


def _unit(still: Still) -> Tensor:
    """[1, 3, S, S] 0..1."""
    return pixels.to_tensor([still.rgb]).add(1).div(2)
