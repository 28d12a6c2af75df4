"""Make the parametric face that `tpvideo eval` measures depths against, from the head asset pack:

python -m tpvideo.weights.training.heads.face_shape PACK FILE.safetensors
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from torch import Tensor

from tpvideo.stages.geometry import MEAN_LANDMARKS
from tpvideo.weights import store
from tpvideo.weights.training.heads.head import alignment
from tpvideo.weights.training.heads.kernel import Array
from tpvideo.weights.training.heads.pack import FACE, Pack

IDENTITIES = 24
"""Of the 100 modes, the largest first."""

EXPRESSIONS = (
    "jawOpen", "mouthClose", "mouthSmile_L+mouthSmile_R", "mouthFunnel", "mouthPucker",
    "mouthStretch_L+mouthStretch_R", "mouthUpperUp_L+mouthUpperUp_R", "cheekPuff_L+cheekPuff_R",
    "eyeBlink_L+eyeBlink_R", "browInnerUp_L+browInnerUp_R", "browDown_L+browDown_R",
)  # fmt: skip
"""Modes, some of them two together."""

USUAL_EXPRESSION = 0.4
"""How far an expression usually goes; identity modes are made for weights of deviation 1."""

REACH = 1.0
"""How far from the middle of the mean landmarks the face reaches, in distances between the eyes."""

INNER = range(17, 68)
"""Landmarks that are points of the skin; the outline's seventeen move with the view."""


def face_shape(pack: Pack) -> dict[str, Tensor]:
    """Mean, modes (scaled to deviation 1) and triangles of the face, and of its landmarks, in
    the labels' world; see `weights.evaluation.parametric`."""
    to_world = alignment(pack, pack.points[pack.landmarks])
    turn = to_world.scale * to_world.rotation
    points = pack.points @ turn.T + to_world.offset
    eyes = float(np.linalg.norm(MEAN_LANDMARKS[0] - MEAN_LANDMARKS[1]))
    is_near = np.linalg.norm(points - MEAN_LANDMARKS.mean(axis=0), axis=1) < REACH * eyes
    triangles = pack.mesh.corners[pack.mesh.material == FACE]
    triangles = triangles[is_near[triangles].all(axis=1)]
    vertices, numbers = np.unique(triangles, return_inverse=True)
    modes = _modes(pack).reshape(IDENTITIES + len(EXPRESSIONS), -1, 3) @ turn.T
    landmarks = pack.landmarks[list(INNER)]
    return {
        "points": torch.from_numpy(points[vertices]).half(),
        "modes": torch.from_numpy(modes[:, vertices]).half(),
        "landmarks": torch.from_numpy(points[landmarks]).half(),
        "landmark_modes": torch.from_numpy(modes[:, landmarks]).half(),
        "triangles": torch.from_numpy(numbers.reshape(triangles.shape)).to(torch.int16),
    }


def _modes(pack: Pack) -> Array:
    """[M, 3n]."""
    expressions = [
        sum(pack.expression_modes[pack.expression_index[part]] for part in name.split("+"))
        for name in EXPRESSIONS
    ]
    return np.concatenate(
        [pack.identity_modes[:IDENTITIES], USUAL_EXPRESSION * np.stack(expressions)]
    )


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m tpvideo.weights.training.heads.face_shape PACK FILE.safetensors")
    ABOUT = {"about": "face of ICT-FaceKit light; MIT, see LICENSES.md"}
    store.save(sys.argv[2], face_shape(Pack(sys.argv[1])), {}, ABOUT)
