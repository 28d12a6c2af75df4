"""Who a face is, as a unit vector: the improved residual network with squeeze-excitation and 50
layers that ArcFace is published with (Deng et al. 2019), the trunk of both encoders."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from tpvideo.stages.networks.layers import expect_shape
from tpvideo.stages.networks.trunk import Trunk


class IdentityNet(Trunk):
    """Trunk, flattened, to a vector of length 1; key names as published (`input_layer`, `body`,
    `output_layer`).

    Args:
        widths, units: see `Trunk`; the defaults are the published sizes.
        side: of the face crop, a multiple of 16.
        size: D, numbers in the vector.
        reduction: see `Trunk`.
    """

    def __init__(
        self,
        *,
        widths: Sequence[int] = (64, 64, 128, 256, 512),
        units: Sequence[int] = (3, 4, 14, 3),
        side: int = 112,
        size: int = 512,
        reduction: int = 16,
    ) -> None:
        super().__init__(
            in_channels=3, widths=widths, units=units, reduction=reduction, activation="prelu"
        )
        self.side = side
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(widths[-1]),
            nn.Dropout(),
            nn.Flatten(),
            nn.Linear(widths[-1] * (side // 16) ** 2, size),
            nn.BatchNorm1d(size),
        )

    def forward(self, faces: Tensor) -> Tensor:
        """[B, D] unit vectors of aligned faces [B, 3, side, side], RGB, -1..1."""
        expect_shape("faces", faces, (None, 3, self.side, self.side))
        vector: Tensor = self.output_layer(self.trunk(faces)[-1])
        return F.normalize(vector, dim=1)
