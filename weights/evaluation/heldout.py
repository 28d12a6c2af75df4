"""Scores of a tri-plane model on synthetic heads it never saw, against doing without one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tpvideo.pipeline.errors import ConfigError
from tpvideo.pipeline.frame import Face
from tpvideo.stages import geometry, pixels
from tpvideo.stages.networks.triplanenet import TriPlaneNet
from tpvideo.weights.evaluation.report import (
    FAR_RAD,
    Finding,
    Group,
    Measure,
    Row,
    mean_and_error,
    table,
)
from tpvideo.weights.evaluation.views import (
    DETAIL,
    INPUT,
    MEAN,
    MEAN_DEPTH,
    MODEL,
    WARP,
    Case,
    Target,
    attempts,
    scored,
    sheet_of,
)

QUALITY = (Measure("psnr_db"), Measure("ssim", ".3f", with_error=False))
DEPTH = (Measure("shape", ".3f"), Measure("depth", ".3f", with_error=False))
MARGINS_DB = {INPUT: 3.0, MEAN: 3.0, WARP: 3.0, MEAN_DEPTH: 1.0}
"""By how much the model with detail is to be better, from a turn of FAR_RAD on."""
OVERALL_DB = 22.0
SHOWN = 6
"""Heads on the contact sheet."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Views of heads that no training saw; view 0 is the input, the others are targets."""

    names: Sequence[str]
    rgba: Tensor
    """[N, V, 4, S, S] premultiplied, 0..1."""
    labels: Tensor
    """[N, V, 25]."""
    depth: Tensor
    """[N, V, S/2, S/2] along the optical axis; 0 where nothing is."""

    @classmethod
    def read(cls, folder: Path, most: int | None = None) -> HeldOut:
        """From the head generator's `--held-out` folder of npz files, or the first of them."""
        files = sorted(folder.glob("*.npz"))[:most]
        if len(files) < 2:
            raise ConfigError(f"{folder} holds no held-out heads; make them with --held-out")
        pictures, labels, depths = [], [], []
        for file in files:
            with np.load(file) as views:
                pictures.append(views["rgba"])
                labels.append([geometry.label(camera) for camera in views["c2w"]])
                depths.append(views["depth"].astype(np.float32))
        stacked = torch.from_numpy(np.stack(pictures)).permute(0, 1, 4, 2, 3).float() / 255
        names = [file.stem for file in files]
        return cls(
            names, stacked, torch.from_numpy(np.array(labels)), torch.from_numpy(np.stack(depths))
        )

    def case(self, index: int) -> Case:
        """One head."""
        own = self.rgba[index, 0, None]
        straight = own[:, :3] / own[:, 3:].clamp(min=1e-2)
        side = own.shape[-1]
        face = Face(
            crop=pixels.to_images(straight * 2 - 1)[0],
            alpha=pixels.to_images(own[:, 3:] * 2 - 1)[0],
            camera=self.labels[index, 0].numpy(),
            image_from_crop=np.eye(2, 3),
            confidence=1.0,
        )
        targets = [self._target(index, view) for view in range(1, self.rgba.shape[1])]
        return Case(face, own[:, :3], torch.zeros(1, 3, 1, 1).expand(1, 3, side, side), targets)

    def _target(self, index: int, view: int) -> Target:
        rgba, all_heads = self.rgba[index, view, None], self.rgba[:, view, :3]
        return Target(
            name=self.names[index],
            label=self.labels[index, view, None],
            truth=rgba[:, :3],
            mask=(rgba[:, 3:] > 0.5).float(),
            others=((all_heads.sum(dim=0) - rgba[0, :3]) / (len(all_heads) - 1))[None],
            depth=self.depth[index, view][None, None],
        )


def evaluate(network: TriPlaneNet, folder: Path, most: int | None = None) -> Finding:
    """Foreground PSNR and SSIM of every method on every target view, on black, and the error of
    the visible face's depth."""
    heads = HeldOut.read(folder, most)
    rows: list[Row] = []
    shown: list[list[Tensor]] = []
    for index, name in enumerate(heads.names):
        case = heads.case(index)
        source_yaw = geometry.angles(case.face.camera[:16].reshape(4, 4))[0]
        strips: dict[str, list[Tensor]] = {"truth": [case.repeated]}
        for made in attempts(network, case):
            rows.append(scored(made, source_yaw, name))
            if made.method == MODEL:
                strips["truth"].append(made.target.truth)
            if made.method in (DETAIL, MEAN_DEPTH):
                empty = [torch.zeros_like(made.picture)]
                strips.setdefault(made.method, empty).append(made.picture)
        if index < SHOWN:
            shown += strips.values()
    columns = list(_columns(rows))
    tables = [table(rows, columns, QUALITY)]
    surfaces = [row for row in rows if row.method in (MODEL, MEAN_DEPTH)]
    tables.append(table(surfaces, columns, DEPTH))
    return Finding("held-out heads", str(folder), rows, tables, _notes(rows), sheet_of(shown, 128))


def _columns(rows: Sequence[Row]) -> Iterator[Group]:
    """The target yaws, those far from the input's, and all together."""
    for yaw in sorted({round(row.yaw_rad, 2) for row in rows}):
        yield Group(f"yaw {yaw:+.2f}", partial(_is_at, yaw))
    yield Group(f"turned by ≥ {FAR_RAD}", lambda row: row.is_far)
    yield Group("all", lambda row: True)


def _is_at(yaw_rad: float, row: Row) -> bool:
    return round(row.yaw_rad, 2) == yaw_rad


def _notes(rows: Sequence[Row]) -> list[str]:
    heads = len({row.name for row in rows})
    return [
        f"{heads} heads; foreground PSNR in dB ± standard error over heads / foreground SSIM, on "
        "black. Second table: mean absolute depth error of the visible face in distances between "
        "the eyes, without its median offset / with it.",
        "The mean head is the mean of the other heads in the same view; what the input does not "
        "show of the reprojection has its colours.",
        *margins(rows),
        *_overall(rows),
    ]


def margins(rows: Sequence[Row]) -> list[str]:
    """By how much the model with detail is better where the view is a novel one, a line each."""
    lines = []
    for method, least in MARGINS_DB.items():
        better = mean_and_error(_advantages(rows, method), "psnr_db")
        if better is None:
            continue
        verdict = "holds" if better[0] >= least else "FAILS"
        lines.append(
            f"target: turned by ≥ {FAR_RAD}, {DETAIL} is ≥ {least:g} dB better than {method}: "
            f"{verdict} ({better[0]:+.2f} ± {better[1]:.2f} dB)"
        )
    return lines


def _advantages(rows: Sequence[Row], method: str) -> Iterator[Row]:
    """How many dB the model with detail is better, view by view."""
    own = {(r.name, r.yaw_rad): r for r in rows if r.method == DETAIL and r.is_far}
    for row in rows:
        if row.method == method and row.is_far:
            mine = own[row.name, row.yaw_rad].scores["psnr_db"]
            scores = {"psnr_db": mine - row.scores["psnr_db"]}
            yield Row(row.name, method, row.yaw_rad, row.turn_rad, scores)


def _overall(rows: Sequence[Row]) -> Iterator[str]:
    found = mean_and_error([row for row in rows if row.method == DETAIL], "psnr_db")
    if found is not None:
        verdict = "holds" if found[0] >= OVERALL_DB else "FAILS"
        yield f"target: ≥ {OVERALL_DB:g} dB overall: {verdict} ({found[0]:.2f} ± {found[1]:.2f} dB)"
