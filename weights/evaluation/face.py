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

from tpvideo.stages.facefinder import FaceFinder, alignment_landmarks, apart, head_angles
from tpvideo.stages.pixels import to_tensor
from tpvideo.weights.training import face_pictures
from tpvideo.weights.training.face_heads import pack_heads
from tpvideo.weights.training.face_scenes import Stock, crops, scenes

log = logging.getLogger(__name__)

COUNT = 512
"""Crops that are scored; a quarter as many scenes."""


def score(finder: FaceFinder, stock: Stock, seed: int = 0) -> dict[str, float]:
    """Median errors of landmarks and angles on crops, and how many heads are found in scenes.

    Landmark errors are in distances between the eyes of a frontal head; angles in degrees.
    """
    return _landmarks(finder, stock, seed) | _detector(finder, stock, seed)


def _landmarks(finder: FaceFinder, stock: Stock, seed: int) -> dict[str, float]:
    made = crops(stock, COUNT, finder.landmarks.side, np.random.default_rng(seed))
    with torch.inference_mode():
        said = finder.landmarks(to_tensor(made.pictures, finder.device))
    errors, angles = [], []
    for row in torch.nonzero(made.has_face)[:, 0].tolist():
        five, true = (
            alignment_landmarks(p[row].double().numpy()) for p in (said.points, made.points)
        )
        errors.append(float(np.linalg.norm(five - true, axis=1).mean()))
        turns = (said.rotation[row], made.rotation[row])
        seen, known = (head_angles(turn.double().numpy()) for turn in turns)
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


def _detector(finder: FaceFinder, stock: Stock, seed: int) -> dict[str, float]:
    made = scenes(stock, COUNT // 4, 128, np.random.default_rng(seed + 1))
    found, true, hits = 0, 0, 0
    for row, picture in enumerate(made.pictures):
        boxes = apart(list(finder.likely(picture, 128)))
        boxes = [box for box in boxes if box.score > 0.5]
        heads = torch.nonzero(made.present[row])[:, 0].tolist()
        found, true = found + len(boxes), true + len(heads)
        for head in heads:
            centre, side = made.centre[row, head].tolist(), float(made.side[row, head])
            hits += any(math.dist(box.centre, centre) < 0.3 * side for box in boxes)
    return {"recall": hits / max(1, true), "precision": hits / max(1, found)}


def main(weights: Path, heads: Path, panoramas: Path) -> dict[str, float]:
    """The scores of a weights file."""
    with tempfile.TemporaryDirectory() as folder:
        wide, tight = (
            pack_heads(heads, Path(folder), wide=wide, size_px=size, held_out=True)
            for wide, size in ((True, 192), (False, 128))
        )
        bank = face_pictures.background_bank(panoramas, 200, 160, seed=1)
        return score(FaceFinder.load(weights), Stock(wide, tight, bank))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if len(sys.argv) != 4:
        sys.exit("usage: python -m tpvideo.weights.evaluation.face WEIGHTS HEADS PANORAMAS")
    for name, value in main(*(Path(argument) for argument in sys.argv[1:])).items():
        log.info("%-10s %.3f", name, value)
