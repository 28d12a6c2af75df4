"""What an edit leaves of a source's detail: where it still holds, and where it has moved to."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

CHANGED_AT = 0.1
"""Difference that an edit makes to the volume's colours, as a share of their brightness, from which
on the source shows something else."""
SEEN_MOVED_AT = 0.2
"""Difference of coarse colours (0..1) from which on what was moved is not what the edit made."""


class EditedView(NamedTuple):
    """What is known of edited heads, as one camera sees them."""

    kept: Tensor
    """[B, 1, R, R] how far, 0..1, the volume still looks as the source does."""
    motion: Tensor | None
    """[3, h, w] by how much the surface was elsewhere before the edit; see
    networks.editing.Shift."""
    box: float
    """Side of the square of x and y that it covers, scene units."""

    def origins(self, points: Tensor) -> Tensor:
        """[B, 3, L, L] where points of the edited surface were before the edit."""
        if self.motion is None:
            return points
        grid = (points[:, :2] / (self.box / 2)).permute(0, 2, 3, 1)
        motion = self.motion[None].expand(len(points), -1, -1, -1)
        return points + F.grid_sample(motion, grid, align_corners=False)

    def share(self, moved_is_right: Tensor) -> Tensor:
        """[B, 1, L, L] how far the source is to be believed: where the edit changed nothing, and
        where what it shows, moved, agrees with what the edit made [B, 1, L, L]."""
        kept = self.at(moved_is_right.shape[-1])
        return kept if self.motion is None else torch.maximum(kept, moved_is_right)

    def at(self, side: int) -> Tensor:
        """[B, 1, side, side] `kept`."""
        return F.interpolate(self.kept, (side, side), mode="bilinear", align_corners=False)


def unchanged(before: Tensor, after: Tensor) -> Tensor:
    """[B, 1, R, R] how far, 0..1, an edit left the colours [B, 3, R, R] of a volume, -1..1, as
    they were."""
    brightness = _smooth(before.mean(dim=1, keepdim=True).add(1) / 2, 5)
    apart = (after - before).abs().amax(dim=1, keepdim=True) / 2 / (brightness + 0.1)
    # A feature goes as a whole: half of the old mouth beside half of the new one is neither.
    around = F.max_pool2d(_smooth(apart, 3), 3, 1, 1)
    return _smooth(torch.exp(-((around / CHANGED_AT) ** 2)), 3)


def _smooth(values: Tensor, width: int) -> Tensor:
    half = width // 2
    return F.avg_pool2d(F.pad(values, (half,) * 4, mode="replicate"), width, 1)
