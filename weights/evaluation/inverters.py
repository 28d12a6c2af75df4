"""Tables 2 and 3 of the paper in small: every inverter on the same held-out heads, in the view that
it was given and in others whose truth is known."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from tpvideo.stages import geometry
from tpvideo.stages.detail import Seen
from tpvideo.stages.networks.inverters import Subject, Watch, draw, followed
from tpvideo.stages.networks.inverters_by_steps import STEPS, expanded, inverter
from tpvideo.stages.networks.likeness import Likeness
from tpvideo.stages.networks.triplanenet import Inversion, TriPlaneNet
from tpvideo.stages.render import premultiplied
from tpvideo.weights import manifest
from tpvideo.weights.evaluation.heldout import HeldOut
from tpvideo.weights.evaluation.report import (
    FAR_RAD,
    Finding,
    Measure,
    Row,
    mean_and_error,
    measure_table,
)
from tpvideo.weights.evaluation.views import Made, Target, fitted, scored, sheet_of
from tpvideo.weights.training.critics import Metric, face_distance, load_perceptual

log = logging.getLogger(__name__)

SIDE_PX = 256
"""Of crops, where pictures are compared: the paper's."""
LPIPS: Mapping[Metric, str] = {"lpips-vgg": "vgg16", "lpips-alex": "alexnet"}
"""The perceptual distances that are looked for, and what they look through."""
FACE_FACTOR = 0.1
"""Of the distance between our face network's features, which is larger than LPIPS."""
METHODS = (
    "psp", "encoder", "w+", "pti", "pose", "spi", "planes-lbfgs", "w+:offsets", "psp:generator",
)  # fmt: skip
"""What is compared where nothing else is asked for: tables 2 and 3, and figure 6."""
OWN_VIEW = 1e-3
"""A turn (radians) below which a view is that of the input."""
SHOWN = 4
"""Heads on the contact sheet."""

MEASURES = {
    "same view: PSNR (dB)": Measure("same_psnr_db"),
    "SSIM": Measure("same_ssim", ".3f"),
    "MSE": Measure("same_mse", ".4f"),
    "perceptual": Measure("same_perceptual", ".3f"),
    f"turned by ≥ {FAR_RAD}: PSNR (dB)": Measure("far_psnr_db"),
    "SSIM there": Measure("far_ssim", ".3f"),
    "shape": Measure("shape", ".3f"),
    "depth": Measure("depth", ".3f"),
    "CPU seconds": Measure("cpu_seconds", ".0f"),
}

ORDER = (
    ("in the same view PTI is better than the encoder",
     "same_psnr_db", "pti", "encoder"),
    ("in the same view SPI is better than PTI",
     "same_psnr_db", "spi", "pti"),
    ("in the same view the encoder is better than its first branch alone",
     "same_psnr_db", "encoder", "psp"),
    ("in the same view optimised tri-planes are better than predicted ones",
     "same_psnr_db", "planes-lbfgs", "encoder"),
    ("far from the input's camera predicted tri-planes are better than optimised ones",
     "far_psnr_db", "encoder", "planes-lbfgs"),
    ("far from the input's camera the encoder is better than PTI",
     "far_psnr_db", "encoder", "pti"),
    ("far from the input's camera SPI is better than PTI",
     "far_psnr_db", "spi", "pti"),
    ("the encoder's depth is better than PTI's", "shape", "encoder", "pti"),
    ("the encoder's depth is better than SPI's", "shape", "encoder", "spi"),
    ("predicted offsets mend the depth of W+ optimisation", "shape", "w+:offsets", "w+"),
    ("tri-plane optimisation keeps the depth better than tuning the generator, both from W+ "
     "prediction", "shape", "planes-lbfgs", "psp:generator"),
)  # fmt: skip
"""What the paper finds (tables 2 and 3, section 4.3), the score that shows it, and the methods of
which the first should be better."""
LESS_IS_BETTER = ("shape",)


