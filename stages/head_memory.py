"""What was seen of a head before stands in for what is hidden of it now.

Planes are canonical: whichever way a head is turned, a cell of the (x, y) plane is the same place
of the face. So an average of that plane over time, taken mostly from the frames that saw a cell
best, knows the cheek that has turned away. Where the camera sees the surface well the frame alone
counts, so that lips and eyes do not lag. The other two planes look along the face, left and right
or top and bottom in one cell; averaged, they do harm (docs/steadiness.md), and stay the frame's.

The idea is Coherent3D's (CVPR 2025), where trained networks fuse the planes; here the mean head's
surface says what a camera sees.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from tpvideo.pipeline.checkpoint import State
from tpvideo.pipeline.errors import ConfigError
from tpvideo.pipeline.frame import Face, Head
from tpvideo.stages.networks.triplanenet import TriPlaneNet

HIDDEN, SEEN = 0.2, 0.7
"""Cosine between the surface and the direction to the camera, up to which a place counts as hidden
and from which it counts as seen."""

SETTLES_S = 0.4
"""Time constant of the average at full strength."""

FADES_S = 8.0
"""Time in which a place's best view loses its rank against later, worse ones."""

PREFERENCE = 4
"""Exponent of how well a place is seen, relative to its best view, in what the average learns."""


class HeadMemory:
    """The (x, y) plane of one head, as far as earlier frames of a shot saw it better.

    Args:
        network: with a mean head's surface (`canonical`).
        smooth: strength, 0 (off) to 1; from 0.5 on, a hidden place shows the average alone, and
            what more does is to lengthen it.

    Raises:
        ConfigError: the strength is out of range, or the network has no surface.
    """

    def __init__(self, network: TriPlaneNet, smooth: float) -> None:
        if not 0 <= smooth <= 1:
            raise ConfigError(f"smoothing must be between 0 and 1, got {smooth}")
        if not network.canonical:
            raise ConfigError("this model has no mean head to remember a face by")
        self.smooth = smooth
        decoder = network.decoder
        self._points, self._normals = _mean_head(
            network.surface.float(), decoder.plane_side, decoder.box
        )
        self.forget()

    def forget(self) -> None:
        """Begin a new shot."""
        self._mean: Tensor | None = None  # [C, H, W] the average
        self._best: Tensor | None = None  # [H, W] 0..1, how well each cell was seen at its best
        self._time_s = 0.0

    def state(self) -> State:
        """What is remembered of the shot; see Stage.state."""
        if self._mean is None or self._best is None:
            return {}
        return {
            "mean": self._mean.cpu().numpy(),
            "best": self._best.cpu().numpy(),
            "time_s": self._time_s,
        }

    def restore(self, state: State) -> None:
        """Go on from an earlier `state`."""
        self.forget()
        if state:
            device = self._points.device
            self._mean = torch.from_numpy(state["mean"]).to(device)
            self._best = torch.from_numpy(state["best"]).to(device)
            self._time_s = state["time_s"]

    @torch.inference_mode()
    def __call__(self, head: Head, face: Face, time_s: float) -> Head:
        """The head with what its frame does not see remembered, and the frame learnt.

        Args:
            head: of the frame; left as it is.
            face: where the frame's camera was.
            time_s: of the frame, later than the frame before.
        """
        smooth = self.smooth  # a knob may turn meanwhile
        if smooth == 0:
            self.forget()
            return head
        planes: Tensor = head.planes  # [3 C, H, W]
        front = planes[: len(planes) // 3]
        sight = self._sight(face)
        mean = self._learn(front, sight * face.confidence, time_s, SETTLES_S * smooth)
        share = (1 - sight) * min(1.0, 2 * smooth)
        remembered = planes.clone()
        remembered[: len(front)].lerp_(mean, share)
        return replace(head, planes=remembered)

    def _sight(self, face: Face) -> Tensor:
        """[H, W] 0..1, how well the camera of a face sees each cell's place on the mean head."""
        eye = torch.from_numpy(face.camera[[3, 7, 11]]).to(self._points.device)
        toward = eye[:, None, None] - self._points  # [3, H, W]
        facing = (toward * self._normals).sum(dim=0) / toward.square().sum(dim=0).sqrt()
        return ((facing - HIDDEN) / (SEEN - HIDDEN)).clamp(0, 1)

    def _learn(self, front: Tensor, quality: Tensor, time_s: float, settles_s: float) -> Tensor:
        """[C, H, W] the average with a frame's plane, seen that well, taken in."""
        if self._mean is None or self._best is None:
            self._mean, self._best = front.clone(), quality
        else:
            step_s = time_s - self._time_s
            self._best = torch.maximum(self._best * math.exp(-step_s / FADES_S), quality)
            rank = (quality / self._best.clamp(min=1e-3)) ** PREFERENCE
            rate = 1 - math.exp(-step_s / settles_s)
            self._mean = torch.lerp(self._mean, front, rank * rate)
        self._time_s = time_s
        return self._mean


def _mean_head(surface: Tensor, side: int, box: float) -> tuple[Tensor, Tensor]:
    """Points and unit normals [3, side, side] of the mean head over the cells of a plane.

    Args:
        surface: [S, S] its z at the cells' (x, y).
        side: cells of the plane.
        box: side of the cube that the planes cover, scene units.
    """
    depth = F.interpolate(surface[None, None], (side, side), mode="bilinear")
    cells = ((torch.arange(side, device=surface.device) + 0.5) / side - 0.5) * box
    y, x = torch.meshgrid(cells, cells, indexing="ij")
    around = F.pad(depth, (1, 1, 1, 1), mode="replicate")[0, 0] * (side / box / 2)
    slope_x = around[1:-1, 2:] - around[1:-1, :-2]
    slope_y = around[2:, 1:-1] - around[:-2, 1:-1]
    steep = torch.stack([-slope_x, -slope_y, torch.ones_like(slope_x)])
    # A neighbourhood's: what faces the camera by a pore's width is not seen better.
    smooth = F.avg_pool2d(F.pad(F.normalize(steep, dim=0), (3, 3, 3, 3), mode="replicate"), 7, 1)
    return torch.stack([x, y, depth[0, 0]]), F.normalize(smooth, dim=0)
