"""How unlike a drawn picture is to the one that it should be: what inversion by optimisation
minimises."""

from __future__ import annotations

from torch import Tensor, nn

from tpvideo.stages.networks.generator import resize


class Likeness(nn.Module):
    """Perceptual distance plus squared difference of colours: eq. 12 of the paper without the
    identity.

    Args:
        perceptual: distance of two pictures [B, 3, H, W] in -1..1, -> [B]; LPIPS where its weights
            are at hand. None leaves it out.
        factor: of the perceptual distance, beside 1 for the colours.
    """

    def __init__(self, perceptual: nn.Module | None = None, factor: float = 1.0) -> None:
        super().__init__()
        self.perceptual, self.factor = perceptual, factor
        self.requires_grad_(False).eval()

    def forward(self, drawn: Tensor, wanted: Tensor) -> Tensor:
        """[B] distances, 0 for equal pictures.

        Args:
            drawn: [B, 3 or 4, S, S], -1..1; brought to the size of `wanted`. A fourth channel,
                opacity, is not compared.
            wanted: [B, 3, W, W].
        """
        drawn = resize(drawn[:, :3], wanted.shape[-1])
        distance = (drawn - wanted).square().mean(dim=(1, 2, 3))
        if self.perceptual is not None and self.factor:
            distance = distance + self.factor * self.perceptual(drawn, wanted)
        return distance