def load_likeness(device: torch.device | str = "cpu") -> tuple[Likeness, str]:
    """What optimisations minimise, and the name of its perceptual part: LPIPS (VGG16, as Karras et
    al. have it, else AlexNet), or, with a notice, features of our own face network, which the
    training command can use in its place."""
    for metric, backbone in LPIPS.items():
        if all(manifest.entry(name).is_here for name in (metric, backbone)):
            return Likeness(load_perceptual(metric)).to(device), metric
    log.warning(
        "LPIPS is not in the weights folder (lpips-vgg and vgg16, or lpips-alex and alexnet; see "
        "`tpvideo weights pull`); features of our own face network are compared instead"
    )
    return Likeness(face_distance(), FACE_FACTOR).to(device), "features of our face network"


def evaluate(
    network: TriPlaneNet,
    folder: Path,
    most: int | None = None,
    *,
    methods: Sequence[str] = METHODS,
    steps: int = STEPS,
    watch: Watch | None = None,
) -> Finding:
    """Foreground PSNR and SSIM, depth errors and processor time of every inverter.

    Args:
        network: as the store loads it, not lean.
        folder: of held-out heads.
        most: heads, at least 2.
        methods: see `inverters_by_steps.inverter`.
        steps: of each optimisation.

    Raises:
        ValueError: there is no such method.
    """
    likeness, perceptual = load_likeness()
    for method in methods:
        inverter(method, likeness, steps=steps)
    heads = HeldOut.read(folder, most)
    rows: list[Row] = []
    shown: list[list[Tensor]] = []
    for index, name in enumerate(heads.names):
        trial = Trial(network, heads, index, likeness, steps, watch)
        strips = [[target.truth for target in trial.targets()]]
        for method in methods:
            found = trial.rows(method)
            rows += [row for row, _ in found]
            strips.append([picture for _, picture in found])
            log.info("%s: %s is done", name, method)
        if index < SHOWN:
            shown += strips
    summary = list(summed_up(rows))
    tables = [measure_table(summary, MEASURES)]
    notes = [*_notes(len(heads.names), methods, steps, perceptual), *verdicts(summary)]
    kind = "inverters on held-out heads"
    return Finding(kind, str(folder), rows, tables, notes, sheet_of(shown, 128))


@dataclass
class Trial:
    """One head and what has been found of it; methods with the same first steps share them."""

    network: TriPlaneNet
    heads: HeldOut
    index: int
    likeness: Likeness
    steps: int
    watch: Watch | None = None
    found: dict[str, tuple[Inversion, float]] = field(default_factory=dict)
    """By the names of the steps: the inversion, and the processor time that it took, seconds."""

    @property
    def own(self) -> Tensor:
        """[1, 25] the input's camera."""
        return self.heads.labels[self.index, :1]

    @property
    def source_yaw(self) -> float:
        """Of the input's camera, radians."""
        return geometry.angles(self.own[0, :16].reshape(4, 4).numpy())[0]

    def targets(self) -> Iterator[Target]:
        """The input's own view, then the others."""
        for view in range(self.heads.rgba.shape[1]):
            rgba = self.heads.rgba[self.index, view, None]
            yield Target(
                self.heads.names[self.index],
                self.heads.labels[self.index, view, None],
                rgba[:, :3],
                (rgba[:, 3:] > 0.5).float(),
                depth=self.heads.depth[self.index, view][None, None],
            )

    def rows(self, method: str) -> list[tuple[Row, Tensor]]:
        """Scores and picture [1, 3, T, T], 0..1, of each target."""
        found, seconds = self.inverted(expanded(method))
        made = []
        for target in self.targets():
            with torch.no_grad():
                one = self._drawn(method, found, target)
            row = scored(one, self.source_yaw, target.name)
            if row.turn_rad < OWN_VIEW:
                further = self._of_own_view(one) | {"cpu_seconds": seconds}
                row = replace(row, scores={**row.scores, **further})
            made.append((row, one.picture))
        return made

    def inverted(self, names: Sequence[str]) -> tuple[Inversion, float]:
        """The inversion by steps of these names, and its processor time in seconds."""
        key = ":".join(names)
        if key not in self.found:
            before, earlier = self.inverted(names[:-1]) if len(names) > 1 else (None, 0.0)
            crop = fitted(self.heads.rgba[self.index, :1, :3] * 2 - 1, SIDE_PX)
            chain = inverter(key, self.likeness, steps=self.steps, watch=self.watch)
            begin = time.process_time()
            with torch.no_grad():
                found = chain.steps[-1](Subject(crop, self.own, self.network), before)
            self.found[key] = found, earlier + time.process_time() - begin
        return self.found[key]

    def _drawn(self, method: str, found: Inversion, target: Target) -> Made:
        view = draw(self.network, found, followed(found, self.own, target.label))
        colours, _ = premultiplied(view.image.float(), view.alpha)
        picture = fitted(colours, target.truth.shape[-1]).clamp(0, 1)
        # A camera that was moved has the same rays within it as the true one.
        return Made(method, target, picture, Seen(target.label, view.depth, view.alpha))

    def _of_own_view(self, made: Made) -> dict[str, float]:
        """The paper's measures of the whole picture, at SIDE_PX, colours in -1..1."""
        drawn, truth = (fitted(p * 2 - 1, SIDE_PX) for p in (made.picture, made.target.truth))
        scores = {"mse": float(F.mse_loss(drawn, truth))}
        if self.likeness.perceptual is not None:
            with torch.no_grad():
                scores["perceptual"] = float(self.likeness.perceptual(drawn, truth))
        return scores


