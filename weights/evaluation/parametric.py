"""A parametric face, fitted to what our landmark network sees: the depth that a picture's face
should have where no truth is known (table 2's "Depth").

The face is ICT-FaceKit light's (MIT): its mean, 24 modes of identity and 11 of expression.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from tpvideo.stages import geometry
from tpvideo.stages.geometry import Array
from tpvideo.stages.networks.generator import resize
from tpvideo.stages.networks.landmarks import LandmarkNet
from tpvideo.weights import store
from tpvideo.weights.evaluation.mesh import depth_map

SHAPE = Path(__file__).with_name("face_shape.safetensors")
FIRST_INNER = 17
"""Landmarks before this one are the outline's, which moves with the view."""
LEAST_ERROR = 0.004
"""Of a landmark that the network is sure of, in sides of the picture."""
USUAL_TURN_RAD, USUAL_SHIFT, USUAL_GROWTH = 0.1, 0.03, 0.05
"""How far a head usually is from where its label has the mean head: radians, scene units, natural
logarithm."""
STEPS = 8
"""Of the fit."""


class Seen(NamedTuple):
    """Landmarks in a picture."""

    points: Tensor
    """[51, 2] in sides, from the upper left corner."""
    errors: Tensor
    """[51] their expected errors, sides."""


@dataclass(frozen=True, slots=True, eq=False)
class ParametricFace:
    """Mean, modes and triangles in the labels' world; N points, M modes."""

    points: Tensor
    """[N, 3]."""
    modes: Tensor
    """[M, N, 3] for weights of deviation 1."""
    landmarks: Tensor
    """[51, 3]."""
    landmark_modes: Tensor
    """[M, 51, 3]."""
    triangles: Tensor
    """[T, 3]."""

    @classmethod
    def load(cls, path: Path = SHAPE) -> Self:
        """From a file of `heads.face_shape`.

        Raises:
            WeightsError: it is missing or damaged.
        """
        held = store.tensors(path)
        whole = {key: value.double() for key, value in held.items() if key != "triangles"}
        return cls(**whole, triangles=held["triangles"].long())

    def depth(self, seen: Seen, label: Tensor, side: int) -> Tensor:
        """[1, 1, side, side] depth along the optical axis of the face fitted to landmarks; 0 where
        it is not.

        Args:
            label: [1, 25] the camera that saw them.
        """
        found = self.fitted(seen, label.double())
        moved = self._moved(found, self.points, self.modes)
        camera = label[0, :16].reshape(4, 4).double().numpy()
        camera_from_world: Array = np.linalg.inv(camera)
        focal = float(label[0, 16])
        triangles = self.triangles.numpy()
        return torch.from_numpy(
            depth_map(moved.numpy(), triangles, camera_from_world, focal, side)
        )[None, None]

    def fitted(self, seen: Seen, label: Tensor) -> Tensor:
        """[M + 7] what is likeliest: weights of the modes, turn, shift and growth, in their usual
        deviations. Gauss-Newton from the mean face where the label has it."""
        errors = seen.errors.double().clamp(min=LEAST_ERROR)[:, None]

        def residuals(parameters: Tensor) -> Tensor:
            points = self._moved(parameters, self.landmarks, self.landmark_modes)
            apart = (projected(points, label) - seen.points.double()) / errors
            return torch.cat([apart.flatten(), parameters])

        parameters = torch.zeros(len(self.modes) + 7, dtype=torch.float64)
        for _ in range(STEPS):
            parameters = parameters + _step(residuals, parameters)
        return parameters

    def _moved(self, parameters: Tensor, points: Tensor, modes: Tensor) -> Tensor:
        """[K, 3] points with modes [M, K, 3], turned about the head's centre."""
        weights, turn, shift, growth = torch.split(parameters, [len(modes), 3, 3, 1])
        centre = torch.as_tensor(geometry.HEAD_CENTRE, dtype=points.dtype)
        local = points + torch.einsum("m,mkc->kc", weights, modes) - centre
        axis = USUAL_TURN_RAD * turn
        zero = torch.zeros((), dtype=points.dtype)
        skew = torch.stack([
            zero, -axis[2], axis[1], axis[2], zero, -axis[0], -axis[1], axis[0], zero,
        ]).reshape(3, 3)  # fmt: skip
        rotation = torch.linalg.matrix_exp(skew)
        grown = local * torch.exp(USUAL_GROWTH * growth)
        moved: Tensor = grown @ rotation.T + centre + USUAL_SHIFT * shift
        return moved


def _step(residuals: Callable[[Tensor], Tensor], parameters: Tensor) -> Tensor:
    jacobian = torch.func.jacrev(residuals)(parameters)
    change: Tensor = -torch.linalg.lstsq(jacobian, residuals(parameters)[:, None]).solution[:, 0]
    return change


def projected(points: Tensor, label: Tensor) -> Tensor:
    """[K, 2] where a camera [1, 25] sees points [K, 3], in sides of its picture."""
    camera = label[0, :16].reshape(4, 4)
    local = (points - camera[:3, 3]) @ camera[:3, :3]
    return label[0, [16, 20]] * local[:, :2] / local[:, 2:] + label[0, [18, 21]]


class Landmarker:
    """Our own landmark network on crops in EG3D's framing."""

    def __init__(self) -> None:
        state = {
            name.removeprefix("landmarks."): value
            for name, value in store.tensors(store.find("face")).items()
            if name.startswith("landmarks.")
        }
        self.network = LandmarkNet()
        store.fit(self.network, {k: v.float() if v.is_floating_point() else v
                                 for k, v in state.items()}, "face")  # fmt: skip
        self.network.requires_grad_(False).eval()

    def __call__(self, picture: Tensor) -> Seen:
        """Inner landmarks in a picture [1, 3, S, S], -1..1."""
        said = self.network(resize(picture, self.network.side))
        errors = said.log_error[0, FIRST_INNER:].exp()
        return Seen(said.points[0, FIRST_INNER:], errors)


def normalised_error(depth: Tensor, truth: Tensor, region: Tensor) -> float | None:
    """Mean squared difference of two depth maps, each brought to mean 0 and deviation 1 over a
    region first, so that neither distance nor scale counts; None where the region is empty.

    Args:
        depth, truth: [1, 1, S, S].
        region: [1, 1, S, S] bool.
    """
    if int(region.sum()) < 2:
        return None
    first, second = (
        (values - values.mean()) / values.std().clamp(min=1e-6)
        for values in (depth[region], truth[region])
    )
    return float(((first - second) ** 2).mean())
