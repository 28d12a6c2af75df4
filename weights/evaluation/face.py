"""Score the face networks on composed pictures of heads that training never saw.

    python -m tpvideo.weights.evaluation.face WEIGHTS HEADS PANORAMAS

HEADS holds npz files of the head generator, of which the seeds from 900000 on are used.
"""

from __future__ import annotations

import logging
import math
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from tpvideo.stages import geometry
from tpvideo.stages.networks.landmarks import STRIDE, FaceDetector, LandmarkNet
from tpvideo.stages.pixels import to_tensor
from tpvideo.weights import store
from tpvideo.weights.training import face_pictures
from tpvideo.weights.training.face_heads import pack_heads
from tpvideo.weights.training.face_scenes import Stock, crops, scenes

log = logging.getLogger(__name__)

COUNT = 512
"""Crops that are scored; a quarter as many scenes."""


def score(
    detector: FaceDetector, landmarks: LandmarkNet, stock: Stock, seed: int = 0
) -> dict[str, float]:
    """Median errors of landmarks and angles on crops; how many heads are found in scenes, and in
    how many scenes without a head one is seen.

    Landmark errors are in distances between the eyes of a frontal head; angles in degrees.
    """
    with torch.inference_mode():
        return _landmarks(landmarks, stock, seed) | _detector(detector, stock, seed)


def _landmarks(network: LandmarkNet, stock: Stock, seed: int) -> dict[str, float]:
    made = crops(stock, COUNT, network.side, np.random.default_rng(seed))
    said = network(to_tensor(made.pictures))
    errors, angles = [], []
    for row in torch.nonzero(made.has_face)[:, 0].tolist():
        both = (said.points[row], made.points[row])
        five, true = (geometry.alignment_landmarks(points.double().numpy()) for points in both)
        errors.append(float(np.linalg.norm(five - true, axis=1).mean()))
        turns = (said.rotation[row], made.rotation[row])
        seen, known = (geometry.head_angles(turn.double().numpy()) for turn in turns)
        errors_rad = (math.remainder(a - b, 2 * math.pi) for a, b in zip(seen, known, strict=True))
        angles.append([abs(error) for error in errors_rad])
    yaw, pitch, roll = np.degrees(np.median(angles, axis=0))
    eyes = 0.26  # sides of the crop
    right = ((said.score > 0) == made.has_face).float().mean()
    return {
        "landmarks": float(np.median(errors)) / eyes,
        "yaw": float(yaw),
        "pitch": float(pitch),
        "roll": float(roll),
        "verdicts": float(right),
    }


def _detector(network: FaceDetector, stock: Stock, seed: int) -> dict[str, float]:
    made = scenes(stock, COUNT // 4, 128, np.random.default_rng(seed + 1))
    scores = network(to_tensor(made.pictures)).score.sigmoid()
    at = (torch.arange(scores.shape[-1]) + 0.5) * STRIDE
    across = at - made.centre[:, :, 0, None]  # [B, 2, w]
    down = at - made.centre[:, :, 1, None]
    distance = torch.hypot(across[:, :, None], down[:, :, :, None])  # [B, 2, h, w]
    reach = (0.3 * made.side).clamp_min(STRIDE)[:, :, None, None]
    best = (scores[:, None] * (distance < reach)).amax((2, 3))  # [B, 2]
    empty = ~made.present.any(1)
    return {
        "recall": float((best[made.present] > 0.5).float().mean()),
        "false alarms": float((scores[empty].amax((1, 2)) > 0.5).float().mean()),
    }


def main(weights: Path, heads: Path, panoramas: Path) -> dict[str, float]:
    """The scores of a weights file."""
    with tempfile.TemporaryDirectory() as folder:
        wide, tight = (
            pack_heads(heads, Path(folder), wide=wide, size_px=size, held_out=True)
            for wide, size in ((True, 192), (False, 128))
        )
    bank = face_pictures.background_bank(panoramas, 200, 160, seed=1)
    detector, landmarks = FaceDetector(), LandmarkNet()
    state = {key: value.float() for key, value in store.tensors(weights).items()}
    for prefix, network in (("detector.", detector), ("landmarks.", landmarks)):
        part = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        store.fit(network, part, weights)
        network.eval()
    return score(detector, landmarks, Stock(wide, tight, bank))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if len(sys.argv) != 4:
        sys.exit("usage: python -m tpvideo.weights.evaluation.face WEIGHTS HEADS PANORAMAS")
    for name, value in main(*(Path(argument) for argument in sys.argv[1:])).items():
        log.info("%-10s %.3f", name, value)
