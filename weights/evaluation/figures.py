"""The paper's figures 5, 9, 27 and 28: what variants of a model make of held-out heads, and how far
their mirror images are believed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from tpvideo.pipeline.frame import Image
from tpvideo.stages.networks.generator import resize
from tpvideo.stages.networks.triplanenet import TriPlaneNet
from tpvideo.stages.networks.uncertainty import UncertaintyNet
from tpvideo.weights.evaluation.heldout import HeldOut
from tpvideo.weights.evaluation.views import fitted, sheet_of

SHOWN = 4
"""Heads of a figure."""
SIDE_PX = 128
"""Of each of its pictures."""


def beside(networks: Iterable[TriPlaneNet], heads: HeldOut) -> Image:
    """[H, W, 3] two rows for each of the first heads, its own view and the one farthest from it:
    the truth, then a column for each network."""
    columns = [list(_truths(heads)), *(list(_looks(network, heads)) for network in networks)]
    return sheet_of(list(zip(*columns, strict=True)), SIDE_PX)


def _truths(heads: HeldOut) -> Iterator[Tensor]:
    for index in range(min(SHOWN, len(heads.names))):
        for view in (0, _farthest(heads.labels[index])):
            yield heads.rgba[index, view, None, :3]


@torch.inference_mode()
def _looks(network: TriPlaneNet, heads: HeldOut) -> Iterator[Tensor]:
    for index in range(min(SHOWN, len(heads.names))):
        source, labels = heads.rgba[index, :1, :3] * 2 - 1, heads.labels[index]
        found = network.invert(resize(source, network.side), labels[:1])
        for view in (0, _farthest(labels)):
            seen = network.render(found.planes, found.ws, labels[view, None]).image[:, :3]
            yield fitted(seen.float(), source.shape[-1]).clamp(-1, 1) / 2 + 0.5


def _farthest(labels: Tensor) -> int:
    """Which of the cameras [V, 25] stands farthest from the first."""
    return int((labels[:, [3, 7, 11]] - labels[0, [3, 7, 11]]).norm(dim=1).argmax())


@torch.inference_mode()
def uncertainties(network: UncertaintyNet, heads: HeldOut) -> tuple[Image, tuple[float, float]]:
    """A row for each of the first heads: the picture, its mirror image, and the deviation σ
    expected there, from black for the least of the sheet to white for the most; and these two."""
    pictures = heads.rgba[:SHOWN, 0, :3]
    mirrored = pictures.flip(-1)
    deviations = network(mirrored * 2 - 1)
    least, most = float(deviations.min()), float(deviations.max())
    maps = ((deviations - least) / max(most - least, 1e-6)).expand(-1, 3, -1, -1)
    rows = [[part[None] for part in row] for row in zip(pictures, mirrored, maps, strict=True)]
    return sheet_of(rows, SIDE_PX), (least, most)
