"""The paper's tables 2 and 3 on a folder in EG3D's format: likeness and depth in the same view,
identity in others."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tpvideo.pipeline.errors import InputError
from tpvideo.stages import geometry
from tpvideo.stages.detail import Seen
from tpvideo.stages.networks.triplanenet import Inversion, TriPlaneNet
from tpvideo.weights.evaluation.measures import absent, identity, same_view
from tpvideo.weights.evaluation.parametric import Landmarker, ParametricFace, normalised_error
from tpvideo.weights.evaluation.report import Finding, Group, Measure, Row, measure_table, table
from tpvideo.weights.evaluation.views import along_axis, depth_errors, fitted, sheet_of
from tpvideo.weights.training.critics import Critics, load_critics
from tpvideo.weights.training.photographs import Photographs, shrink

SIDE_PX = 256
"""Of the pictures that are compared."""
DEPTH_PX = 128
"""Of the depth maps."""
YAWS_RAD = (-0.8, -0.6, -0.3, 0.3, 0.6, 0.8)
MODEL = "model"
MEASURES = {
    "MSE ↓": Measure("mse", ".4f"),
    "LPIPS ↓": Measure("lpips", ".3f"),
    "ID ↑": Measure("id", ".3f"),
    "MS-SSIM ↑": Measure("ms_ssim", ".3f"),
    "Depth ↓": Measure("depth_mse", ".3f"),
    "true depth: MSE ↓": Measure("true_depth_mse", ".3f"),
    "shape ↓": Measure("shape", ".3f"),
    "infer. time (s) ↓": Measure("seconds"),
    "of the processor (s)": Measure("cpu_seconds"),
}
"""Table 2, and what a folder with true depths adds."""
NOVEL_ID = Measure("novel_id", ".3f")
SHOWN = 6
"""Pictures on the contact sheet."""


class Look(NamedTuple):
    """What a network makes of a picture from one camera."""

    seen: Seen
    picture: Tensor
    """[1, 3, SIDE_PX, SIDE_PX], -1..1."""


def evaluate(network: TriPlaneNet, folder: Path, most: int | None = None) -> Finding:
    """The network's own pictures, without detail from the source, as the paper has them.

    LPIPS (AlexNet) and ID (ArcFace IR-SE50) where their files are in the weights store; the
    truth of the depth where the folder has it (`depth/`).
    """
    dataset = Photographs(folder, side=network.side, target_side=SIDE_PX, seed=0)
    critics = load_critics("lpips-alex", identity=True)
    yardstick = Yardstick(ParametricFace.load(), Landmarker(), folder)
    rows: list[Row] = []
    strips: list[list[Tensor]] = []
    for index, name in enumerate(dataset.names[:most]):
        picture = dataset.picture(index)[:3] * 2 - 1
        truth, label = shrink(picture, SIDE_PX)[None], torch.from_numpy(dataset.labels[index])[None]
        found, own, times = _same(network, shrink(picture, network.side)[None], label)
        scores = same_view(critics, own.picture, truth) | times
        scores |= identity(critics, own.picture, label, truth, label)
        scores |= yardstick(name, truth, own.seen)
        rows.append(Row(name, MODEL, _yaw(label), 0.0, scores))
        strip = [truth, own.picture]
        for yaw, look in _novel(network, found):
            alike = identity(critics, look.picture, look.seen.labels, truth, label)
            told = {f"novel_{key}": value for key, value in alike.items()}
            rows.append(Row(name, MODEL, yaw, abs(yaw - _yaw(label)), told))
            strip.append(look.picture)
        if index < SHOWN:
            strips.append([shown / 2 + 0.5 for shown in strip])
    notes = _notes(rows, critics)
    return Finding("EG3D folder", str(folder), rows, tables(rows), notes, sheet_of(strips, 128))


def tables(rows: Sequence[Row]) -> list[str]:
    """Tables 2 and 3; the latter where there are identities."""
    known = {key for row in rows for key in row.scores}
    same = [row for row in rows if "mse" in row.scores]
    made = [measure_table(same, {k: v for k, v in MEASURES.items() if v.key in known})]
    if NOVEL_ID.key in known:
        columns = [Group(f"ID at {yaw:+.1f}", partial(_is_at, yaw)) for yaw in YAWS_RAD]
        columns.append(Group("Avg", lambda row: True))
        made.append(table([row for row in rows if "mse" not in row.scores], columns, [NOVEL_ID]))
    return made


def _is_at(yaw_rad: float, row: Row) -> bool:
    return row.yaw_rad == yaw_rad


@torch.inference_mode()
def _same(
    network: TriPlaneNet, image: Tensor, label: Tensor
) -> tuple[Inversion, Look, dict[str, float]]:
    """The inversion, the input's own view, and the seconds that both took."""
    begin = time.perf_counter(), time.process_time()
    found = network.invert(image, label)
    look = _look(network, found, label)
    spent = time.perf_counter() - begin[0], time.process_time() - begin[1]
    return found, look, {"seconds": spent[0], "cpu_seconds": spent[1]}


