"""A generator whose volume is the ball of balls.py, known in closed form."""

from __future__ import annotations

import torch
from balls import CENTRE, RADIUS, colour
from tiny import tiny_network
from torch import Tensor

from tpvideo.stages.networks.triplane import Decoded
from tpvideo.stages.networks.triplanenet import TriPlaneNet

STEEP = 400.0
"""Raw density gained on each scene unit inward; 0 at the radius."""
PLANES = torch.zeros(1, 48, 16, 16)
"""Of no importance."""


def ball_network() -> TriPlaneNet:
    """The smallest network, with 16 + 16 samples along a ray, that shows the ball whatever the
    planes."""
    network = tiny_network(samples=[16, 16])
    centre = torch.tensor(CENTRE, dtype=torch.float32)
    width = network.decoder.decoder.get_parameter("net.2.bias").shape[0] - 1

    def query(planes: Tensor, points: Tensor) -> Decoded:
        inward = RADIUS - (points - centre).norm(dim=-1, keepdim=True)
        rgb = torch.from_numpy(colour(points.numpy())).float()
        rest = torch.zeros(*points.shape[:-1], width - 3)
        return Decoded(torch.cat([rgb, rest], dim=-1), STEEP * inward)

    network.decoder.query = query  # type: ignore[method-assign]
    return network
