"""Scores of a tri-plane model on synthetic heads it never saw, against doing without one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from tpvideo.pipeline.errors import ConfigError
from tpvideo.stages import geometry, pixels
from tpvideo.stages.detail import Seen, sharpen
from tpvideo.stages.networks.generator import resize
from tpvideo.stages.networks.triplanenet import TriPlaneNet
from tpvideo.stages.paint import paint
from tpvideo.stages.render import premultiplied
from tpvideo.weights.evaluation.scores import psnr, ssim

METHODS = ("model", "model with detail", "input repeated", "mean head")


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Views of heads that no training saw; view 0 is the input, the others are targets."""

    rgba: Tensor
    """[N, V, 4, S, S] premultiplied, 0..1."""
    labels: Tensor
    """[N, V, 25]."""

    @classmethod
    def read(cls, folder: Path) -> HeldOut:
        """From the head generator's `--held-out` folder of npz files."""
        files = sorted(folder.glob("*.npz"))
        if len(files) < 2:
            raise ConfigError(f"{folder} holds no held-out heads; make them with --held-out")
        pictures, labels = [], []
        for file in files:
            with np.load(file) as views:
                pictures.append(views["rgba"])
                labels.append([geometry.label(camera) for camera in views["c2w"]])
        stacked = torch.from_numpy(np.stack(pictures)).permute(0, 1, 4, 2, 3).float() / 255
        return cls(stacked, torch.from_numpy(np.array(labels)))


@dataclass(frozen=True, slots=True)
class Score:
    """Mean over heads for one method and one target view."""

    method: str
    yaw_rad: float
    psnr_db: float
    psnr_error_db: float
    """Standard error of the mean."""
    ssim: float


def score(
    network: TriPlaneNet, heads: HeldOut, *, dtype: torch.dtype
) -> tuple[list[Score], Tensor]:
    """Foreground PSNR and SSIM of every method on every target view, on black.

    `mean head` is the average of the other held-out heads in the same view.

    Returns:
        The scores, and the model's pictures with detail [N, V - 1, 3, S, S], 0..1.
    """
    pairs = [_render(network, heads, index, dtype) for index in range(len(heads.rgba))]
    plain, detailed = (torch.stack(pictures) for pictures in zip(*pairs, strict=True))
    found = []
    for view in range(1, heads.rgba.shape[1]):
        truth = heads.rgba[:, view, :3]
        mask = (heads.rgba[:, view, 3:] > 0.5).float()
        mean = (truth.sum(dim=0) - truth) / (len(truth) - 1)
        candidates = (plain[:, view - 1], detailed[:, view - 1], heads.rgba[:, 0, :3], mean)
        yaw = geometry.angles(heads.labels[0, view, :16].reshape(4, 4).numpy())[0]
        for method, pictures in zip(METHODS, candidates, strict=True):
            decibels, likeness = psnr(pictures, truth, mask), ssim(pictures, truth, mask)
            found.append(
                Score(
                    method,
                    round(yaw, 3),
                    float(decibels.mean()),
                    float(decibels.std() / len(decibels) ** 0.5),
                    float(likeness.mean()),
                )
            )
    return found, detailed


@torch.inference_mode()
def _render(
    network: TriPlaneNet, heads: HeldOut, index: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """[V - 1, 3, S, S] one head's target views from its view 0, without and with detail."""
    size = heads.rgba.shape[-1]
    images = resize(heads.rgba[index, :1, :3] * 2 - 1, network.side)
    source, targets = heads.labels[index, :1], heads.labels[index, 1:]
    count = len(targets)
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        found = network.invert(images, source)
        view = network.render(
            found.planes.expand(count, -1, -1, -1), found.ws.expand(count, -1, -1), targets
        )
    colours, alphas = premultiplied(view.image.float(), view.alpha)
    both = torch.cat([colours, alphas], dim=1)
    both = F.interpolate(both, (size, size), mode="bilinear", antialias=True)
    colours, alphas = both[:, :3], both[:, 3:]
    rgba = heads.rgba[index, :1]
    crops = pixels.to_images(rgba[:, :3] / rgba[:, 3:].clamp(min=1e-2) * 2 - 1) * count
    mattes = pixels.to_images(rgba[:, 3:] * 2 - 1) * count
    seen = Seen(targets, view.depth, view.alpha)
    layers = sharpen(colours, alphas, seen, crops, mattes, source.expand(count, -1))
    detailed, _ = paint(layers, crops, mattes, size)
    return colours, detailed


def table(scores: Sequence[Score]) -> str:
    """The scores as a Markdown table: a row a method, a column a yaw, and the overall mean."""
    yaws = sorted({score.yaw_rad for score in scores})
    lines = [
        "| method | " + " | ".join(f"yaw {yaw:+.2f}" for yaw in yaws) + " | mean |",
        "|---|" + "---|" * (len(yaws) + 1),
    ]
    for method in METHODS:
        row = {s.yaw_rad: s for s in scores if s.method == method}
        cells = [
            f"{row[y].psnr_db:.2f} ± {row[y].psnr_error_db:.2f} / {row[y].ssim:.3f}" for y in yaws
        ]
        mean = float(np.mean([row[y].psnr_db for y in yaws]))
        likeness = float(np.mean([row[y].ssim for y in yaws]))
        lines.append(f"| {method} | " + " | ".join(cells) + f" | {mean:.2f} / {likeness:.3f} |")
    return "\n".join(lines)


def contact_sheet(heads: HeldOut, rendered: Tensor, count: int = 8) -> NDArray[np.uint8]:
    """[H, W, 3] rows of input and true target views, each above what the model made of them."""
    rows = []
    for index in range(min(count, len(rendered))):
        truth = torch.cat([*heads.rgba[index, :, :3]], dim=2)
        made = torch.cat([torch.zeros_like(heads.rgba[index, 0, :3]), *rendered[index]], dim=2)
        rows += [truth, made]
    sheet = torch.cat(rows, dim=1).mul(255).round().to(torch.uint8)
    return sheet.permute(1, 2, 0).contiguous().numpy()