@torch.inference_mode()
def _novel(network: TriPlaneNet, found: Inversion) -> Iterator[tuple[float, Look]]:
    for yaw in YAWS_RAD:
        label = torch.from_numpy(geometry.label(geometry.look_at_camera(yaw)))[None]
        yield yaw, _look(network, found, label)


def _look(network: TriPlaneNet, found: Inversion, label: Tensor) -> Look:
    view = network.render(found.planes, found.ws, label)
    picture = fitted(view.image[:, :3].float(), SIDE_PX).clamp(-1, 1)
    return Look(Seen(label, view.depth, view.alpha), picture)


@dataclass(frozen=True, slots=True)
class Yardstick:
    """What a face's depth is compared with: the parametric face that fits the photograph, and the
    true depth where the folder has one."""

    face: ParametricFace
    landmarker: Landmarker
    folder: Path

    def __call__(self, name: str, photograph: Tensor, seen: Seen) -> dict[str, float]:
        """Depth errors of what is `seen` in place of a photograph [1, 3, S, S], -1..1: `depth_mse`
        against the parametric face; `true_depth_mse`, `shape` and `depth` against the truth;
        and `yardstick_mse`, the parametric face's own error."""
        expected = self.face.depth(self.landmarker(photograph), seen.labels, DEPTH_PX)
        depth = along_axis(seen, DEPTH_PX)
        region = (expected > 0) & (fitted(seen.alpha, DEPTH_PX) > 0.5)
        scores = {"depth_mse": normalised_error(depth, expected, region)}
        truth = self._truth(name)
        if truth is not None:
            there = region & (truth > 0)
            scores["true_depth_mse"] = normalised_error(depth, truth, there)
            scores["yardstick_mse"] = normalised_error(expected, truth, there)
            scores |= depth_errors(seen, truth)
        return {key: value for key, value in scores.items() if value is not None}

    def _truth(self, name: str) -> Tensor | None:
        """[1, 1, DEPTH_PX, DEPTH_PX] along the optical axis, 0 where nothing is."""
        path = (self.folder / "depth" / name).with_suffix(".npy")
        if not path.is_file():
            return None
        try:
            depth = torch.from_numpy(np.load(path, allow_pickle=False).astype(np.float32))
            return torch.nn.functional.interpolate(depth[None, None], (DEPTH_PX, DEPTH_PX))
        except (OSError, ValueError, TypeError, RuntimeError) as error:
            raise InputError(path, f"no map of depths ({error})") from error


def _yaw(label: Tensor) -> float:
    return geometry.angles(np.asarray(label[0, :16], np.float64).reshape(4, 4))[0]


def _notes(rows: Sequence[Row], critics: Critics) -> list[str]:
    count = len({row.name for row in rows})
    notes = [
        f"{count} pictures at {SIDE_PX} pixels, mean ± standard error; MSE of colours in -1..1; "
        "the network's own pictures, without detail from the source; time for one inversion and "
        "one picture, generator included",
        "Depth: mean squared difference of the face's depth from that of a parametric face "
        "(ICT-FaceKit) fitted to 68 landmarks of the photograph, both brought to mean 0 and "
        "deviation 1 within it",
        "In novel views there is no truth: ID (cosine of ArcFace's vectors) with the input is all "
        "that can be compared.",
    ]
    own = [row.scores["yardstick_mse"] for row in rows if "yardstick_mse" in row.scores]
    if own:
        notes.append(
            f"Measured in the same way, the fitted parametric face itself is {np.mean(own):.3f} "
            "from the true depth; shape: mean absolute error of the visible face against the "
            "truth, in distances between the eyes, without its median offset"
        )
    return notes + absent(critics)
