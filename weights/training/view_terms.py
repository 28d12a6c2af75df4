"""Loss terms that compare with other known views of the same head, and with its surface."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tpvideo.stages.networks.generator import Generator
from tpvideo.stages.networks.volume import rays_through
from tpvideo.weights.training.adversary import Adversary
from tpvideo.weights.training.batch import Batch, Geometry
from tpvideo.weights.training.config import BORDER, LossWeights
from tpvideo.weights.training.losses import clear_loss, depth_loss, image_loss, opaque_loss
from tpvideo.weights.training.machine import autocast


class Term(NamedTuple):
    """One summand of the loss."""

    weight: float
    value: Tensor
    """Scalar, before weighting."""


Terms = dict[str, Term]


class ViewTerms:
    """The terms of `LossWeights`; those with factor 0, and those whose truth a batch lacks, are
    left out and not computed.

    Args:
        weights: their factors.
        patch: side of the rendered square, in pixels of the volume rendering.
        dtype: of the super-resolution's convolutions; the volume is always float32.
        perceptual: distance of pictures [B, 3, H, W] -> [B], for the term of that name.
        adversary: learns from the squares, in phases that have such a term.
    """

    def __init__(
        self,
        weights: LossWeights,
        *,
        patch: int,
        dtype: torch.dtype,
        perceptual: nn.Module | None = None,
        adversary: Adversary | None = None,
    ) -> None:
        self.weights, self.patch, self.dtype = weights, patch, dtype
        self.perceptual, self.adversary = perceptual, adversary

    def __call__(
        self,
        decoder: Generator,
        planes: Tensor,
        ws: Tensor,
        batch: Batch,
        random: torch.Generator,
        adversarial: float = 0.0,
    ) -> Terms:
        """Terms by name.

        Args:
            planes: [B, 3 C, H, W] float32.
            ws: [B, L, D].
            random: of the patches' places and the rays' jitter, on the CPU.
            adversarial: factor of the term for deceiving the adversary, which learns with it.
        """
        w = self.weights
        terms: Terms = {}
        if batch.geometry is not None and (w.opaque or w.clear or w.colour):
            terms |= self._volume(decoder, planes, batch.geometry)
        if w.image or w.raw or w.alpha or w.depth or w.perceptual or adversarial:
            terms |= self._patch(decoder, planes, ws, batch, random, adversarial)
        return {name: term for name, term in terms.items() if term.weight}

    def _volume(self, decoder: Generator, planes: Tensor, known: Geometry) -> Terms:
        """The volume at points on and before the known surface, without any ray."""
        inside = known.surface - 0.008 * known.toward
        points = torch.cat([inside, known.empty, known.surface], dim=1)
        decoded = decoder.query(planes, points)
        density = F.softplus(decoded.sigmas - 1) * decoder.density_gain
        solid, clear, _ = density.chunk(3, dim=1)
        shown = decoded.colours[:, -known.surface.shape[1] :, :3]
        return {
            "opaque": Term(self.weights.opaque, opaque_loss(solid)),
            "clear": Term(self.weights.clear, clear_loss(clear)),
            "colour": Term(self.weights.colour, (shown - known.colours).abs().mean()),
        }

    def _patch(
        self,
        decoder: Generator,
        planes: Tensor,
        ws: Tensor,
        batch: Batch,
        random: torch.Generator,
        adversarial: float,
    ) -> Terms:
        """A random square of the target view, rendered and super-resolved."""
        w, side, count, whole = self.weights, self.patch, len(planes), decoder.raw_side
        corner = torch.rand(count, 2, generator=random) * (whole - side + 1)
        left, top = corner.long().unbind(1)
        rays = rays_through(batch.target_labels, _positions(left, top, side, whole).to(ws.device))
        jitter = torch.rand(count, side * side, decoder.coarse, generator=random)
        seen = decoder.march(planes, rays, jitter.to(ws.device))
        with autocast(ws.device, self.dtype):
            view = decoder.finish(seen, ws, side)

        truth = patches(batch.targets, left, top, side, whole)
        inner = (..., slice(BORDER, -BORDER), slice(BORDER, -BORDER))
        channels = min(truth.shape[1], view.image.shape[1])
        image, wanted = view.image.float()[inner][:, :channels], truth[inner][:, :channels]
        coarse = F.interpolate(truth, size=side, mode="area")
        terms = {
            "image": Term(w.image, image_loss(image, wanted)),
            "raw": Term(w.raw, image_loss(view.raw, coarse[:, :3], scales=1)),
        }
        if self.perceptual is not None and w.perceptual:
            distance = self.perceptual(image[:, :3], wanted[:, :3]).mean()
            terms["perceptual"] = Term(w.perceptual, distance)
        if self.adversary is not None and adversarial:
            deceit = self.adversary(image[:, :3], wanted[:, :3])
            terms["adversarial"] = Term(adversarial, deceit)
        if len(truth[0]) == 4:
            alpha = (view.alpha - (coarse[:, 3:] + 1) / 2).abs().mean()
            terms["alpha"] = Term(w.alpha, alpha)
            if batch.geometry is not None:
                # Depth is stored along the optical axis and rendered along the ray.
                forward = batch.target_labels[:, [2, 6, 10]]
                slant = (rays.directions @ forward[:, :, None]).transpose(1, 2)
                depth = view.depth * slant.reshape(count, 1, side, side)
                z = patches(batch.geometry.depths, left, top, side, whole)
                z = F.interpolate(z, size=side, mode="nearest")
                solid = (z > 0) & (coarse[:, 3:] > 0.96)
                terms["depth"] = Term(w.depth, depth_loss(depth, z, solid))
        return terms


def _positions(left: Tensor, top: Tensor, side: int, whole: int) -> Tensor:
    """[B, side * side, 2] picture positions (u, v), 0..1, of the pixels of squares."""
    span = torch.arange(side)
    columns = (left[:, None, None] + span[None, None]).expand(-1, side, -1).flatten(1)
    rows = (top[:, None, None] + span[None, :, None]).expand(-1, -1, side).flatten(1)
    return (torch.stack([columns, rows], -1) + 0.5) / whole


def patches(pictures: Tensor, left: Tensor, top: Tensor, side: int, whole: int) -> Tensor:
    """[B, C, h, h] squares of [B, C, H, H] pictures: `side` of `whole` parts of the side wide,
    with the upper left corner at (left, top) parts."""
    scale = pictures.shape[-1] // whole
    cut: Iterable[Tensor] = (
        picture[
            :, scale * int(y) : scale * (int(y) + side), scale * int(x) : scale * (int(x) + side)
        ]
        for picture, x, y in zip(pictures, left, top, strict=True)
    )
    return torch.stack(list(cut))
