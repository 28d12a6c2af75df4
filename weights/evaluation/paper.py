"""The paper's tables 2 and 3: likeness and depth of a picture in the same view, identity in others.

All on the network's own pictures, without detail from the source, as the paper has them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tpvideo.stages import geometry
from tpvideo.stages.detail import Seen
from tpvideo.stages.networks.triplanenet import Inversion, TriPlaneNet
from tpvideo.weights.evaluation.measures import absent, identity, same_view
from tpvideo.weights.evaluation.parametric import Landmarker, ParametricFace, normalised_error
from tpvideo.weights.evaluation.report import Group, Measure, Row, measure_table, table
from tpvideo.weights.evaluation.views import along_axis, depth_errors, fitted
from tpvideo.weights.training.critics import load_critics

SIDE_PX = 256
"""Of the pictures that are compared."""
DEPTH_PX = 128
"""Of the depth maps."""
YAWS_RAD = (-0.8, -0.6, -0.3, 0.3, 0.6, 0.8)
OWN = "model, same view"
NOVEL = "model, novel view"
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
"""Table 2, and what is added where the true depth is known."""


class Tried(NamedTuple):
    """A picture, what was made of it, and what that is worth."""

    rows: list[Row]
    """The same view, then YAWS_RAD where identities are known."""
    strip: list[Tensor]
    """[1, 3, SIDE_PX, SIDE_PX], 0..1: the picture, the same view, YAWS_RAD."""


class Look(NamedTuple):
    """What a network makes of a picture, from one camera."""

    seen: Seen
    picture: Tensor
    """[1, 3, SIDE_PX, SIDE_PX], -1..1."""


class Trial:
    """Scores of a network, picture by picture. LPIPS (AlexNet) and ID (ArcFace IR-SE50) where
    their files are in the weights store; a warning for each that is not.

    Args:
        network: on the CPU, in evaluation mode.
    """

    def __init__(self, network: TriPlaneNet) -> None:
        self.network = network
        self.critics = load_critics("lpips-alex", identity=True)
        self.face = ParametricFace.load()
        self.landmarks = Landmarker()

    @torch.inference_mode()
    def __call__(
        self,
        name: str,
        image: Tensor,
        truth: Tensor,
        label: Tensor,
        true_depth: Tensor | None = None,
    ) -> Tried:
        """One picture.

        Args:
            name: of its rows.
            image: [1, 3, side, side], -1..1, at the network's side.
            truth: [1, 3, SIDE_PX, SIDE_PX] the same.
            label: [1, 25] its camera.
            true_depth: [1, 1, DEPTH_PX, DEPTH_PX] along the optical axis; 0 where nothing is.
        """
        found, own, times = self._same(image, label)
        scores = same_view(self.critics, own.picture, truth) | times
        scores |= identity(self.critics, own.picture, label, truth, label)
        scores |= self._depths(truth, own.seen, true_depth)
        source_yaw = geometry.angles(label[0, :16].reshape(4, 4).double().numpy())[0]
        tried = Tried([Row(name, OWN, source_yaw, 0.0, scores)], [truth, own.picture])
        for yaw in YAWS_RAD:
            other = torch.from_numpy(geometry.label(geometry.look_at_camera(yaw)))[None]
            look = self._look(found, other)
            scores = identity(self.critics, look.picture, other, truth, label)
            if scores:
                tried.rows.append(Row(name, NOVEL, yaw, abs(yaw - source_yaw), scores))
            tried.strip.append(look.picture)
        return Tried(tried.rows, [picture / 2 + 0.5 for picture in tried.strip])

    def _same(self, image: Tensor, label: Tensor) -> tuple[Inversion, Look, dict[str, float]]:
        """The inversion, the input's own view, and the seconds that both took."""
        begin = time.perf_counter(), time.process_time()
        found = self.network.invert(image, label)
        look = self._look(found, label)
        spent = time.perf_counter() - begin[0], time.process_time() - begin[1]
        return found, look, {"seconds": spent[0], "cpu_seconds": spent[1]}

    def _look(self, found: Inversion, label: Tensor) -> Look:
        view = self.network.render(found.planes, found.ws, label)
        picture = fitted(view.image[:, :3].float(), SIDE_PX).clamp(-1, 1)
        return Look(Seen(label, view.depth, view.alpha), picture)

    def _depths(self, truth: Tensor, seen: Seen, true_depth: Tensor | None) -> dict[str, float]:
        """`depth_mse` against the parametric face; `true_depth_mse`, `shape` and `depth` against
        the true depth; and `yardstick_mse`, the parametric face's own error."""
        with torch.inference_mode(mode=False):  # the fit takes derivatives
            expected = self.face.depth(self.landmarks(truth.clone()), seen.labels.clone(), DEPTH_PX)
        depth = along_axis(seen, DEPTH_PX)
        region = (expected > 0) & (fitted(seen.alpha, DEPTH_PX) > 0.5)
        scores = {"depth_mse": normalised_error(depth, expected, region)}
        if true_depth is not None:
            there = region & (true_depth > 0)
            scores["true_depth_mse"] = normalised_error(depth, true_depth, there)
            scores["yardstick_mse"] = normalised_error(expected, true_depth, there)
            scores |= depth_errors(seen, true_depth)
        return {key: value for key, value in scores.items() if value is not None}

    def notes(self, rows: Sequence[Row]) -> list[str]:
        """What the tables of these rows show and lack; a line each."""
        own = [row.scores["yardstick_mse"] for row in rows if "yardstick_mse" in row.scores]
        return [*NOTES, *_yardstick(own), *absent(self.critics)]


NOTES = (
    f"MSE (colours in -1..1) and the others at {SIDE_PX} pixels, mean ± standard error; the "
    "network's own pictures, without detail from the source; time for one inversion and one "
    "picture, generator included",
    "Depth: mean squared difference of the face's depth from that of a parametric face "
    "(ICT-FaceKit) fitted to landmarks of the source's picture, both brought to mean 0 and "
    "deviation 1 within it",
    "In novel views there is no truth: ID (cosine of ArcFace's vectors) with the input is all that "
    "can be compared.",
)


def _yardstick(errors: Sequence[float]) -> Iterator[str]:
    if errors:
        yield (
            f"Measured in the same way, the fitted parametric face itself is {np.mean(errors):.3f} "
            "from the true depth. Shape: mean absolute error of the visible face against the "
            "truth, in distances between the eyes, without its median offset"
        )


def tables(rows: Sequence[Row]) -> list[str]:
    """Tables 2 and 3; the latter where there are identities."""
    same, novel = ([row for row in rows if row.method == method] for method in (OWN, NOVEL))
    known = {key for row in same for key in row.scores}
    made = [measure_table(same, {k: v for k, v in MEASURES.items() if v.key in known})]
    if any("id" in row.scores for row in novel):
        columns = [Group(f"ID at {yaw:+.1f}", partial(_is_at, yaw)) for yaw in YAWS_RAD]
        columns.append(Group("Avg", lambda row: True))
        made.append(table(novel, columns, [MEASURES["ID ↑"]]))
    return made


def _is_at(yaw_rad: float, row: Row) -> bool:
    return row.yaw_rad == yaw_rad
