"""The paper's losses (eq. 8 to 15): the input's own view, and the mirrored one, rendered again."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tpvideo.stages.networks.generator import Generator, resize
from tpvideo.stages.networks.triplanenet import mirror
from tpvideo.stages.networks.uncertainty import UncertaintyNet
from tpvideo.weights.training.batch import Batch
from tpvideo.weights.training.config import PaperWeights
from tpvideo.weights.training.critics import Critics
from tpvideo.weights.training.losses import likelihood_loss, symmetric_loss
from tpvideo.weights.training.view_terms import Term, Terms


class PaperTerms(nn.Module):
    """L_φ for the first branch's planes and L_ψ for the second's; their sum is eq. 8.

    The uncertainty map σ(x_m) comes from the batch where the dataset has maps, else from a
    network of our own that learns beside the others by the likelihood of eq. 14. No gradient
    runs from it into the renders, nor from eq. 15 into it.

    Args:
        weights: the factors λ.
        critics: LPIPS and the identity network; a term whose critic is missing is left out.
    """

    def __init__(self, weights: PaperWeights, critics: Critics) -> None:
        super().__init__()
        self.weights = weights
        self.critics = critics
        self.uncertainty = UncertaintyNet() if weights.mirror * weights.mirror_pixel else None

    def branch(
        self, name: str, decoder: Generator, planes: Tensor, ws: Tensor, batch: Batch
    ) -> Terms:
        """The terms of one branch.

        Args:
            name: `first` (squared differences) or `second` (smooth absolute ones).
            planes: [B, 3 C, H, W] float32 of that branch.
            ws: [B, L, D].
        """
        w = self.weights
        mirrored_labels = mirror(batch.labels)
        views, labels = 1, batch.labels
        if w.mirror:
            views, labels = 2, torch.cat([batch.labels, mirrored_labels])
        seen = decoder.render(
            planes.repeat(views, 1, 1, 1), ws.repeat(views, 1, 1), labels, side=w.raw_side
        )
        squared = name == "first"
        with torch.autocast(ws.device.type, enabled=False):
            renders = resize(seen.image[:, :3].float(), w.side).chunk(views)
            truth = resize(batch.truth, w.side)
            terms = self._same(renders[0], truth, batch.labels, squared=squared)
            if w.mirror:
                mirrored = truth.flip(-1)
                terms |= self._mirrored(
                    renders[1], mirrored, mirrored_labels, batch, squared=squared
                )
        return {f"{name} {term}": value for term, value in terms.items() if value.weight}

    def _same(self, y: Tensor, x: Tensor, labels: Tensor, *, squared: bool) -> Terms:
        """Eq. 12: [B, 3, H, W] renders against pictures."""
        w = self.weights
        terms = {"pixel": Term(w.pixel, difference(y, x, squared=squared).mean())}
        return terms | self._critical(y, x, labels, w.perceptual, w.identity, "")

    def _mirrored(
        self, y: Tensor, x: Tensor, labels: Tensor, batch: Batch, *, squared: bool
    ) -> Terms:
        """Eq. 13, times λ_m: mirror-view renders against mirrored pictures."""
        w = self.weights
        terms: Terms = {}
        if self.uncertainty is not None:
            deviation, likelihood = self._deviation(y.detach(), x, batch)
            symmetric = symmetric_loss(difference(y, x, squared=squared), deviation)
            terms["mirror pixel"] = Term(w.mirror * w.mirror_pixel, symmetric)
            if likelihood is not None:
                terms["uncertainty"] = Term(w.uncertainty, likelihood)
        return terms | self._critical(
            y, x, labels, w.mirror * w.mirror_perceptual, w.mirror * w.mirror_identity, "mirror "
        )

    def _deviation(self, y: Tensor, x: Tensor, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """[B, 1, H, W] σ of the mirrored pictures, and the loss that teaches it."""
        if batch.deviations is not None:
            return F.interpolate(batch.deviations, size=x.shape[-2:], mode="bilinear"), None
        assert self.uncertainty is not None
        deviation: Tensor = self.uncertainty(x)
        absolute = (y - x).abs().mean(dim=1, keepdim=True)
        return deviation.detach(), likelihood_loss(absolute, deviation)

    def _critical(
        self, y: Tensor, x: Tensor, labels: Tensor, perceptual: float, identity: float, prefix: str
    ) -> Terms:
        """What the trained critics say."""
        terms: Terms = {}
        if self.critics.perceptual is not None and perceptual:
            distance = self.critics.perceptual(y, x).mean()
            terms[prefix + "perceptual"] = Term(perceptual, distance)
        if self.critics.identity is not None and identity:
            unlike = self.critics.unlike(y, x, labels).mean()
            terms[prefix + "identity"] = Term(identity, unlike)
        return terms


def difference(y: Tensor, x: Tensor, *, squared: bool) -> Tensor:
    """[B, 1, H, W] squared, or smooth absolute, differences of [B, 3, H, W] pictures, the mean
    over the colours."""
    each = (y - x) ** 2 if squared else F.smooth_l1_loss(y, x, reduction="none")
    return each.mean(dim=1, keepdim=True)
