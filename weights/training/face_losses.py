"""What the face networks are scored by while they learn."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from tpvideo.stages.networks.landmarks import STRIDE, FaceMap, Landmarks
from tpvideo.weights.training.face_scenes import Crops, Scenes


class HeadMap(NamedTuple):
    """What the detector should say; h = H / 8, w = W / 8."""

    score: Tensor
    """[B, h, w] 1 in the cell of a head's centre, falling off round it."""
    owner: Tensor
    """[B, h, w] which head the cell belongs to."""


def head_map(scenes: Scenes, cells: int) -> HeadMap:
    """Gaussians round the heads' centres, as wide as an eighth of their side."""
    at = torch.arange(cells) + 0.5
    sigma = (scenes.side / STRIDE / 8).clamp_min(0.6)[:, :, None, None]
    cell = (scenes.centre / STRIDE).floor() + 0.5
    across = (at - cell[:, :, 0, None])[:, :, None, :] / sigma
    down = (at - cell[:, :, 1, None])[:, :, :, None] / sigma
    each = (-0.5 * (across.square() + down.square())).exp() * scenes.present[:, :, None, None]
    score, owner = each.max(dim=1)
    return HeadMap(score, owner)


def detector_losses(said: FaceMap, scenes: Scenes) -> dict[str, Tensor]:
    """Focal loss of the centres (Zhou et al. 2019, Objects as Points, eq. 1), absolute errors of
    place, size and roll in the cells about a centre."""
    cells = said.score.shape[-1]
    truth = head_map(scenes, cells)
    score = said.score.float()
    hit = truth.score > 0.99
    chance = score.sigmoid()
    found = -(1 - chance).square() * functional.logsigmoid(score)
    missed = -chance.square() * functional.logsigmoid(-score) * (1 - truth.score).pow(4)
    focal = torch.where(hit, found, missed).sum() / hit.sum().clamp_min(1)

    def of_owner(values: Tensor) -> Tensor:
        return values.gather(1, truth.owner.flatten(1)).reshape(truth.owner.shape)

    at = torch.arange(cells) + 0.5
    near = (truth.score > 0.5).float()
    near = near / near.sum().clamp_min(1)
    offset_x = of_owner(scenes.centre[:, :, 0] / STRIDE) - at
    offset_y = of_owner(scenes.centre[:, :, 1] / STRIDE) - at[:, None]
    roll = of_owner(scenes.roll)
    place = (said.offset[:, 0] - offset_x).abs() + (said.offset[:, 1] - offset_y).abs()
    size = (said.log_side - of_owner((scenes.side / STRIDE).log())).abs()
    turn = (said.turn[:, 0] - roll.cos()).abs() + (said.turn[:, 1] - roll.sin()).abs()
    return {
        "centre": focal,
        "place": 0.5 * (place * near).sum(),
        "size": 2.0 * (size * near).sum(),
        "roll": 0.5 * (turn * near).sum(),
    }


def landmark_losses(said: Landmarks, crops: Crops) -> dict[str, Tensor]:
    """Absolute errors of the landmarks, with the likelihood of those errors; distance of the
    rotation matrices; cross-entropy of the verdict."""
    share = crops.has_face.float() / crops.has_face.sum().clamp_min(1)
    error = (said.points - crops.points).abs().mean(2)  # [B, 68]
    log_error = said.log_error.clamp(-7, 1)
    likelihood = log_error + error.detach() * (-log_error).exp()
    distance = (said.rotation - crops.rotation).square().sum((1, 2)).add(1e-6).sqrt()
    verdict = functional.binary_cross_entropy_with_logits(said.score, crops.has_face.float())
    return {
        "points": 20 * (error.mean(1) * share).sum(),
        "likelihood": 0.02 * (likelihood.mean(1) * share).sum(),
        "rotation": (distance * share).sum(),
        "verdict": 0.5 * verdict,
    }
