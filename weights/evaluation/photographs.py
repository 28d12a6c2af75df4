"""The paper's tables 2 and 3 on a folder in EG3D's format: likeness in the same view, identity in
others."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tpvideo.stages import geometry
from tpvideo.stages.networks.triplanenet import Inversion, TriPlaneNet
from tpvideo.weights.evaluation.report import Finding, Measure, Row, measure_table
from tpvideo.weights.evaluation.scores import ms_ssim
from tpvideo.weights.evaluation.views import fitted, sheet_of
from tpvideo.weights.training.critics import Critics, aligned, load_critics
from tpvideo.weights.training.photographs import Photographs

SIDE_PX = 256
"""Of the pictures that are compared."""
YAWS_RAD = (-0.8, -0.6, -0.3, 0.3, 0.6, 0.8)
SAME = "same view"
MEASURES = {
    "MSE": Measure("mse", ".4f"),
    "LPIPS": Measure("lpips", ".3f"),
    "MS-SSIM": Measure("ms_ssim", ".3f"),
    "ID": Measure("id", ".3f"),
    "seconds": Measure("seconds"),
    "CPU seconds": Measure("cpu_seconds"),
}
SHOWN = 6
"""Pictures on the contact sheet."""


def evaluate(network: TriPlaneNet, folder: Path, most: int | None = None) -> Finding:
    """The network's own pictures, without detail from the source, as the paper has them.

    LPIPS (AlexNet) and ID (ArcFace IR-SE50) where their files are in the weights store.
    """
    dataset = Photographs(folder, side=network.side, target_side=SIDE_PX, seed=0)
    critics = load_critics("lpips-alex", identity=True)
    held = dataset.held_out(len(dataset) if most is None else most)
    rows: list[Row] = []
    strips: list[list[Tensor]] = []
    for index, name in enumerate(dataset.names[: len(held.images)]):
        truth = held.targets[index, :, :3]
        found = list(_looks(network, held.images[index, None], held.labels[index, None]))
        source_yaw = _yaw(held.labels[index])
        for method, label, picture, times in found:
            scores = _scores(critics, picture, truth, label, held.labels[index, None], method)
            yaw = _yaw(label[0])
            rows.append(Row(name, method, yaw, abs(yaw - source_yaw), scores | times))
        if index < SHOWN:
            strips.append([truth / 2 + 0.5, *(picture / 2 + 0.5 for _, _, picture, _ in found)])
    known = {key for row in rows for key in row.scores}
    table = measure_table(rows, {k: v for k, v in MEASURES.items() if v.key in known})
    notes = _notes(len(held.images), critics)
    return Finding("EG3D folder", str(folder), rows, [table], notes, sheet_of(strips, 128))


@torch.inference_mode()
def _looks(
    network: TriPlaneNet, image: Tensor, label: Tensor
) -> Iterator[tuple[str, Tensor, Tensor, dict[str, float]]]:
    """The same view and the others: method, label, picture [1, 3, SIDE_PX, SIDE_PX] in -1..1, and
    what the inversion and the first picture took."""
    begin = time.perf_counter(), time.process_time()
    found = network.invert(image, label)
    picture = _picture(network, found, label)
    spent = {
        "seconds": time.perf_counter() - begin[0],
        "cpu_seconds": time.process_time() - begin[1],
    }
    yield SAME, label, picture, spent
    for yaw in YAWS_RAD:
        other = torch.from_numpy(geometry.label(geometry.look_at_camera(yaw)))[None]
        yield f"yaw {yaw:+.1f}", other, _picture(network, found, other), {}


def _picture(network: TriPlaneNet, found: Inversion, label: Tensor) -> Tensor:
    image = network.render(found.planes, found.ws, label).image[:, :3]
    return fitted(image.float(), SIDE_PX).clamp(-1, 1)


@torch.inference_mode()
def _scores(
    critics: Critics, picture: Tensor, truth: Tensor, label: Tensor, own: Tensor, method: str
) -> dict[str, float]:
    """Without the truth of another view, only who is seen can be compared there."""
    scores: dict[str, float] = {}
    if method == SAME:
        scores["mse"] = float(F.mse_loss(picture, truth))
        scores["ms_ssim"] = float(ms_ssim(picture / 2 + 0.5, truth / 2 + 0.5))
        if critics.perceptual is not None:
            scores["lpips"] = float(critics.perceptual(picture, truth))
    if critics.identity is not None:
        side = critics.identity.side
        first, second = (
            critics.identity(aligned(face, seen, side))
            for face, seen in ((picture, label), (truth, own))
        )
        scores["id"] = float(F.cosine_similarity(first, second))
    return scores


def _yaw(label: Tensor) -> float:
    return geometry.angles(np.asarray(label[:16]).reshape(4, 4))[0]


def _notes(count: int, critics: Critics) -> list[str]:
    notes = [
        f"{count} pictures at {SIDE_PX} pixels, mean ± standard error; MSE of colours in -1..1; "
        "the network's own pictures, without detail from the source; time for one inversion and "
        "one picture, generator included",
        "In novel views there is no truth: ID (cosine of ArcFace's vectors) with the input is all "
        "that can be compared.",
    ]
    for is_there, name, files in (
        (critics.perceptual, "LPIPS", "alexnet and lpips-alex"),
        (critics.identity, "ID", "ir-se50"),
    ):
        if is_there is None:
            notes.append(f"{name} is absent: it needs {files} in the weights store")
    return notes