def summed_up(rows: Sequence[Row]) -> Iterator[Row]:
    """A row for each head and method, with the scores that the table shows."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.name, row.method), []).append(row)
    for (name, method), own in groups.items():
        scores: dict[str, list[float]] = {}
        for row in own:
            is_same = row.turn_rad < OWN_VIEW
            for key, value in row.scores.items():
                if key in ("shape", "depth", "cpu_seconds"):
                    scores.setdefault(key, []).append(value)
                elif is_same or row.is_far:
                    where = "same" if is_same else "far"
                    scores.setdefault(f"{where}_{key}", []).append(value)
        means = {key: sum(values) / len(values) for key, values in scores.items()}
        yield Row(name, method, own[0].yaw_rad, 0.0, means)


def verdicts(summary: Sequence[Row]) -> Iterator[str]:
    """Which of the paper's findings hold here, a line each; only those whose methods were run."""
    found = {(row.name, row.method): row.scores for row in summary}
    names = list(dict.fromkeys(row.name for row in summary))
    for finding, key, better, worse in ORDER:
        gains = [
            Row(name, "", 0.0, 0.0, {key: own[key] - other[key]})
            for name in names
            if key in (own := found.get((name, better), {}))
            and key in (other := found.get((name, worse), {}))
        ]
        gain = mean_and_error(gains, key)
        if gain is None:
            continue
        sign = -1 if key in LESS_IS_BETTER else 1
        unit = "dB" if key.endswith("_db") else "distances between the eyes"
        if not abs(gain[0]) > 2 * gain[1]:  # also where one head alone has no error
            verdict = "is not decided"
        else:
            verdict = "holds" if sign * gain[0] > 0 else "DOES NOT HOLD"
        yield (
            f"the paper: {finding}: {verdict} ({better} less {worse}: "
            f"{gain[0]:+.3g} ± {gain[1]:.2g} {unit}, head by head)"
        )


def _notes(heads: int, methods: Sequence[str], steps: int, perceptual: str) -> list[str]:
    return [
        f"{heads} heads; mean ± standard error over heads. PSNR and SSIM over the pixels of the "
        f"head, on black; MSE (colours in -1..1) and perceptual distance ({perceptual}) of the "
        f"whole picture at {SIDE_PX} pixels. Shape and depth: mean absolute error of the visible "
        "face's depth over all views, in distances between the eyes, without and with its median "
        "offset. The network's own pictures, without detail from the input.",
        f"Each optimisation takes {steps} gradients; the paper takes 1000. CPU seconds are one "
        "inversion's, with the steps that it shares with other methods.",
        "Where the camera was optimised, the other cameras keep their place beside it.",
        *(
            f"{name} stands for {':'.join(expanded(name))}"
            for name in methods
            if [name] != expanded(name) and ":" not in name
        ),
    ]
