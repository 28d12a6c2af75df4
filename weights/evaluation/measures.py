"""How like its source a picture of a network is, by the paper's measures, and how sharp."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tpvideo.weights.evaluation.scores import ms_ssim
from tpvideo.weights.training.critics import Critics, aligned


@torch.inference_mode()
def same_view(critics: Critics, picture: Tensor, truth: Tensor) -> dict[str, float]:
    """MSE, MS-SSIM and, where its files are there, LPIPS.

    Args:
        picture, truth: [1, 3, S, S], -1..1, S >= 176.
    """
    scores = {
        "mse": float(F.mse_loss(picture, truth)),
        "ms_ssim": float(ms_ssim(picture / 2 + 0.5, truth / 2 + 0.5)),
    }
    if critics.perceptual is not None:
        scores["lpips"] = float(critics.perceptual(picture, truth))
    return scores


@torch.inference_mode()
def identity(
    critics: Critics, picture: Tensor, label: Tensor, truth: Tensor, own: Tensor
) -> dict[str, float]:
    """Cosine between who is seen in a picture and in the source; nothing without ArcFace.

    Args:
        picture, truth: [1, 3, S, S], -1..1, seen by the cameras `label` and `own`, [1, 25].
    """
    if critics.identity is None:
        return {}
    side = critics.identity.side
    first, second = (
        critics.identity(aligned(face, seen, side))
        for face, seen in ((picture, label), (truth, own))
    )
    return {"id": float(F.cosine_similarity(first, second))}


def sharpness(picture: Tensor, truth: Tensor, mask: Tensor) -> float:
    """Energy of a picture's gradients over that of the truth's, where both neighbours are in the
    mask: 1 for as sharp as the truth, less for softer.

    Args:
        picture, truth: [1, C, S, S].
        mask: [1, 1, S, S], 0 or 1.
    """
    energies = []
    for pixels in (picture, truth):
        energy = pixels.new_zeros(())
        for axis in (2, 3):
            inside = mask.narrow(axis, 1, mask.shape[axis] - 1) * mask.narrow(
                axis, 0, mask.shape[axis] - 1
            )
            energy = energy + (pixels.diff(dim=axis).square() * inside).sum()
        energies.append(energy)
    return float(energies[0] / energies[1].clamp(min=1e-12))


def absent(critics: Critics) -> list[str]:
    """A line for each judge that is not there."""
    return [
        f"{name} is absent: it needs {files} in the weights store"
        for judge, name, files in (
            (critics.perceptual, "LPIPS", "alexnet and lpips-alex"),
            (critics.identity, "ID", "ir-se50"),
        )
        if judge is None
    ]
