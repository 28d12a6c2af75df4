"""What half precision and batches do to the published network's pictures."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from tpvideo.stages.networks.triplanenet import TriPlaneNet, mirror
from tpvideo.weights.goldens import Array, GoldenSet, reduce
from tpvideo.weights.parity_networks import Subject

ENOUGH_DB = 40.0
"""Pictures of half precision must be this close to float32; the eye sees no difference."""

BATCH_LIMIT = 1e-4
"""Batch and single results may differ by this share of the largest value: the libraries add up
in another order."""


def psnr(picture: Array, reference: Array) -> float:
    """Peak signal-to-noise ratio in dB of pictures in -1..1; NaN for one that holds a NaN."""
    error = float(np.mean((picture.astype(np.float64) - reference.astype(np.float64)) ** 2))
    return math.inf if error == 0 else 10 * math.log10(4 / error) if error > 0 else math.nan


@torch.inference_mode()
def picture_quality(
    goldens: GoldenSet, dtype: torch.dtype, device: torch.device
) -> dict[str, float]:
    """PSNR in dB of each golden picture of the whole pass, computed in `dtype`."""
    subject = Subject(goldens)
    network = subject.network.to(device)
    label, novel = subject.label.to(device), subject.novel.to(device)
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        found = network.invert(subject.image.to(device), label)
        pictures = {
            "init.image": network.render(found.first, found.ws, label).image,
            "y_hat": network.render(found.planes, found.ws, label).image,
            "y_hat_novel": network.render(found.planes, found.ws, novel).image,
        }
    qualities = {}
    for name, picture in pictures.items():
        file = "sr.npz" if name == "init.image" else "final_nearest.npz"
        reference = goldens.array(file, f"{name}.s4")
        qualities[name] = psnr(reduce(picture.float().cpu().numpy(), "s4"), reference)
    return qualities


@torch.inference_mode()
def batch_differences(goldens: GoldenSet, batch: int) -> dict[str, float]:
    """Largest difference between pictures in one batch and each alone, by what is compared,
    as a share of its largest magnitude."""
    subject = Subject(goldens)
    images, labels = _different(subject, batch)
    together = _everything(subject.network, images, labels)
    alone = [
        _everything(subject.network, image[None], label[None])
        for image, label in zip(images, labels, strict=True)
    ]
    differences = {}
    for name, values in together.items():
        singles = torch.cat([each[name] for each in alone])
        differences[name] = float((values - singles).abs().max() / singles.abs().max())
    return differences


def _different(subject: Subject, batch: int) -> tuple[Tensor, Tensor]:
    """The golden picture and camera, its mirror, and darker ones of both."""
    images, labels = [], []
    for number in range(batch):
        is_mirrored = number % 2 == 1
        image = subject.image.flip(-1) if is_mirrored else subject.image
        images.append(image * 0.7 ** (number // 2))
        labels.append(mirror(subject.label) if is_mirrored else subject.label)
    return torch.cat(images), torch.cat(labels)


def _everything(network: TriPlaneNet, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    found = network.invert(images, labels)
    view = network.render(found.planes, found.ws, labels)
    return {"ws": found.ws, "planes": found.planes, "image": view.image, "depth": view.depth}
