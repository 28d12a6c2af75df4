"""What a run shows of itself: losses, held-out scores and contact sheets, as files and in
TensorBoard."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from tpvideo.stages import geometry
from tpvideo.stages.networks.triplanenet import TriPlaneNet
from tpvideo.weights import store
from tpvideo.weights.evaluation.scores import psnr, ssim
from tpvideo.weights.training import datasets
from tpvideo.weights.training.batch import HeldOut
from tpvideo.weights.training.config import TrainingConfig
from tpvideo.weights.training.photographs import with_alpha
from tpvideo.weights.training.view_terms import Terms

log = logging.getLogger(__name__)

SHEET_YAWS_RAD = (-0.5, 0.0, 0.5)
SHEET_HEADS = 4
SCORED_HEADS = 8


class Watch:
    """Keeps running means of the loss terms, and looks at held-out heads now and then.

    Without a held-out folder the contact sheets show the first heads trained on, and there are no
    scores.
    """

    def __init__(self, config: TrainingConfig, network: TriPlaneNet) -> None:
        self.output = config.output
        self.means: dict[str, float] = {}
        self.board = _open_board(config)
        self.model = config.model
        self.is_held_out = config.held_out is not None
        folder = config.held_out or config.views
        self.heads: HeldOut | None = None
        if config.look_steps:
            count = SCORED_HEADS if self.is_held_out else SHEET_HEADS
            self.heads = datasets.open_folder(folder, config, network).held_out(count)

    def add(self, terms: Terms) -> None:
        """One step's loss terms."""
        for name, term in terms.items():
            level = float(term.value.detach())
            self.means[name] = 0.98 * self.means.get(name, level) + 0.02 * level

    def write(self, samples: int) -> None:
        """Say and note the running means."""
        log.info(" ".join(f"{name} {value:.4f}" for name, value in self.means.items()))
        self._note("loss", self.means, samples)

    def look(
        self, average: Mapping[str, Tensor], samples: int, device: torch.device
    ) -> dict[str, float]:
        """Render held-out heads with the averaged weights: a contact sheet, and scores.

        Returns:
            Scores by name; none without a held-out folder.
        """
        if self.heads is None:
            return {}
        network = store.build(self.model, "the settings")
        store.fit(network, average, "the average")
        network.requires_grad_(False).eval()
        sheet = contact_sheet(network, self.heads, device)
        self.output.mkdir(parents=True, exist_ok=True)
        path = self.output / f"sheet-{samples:08d}.png"
        Image.fromarray(sheet).save(path)
        if self.board is not None:
            self.board.add_image("sheet", sheet, samples, dataformats="HWC")
        if not self.is_held_out:
            return {}
        scores = held_out_scores(network, self.heads, device)
        log.info("held out: %s", " ".join(f"{name} {value:.3f}" for name, value in scores.items()))
        self._note("held out", scores, samples)
        return scores

    def close(self) -> None:
        """Finish the log file."""
        if self.board is not None:
            self.board.close()

    def _note(self, group: str, values: Mapping[str, float], samples: int) -> None:
        if self.board is not None:
            for name, value in values.items():
                self.board.add_scalar(f"{group}/{name}", value, samples)


def _open_board(config: TrainingConfig) -> Any:
    """TensorBoard's writer; None, with a notice, where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        log.warning("no TensorBoard logs: pip install 'tpvideo[training]' brings tensorboard")
        return None
    return SummaryWriter(str(config.output / "board"))


@torch.inference_mode()
def held_out_scores(network: TriPlaneNet, heads: HeldOut, device: torch.device) -> dict[str, float]:
    """Mean foreground PSNR (dB) and SSIM over all targets of all heads, without detail."""
    decibels, likeness = [], []
    for index in range(len(heads.images)):
        shown, targets = _rendered(network, heads, index, heads.target_labels[index], device)
        truth = (targets[:, :3] + 1) / 2
        mask = (with_alpha(targets)[:, 3:] > 0).float()
        decibels.append(psnr(shown, truth, mask))
        likeness.append(ssim(shown, truth, mask))
    return {"psnr": float(torch.cat(decibels).mean()), "ssim": float(torch.cat(likeness).mean())}


@torch.inference_mode()
def contact_sheet(network: TriPlaneNet, heads: HeldOut, device: torch.device) -> NDArray[np.uint8]:
    """[H, W, 3] a row for each head: input, renders at yaw -0.5, 0 and 0.5, render from the first
    target's camera, that target."""
    cameras = [geometry.label(geometry.look_at_camera(yaw)) for yaw in SHEET_YAWS_RAD]
    turned = torch.from_numpy(np.stack(cameras).astype(np.float32))
    rows = []
    for index in range(min(SHEET_HEADS, len(heads.images))):
        labels = torch.cat([turned, heads.target_labels[index, :1]])
        shown, targets = _rendered(network, heads, index, labels, device)
        side = shown.shape[-1]
        source = F.interpolate(heads.images[index : index + 1], (side, side), mode="bilinear")
        pictures = [(source + 1) / 2, shown, (targets[:1, :3] + 1) / 2]
        rows.append(torch.cat([*torch.cat(pictures)], dim=2))
    sheet = torch.cat(rows, dim=1).clamp(0, 1).mul(255).round().to(torch.uint8)
    return sheet.permute(1, 2, 0).contiguous().numpy()


def _rendered(
    network: TriPlaneNet, heads: HeldOut, index: int, labels: Tensor, device: torch.device
) -> tuple[Tensor, Tensor]:
    """[V, 3, T, T] one head from cameras [V, 25], 0..1 on black; and its targets, on the CPU."""
    found = network.invert(
        heads.images[index : index + 1].to(device), heads.labels[index : index + 1].to(device)
    )
    count = len(labels)
    view = network.render(
        found.planes.expand(count, -1, -1, -1), found.ws.expand(count, -1, -1), labels.to(device)
    )
    shown = (view.image[:, :3].float() + 1) / 2
    return shown.clamp(0, 1).cpu(), heads.targets[index]
