"""The paper's tables 2 and 3 on a folder in EG3D's format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tpvideo.pipeline.errors import InputError
from tpvideo.stages.networks.triplanenet import TriPlaneNet
from tpvideo.weights.evaluation.paper import DEPTH_PX, SIDE_PX, Trial, tables
from tpvideo.weights.evaluation.report import Finding, Row
from tpvideo.weights.evaluation.views import sheet_of
from tpvideo.weights.training.photographs import Photographs, shrink

SHOWN = 6
"""Pictures on the contact sheet."""


def evaluate(network: TriPlaneNet, folder: Path, most: int | None = None) -> Finding:
    """All pictures of a folder, or the first of them; see `paper`.

    Depths are also held to the truth where the folder has it (`depth/`).

    Raises:
        InputError: a picture or a map of depths cannot be read.
    """
    dataset = Photographs(folder, side=network.side, target_side=SIDE_PX, seed=0)
    trial = Trial(network)
    rows: list[Row] = []
    strips: list[list[Tensor]] = []
    for index, name in enumerate(dataset.names[:most]):
        picture = dataset.picture(index)[:3] * 2 - 1
        image, truth = (shrink(picture, side)[None] for side in (network.side, SIDE_PX))
        label = torch.from_numpy(dataset.labels[index])[None]
        tried = trial(name, image, truth, label, true_depth(folder, name))
        rows += tried.rows
        if index < SHOWN:
            strips.append(tried.strip)
    count = len({row.name for row in rows})
    notes = [f"{count} pictures", *trial.notes(rows)]
    return Finding("EG3D folder", str(folder), rows, tables(rows), notes, sheet_of(strips, 128))


def true_depth(folder: Path, name: str) -> Tensor | None:
    """[1, 1, DEPTH_PX, DEPTH_PX] along the optical axis, 0 where nothing is; None where the folder
    does not say."""
    path = (folder / "depth" / name).with_suffix(".npy")
    if not path.is_file():
        return None
    try:
        depth = torch.from_numpy(np.load(path, allow_pickle=False).astype(np.float32))
        return F.interpolate(depth[None, None], (DEPTH_PX, DEPTH_PX))
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise InputError(path, f"no map of depths ({error})") from error
