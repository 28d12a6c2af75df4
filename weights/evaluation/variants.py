"""What a network's own pictures of held-out heads are worth by the paper's measures (tables 4 and
5), and, since the truth is known, from other cameras too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from tpvideo.stages import geometry
from tpvideo.stages.detail import Seen
from tpvideo.stages.networks.generator import resize
from tpvideo.stages.networks.triplanenet import TriPlaneNet
from tpvideo.weights.evaluation.heldout import HeldOut
from tpvideo.weights.evaluation.measures import identity, same_view, sharpness
from tpvideo.weights.evaluation.report import FAR_RAD, Measure, Row, measure_table, paired
from tpvideo.weights.evaluation.scores import ms_ssim, psnr, ssim
from tpvideo.weights.evaluation.views import depth_errors, fitted
from tpvideo.weights.training.critics import Critics, face_distance

MEASURES = {
    "MSE ↓": Measure("mse", ".4f"),
    "LPIPS ↓": Measure("lpips", ".3f"),
    "MS-SSIM ↑": Measure("ms_ssim", ".4f"),
    "depth ↓": Measure("shape", ".4f"),
    "ID ↑": Measure("id", ".3f"),
    "turned: PSNR (dB) ↑": Measure("far_psnr_db"),
    "SSIM ↑": Measure("far_ssim", ".4f"),
    "MS-SSIM ↑ ": Measure("far_ms_ssim", ".4f"),
    "sharpness → 1": Measure("far_sharpness", ".3f"),
    "features ↓": Measure("far_features", ".3f"),
    "depth ↓ ": Measure("far_shape", ".4f"),
    "ID ↑ ": Measure("far_id", ".3f"),
}
"""By heading; those from `turned` on are of the views turned by FAR_RAD or more."""


@torch.inference_mode()
def rows_of(network: TriPlaneNet, heads: HeldOut, method: str, critics: Critics) -> Iterator[Row]:
    """Every head from its own camera and from those turned from it; the network's own pictures,
    without detail from the source."""
    features = face_distance()
    for index, name in enumerate(heads.names):
        rgba, labels = heads.rgba[index], heads.labels[index]
        source, own = rgba[:1, :3] * 2 - 1, labels[:1]
        found = network.invert(resize(source, network.side), own)
        for view, label in enumerate(labels[:, None]):
            turn = abs(_yaw(label) - _yaw(own))
            if view and turn < FAR_RAD:
                continue
            seen = network.render(found.planes, found.ws, label)
            picture = fitted(seen.image[:, :3].float(), rgba.shape[-1]).clamp(-1, 1)
            depth = heads.depth[index, view, None, None]
            scores = depth_errors(Seen(label, seen.depth, seen.alpha), depth)
            scores |= identity(critics, picture, label, source, own)
            if view:
                scores |= _foreground(picture, rgba[view, None])
                truth = rgba[view, None, :3] * 2 - 1
                scores["features"] = float(features(picture, truth))
                scores = _far(scores)
            else:
                scores |= same_view(critics, picture, source)
            yield Row(name, method, _yaw(label), turn, scores)


def _foreground(picture: Tensor, rgba: Tensor) -> dict[str, float]:
    """Of a picture [1, 3, S, S] in -1..1 and the truth [1, 4, S, S] in 0..1."""
    shown, truth, mask = picture / 2 + 0.5, rgba[:, :3], (rgba[:, 3:] > 0.5).float()
    return {
        "psnr_db": float(psnr(shown, truth, mask)),
        "ssim": float(ssim(shown, truth, mask)),
        "ms_ssim": float(ms_ssim(shown, truth)),
        "sharpness": sharpness(shown, truth, mask),
    }


def _far(scores: Mapping[str, float]) -> dict[str, float]:
    return {f"far_{key}": value for key, value in scores.items()}


def _yaw(label: Tensor) -> float:
    return geometry.angles(label[0, :16].reshape(4, 4).double().numpy())[0]


def tables(rows: Sequence[Row], reference: str) -> str:
    """Markdown: what each variant is worth, and by how much it differs from one of them."""
    known = {key for row in rows for key in row.scores}
    measures = {head: m for head, m in MEASURES.items() if m.key in known}
    differences = measure_table(paired(rows, reference), measures)
    return f"{measure_table(rows, measures)}\n\nLess {reference}, head by head:\n\n{differences}"
