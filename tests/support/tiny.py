"""The smallest tri-plane network with all its parts, and faces to show it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from tpvideo.pipeline.frame import Face
from tpvideo.stages import geometry
from tpvideo.stages.networks.triplanenet import TriPlaneNet

SIZES: dict[str, Any] = {
    "side": 32,
    "style_dim": 16,
    "plane_side": 16,
    "plane_channels": 16,
    "backbone_widths": [16, 16, 16],
    "hidden": 16,
    "colours": 16,
    "raw_side": 16,
    "superres_widths": [16, 16],
    "image_channels": 4,
    "near": 2.28,
    "far": 3.12,
    "samples": [6, 6],
    "box": 0.8,
    "axes": "orthogonal",
    "density_gain": 40.0,
    "mapping": False,
    "noise": False,
    "encoder": {
        "widths": [16, 16, 16, 16, 32],
        "units": [1, 1, 1, 1],
        "pyramid": 32,
        "style_counts": [2, 2, 2],
        "activation": "lrelu",
    },
    "offsets": {
        "widths": [16, 16, 16, 16, 32],
        "units": [1, 1, 1, 1],
        "up_widths": [16, 16, 16, 16],
        "head_width": 16,
        "activation": "lrelu",
    },
}
"""Widths are multiples of 16: oneDNN's bfloat16 backward pass crashes on some others."""


def tiny_network(*, seed: int = 0, **changes: Any) -> TriPlaneNet:
    """A network of random weights for inference: pictures of 64 x 64 from crops of 32 x 32.

    The same seed is the same network wherever and whenever it is made: at import, in a fixture, in
    a test. Its volume is part solid and part empty, so that pictures have something to show.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = TriPlaneNet(**{**SIZES, **changes})
    with torch.no_grad():  # the first row is the density
        decoder = network.decoder.decoder
        density = decoder.get_parameter("net.2.weight")[0]
        density.copy_(10 * (density - density.mean()))
        decoder.get_parameter("net.2.bias")[0] = -6.0
    return network.requires_grad_(False).eval()


def labels(*angles: tuple[float, float]) -> Tensor:
    """[B, 25] label cameras at (yaw, pitch) in radians."""
    cameras = [geometry.label(geometry.label_camera(yaw, pitch)) for yaw, pitch in angles]
    return torch.from_numpy(np.stack(cameras))


def random_face(seed: int, *, yaw: float = 0.1, pitch: float = 0.0, roll: float = 0.0) -> Face:
    """A face of noise, whose matte is solid in the middle; 48 pixels square."""
    random = np.random.default_rng(seed)
    alpha = np.zeros((48, 48), np.uint8)
    alpha[8:40, 8:40] = 255
    fit = geometry.CropFit(np.array([60.0, 50.0]), 80.0, roll)
    return Face(
        crop=random.integers(0, 256, (48, 48, 3), dtype=np.uint8),
        alpha=alpha,
        camera=geometry.label(geometry.label_camera(yaw, pitch)),
        image_from_crop=geometry.image_from_crop(fit, 48),
        confidence=1.0,
    )
