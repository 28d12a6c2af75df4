"""EG3D's generator: latents to tri-planes, tri-planes and a camera to a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tpvideo.stages.networks.layers import expect_shape, upsample2
from tpvideo.stages.networks.stylegan2 import Backbone, MappingNetwork, Synthesis
from tpvideo.stages.networks.superres import SuperResolution
from tpvideo.stages.networks.triplane import Axes, Decoded, OSGDecoder, sample_planes
from tpvideo.stages.networks.volume import (
    Composite,
    Rays,
    camera_rays,
    coarse_depths,
    composite,
    importance_depths,
    interval_weights,
)

POINTS_AT_ONCE = 1 << 19
"""Samples decoded together at inference; bounds the memory, not the result."""


Marcher = Callable[[Tensor, Rays, bool, bool], Composite]
"""Stands in for `Generator.march` at inference: planes, rays, whether to take importance samples,
whether to see colours."""


class View(NamedTuple):
    """A volume seen by a camera."""

    image: Tensor
    """[B, 3 or 4, S, S] picture, -1..1; black where empty; the fourth channel is alpha."""
    raw: Tensor
    """[B, 3, R, R] the picture before super-resolution, -1..1."""
    depth: Tensor
    """[B, 1, R, R] distance along each ray, world units."""
    alpha: Tensor
    """[B, 1, R, R] opacity, 0..1."""


class Generator(nn.Module):
    """Backbone, decoder, renderer and super-resolution (parity spec, sections 5 to 10).

    Args:
        style_dim: D, length of a latent.
        plane_side, plane_channels: side of a plane and its channels C.
        backbone_widths: channels of the synthesis blocks from side 4 up. Where they end below
            `plane_side`, their result is enlarged to it.
        hidden, colours: sizes of the decoder; `colours` is F.
        raw_side: side of the volume rendering.
        superres_widths: channels of the two super-resolution blocks.
        image_channels: 3, or 4 to super-resolve alpha as well.
        near, far: where rays begin and end.
        samples: coarse and importance samples along a ray.
        box: side of the cube that the planes cover.
        axes: world axes along columns and rows of each plane.
        density_gain: factor on the density, 1 in EG3D.
        margin: pixels of the volume rendering by which its rim is repeated outward before
            super-resolution, and cut off after it; without, zeros outside show in the rim.
        mapping: whether it has the mapping network from z.
        noise: whether synthesis layers add their fixed noise.
    """

    def __init__(
        self,
        *,
        style_dim: int,
        plane_side: int,
        plane_channels: int,
        backbone_widths: Sequence[int],
        hidden: int,
        colours: int,
        raw_side: int,
        superres_widths: Sequence[int],
        image_channels: int,
        near: float,
        far: float,
        samples: Sequence[int],
        box: float,
        axes: Axes,
        density_gain: float,
        margin: int,
        mapping: bool,
        noise: bool,
    ) -> None:
        super().__init__()
        widths = {4 << k: width for k, width in enumerate(backbone_widths)}
        synthesis = Synthesis(style_dim, max(widths), 3 * plane_channels, widths, noise=noise)
        self.plane_side = plane_side
        self.backbone = Backbone(synthesis, MappingNetwork(w_dim=style_dim) if mapping else None)
        self.superresolution = SuperResolution(
            colours, superres_widths, style_dim, raw_side, image_channels
        )
        self.decoder = OSGDecoder(plane_channels, hidden, colours)
        self.raw_side = raw_side
        self.near, self.far = near, far
        self.coarse, self.fine = samples
        self.box, self.axes = box, axes
        self.density_gain = density_gain
        self.margin = margin
        self.image_channels = image_channels
        self.marcher: Marcher | None = None

    @property
    def latents(self) -> int:
        """L, how many latents the backbone takes."""
        return self.backbone.synthesis.latents

    def planes(self, ws: Tensor) -> Tensor:
        """[B, L, D] latents -> [B, 3 C, H, W] tri-planes; channel c of plane p is 32 p + c."""
        expect_shape("ws", ws, (None, self.latents, None))
        planes: Tensor = self.backbone.synthesis(ws)
        while planes.shape[-1] < self.plane_side:
            planes = upsample2(planes)
        return planes

    def query(self, planes: Tensor, points: Tensor) -> Decoded:
        """Colour features and raw density at [B, N, 3] world points."""
        features = sample_planes(planes, points, box=self.box, axes=self.axes)
        decoded: Decoded = self.decoder(features)
        return decoded

    def march(
        self, planes: Tensor, rays: Rays, jitter: Tensor | None = None, *, fine: bool = True
    ) -> Composite:
        """Render rays, coarse samples first, then more where they matter (spec, section 9).

        Args:
            planes: [B, 3 C, H, W].
            jitter: [B, R, coarse] shares of a step in 0..1 for training.
            fine: whether to take the importance samples.
        """
        depths = coarse_depths(rays, self.near, self.far, self.coarse, jitter)
        colours, sigmas = self._decode_along(planes, rays, depths)
        if self.fine and fine:
            with torch.no_grad():
                weights = interval_weights(sigmas, depths, self.density_gain)
                further = importance_depths(depths, weights, self.fine)
            more_colours, more_sigmas = self._decode_along(planes, rays, further)
            depths = torch.cat([depths, further], dim=-1)
            colours = torch.cat([colours, more_colours], dim=-2)
            sigmas = torch.cat([sigmas, more_sigmas], dim=-1)
        return composite(colours, sigmas, depths, self.density_gain)

    def _decode_along(self, planes: Tensor, rays: Rays, depths: Tensor) -> tuple[Tensor, Tensor]:
        batch, count, samples = depths.shape
        points = rays.origins[..., None, :] + rays.directions[..., None, :] * depths[..., None]
        colours, sigmas = self.query(planes, points.reshape(batch, count * samples, 3))
        return colours.reshape(batch, count, samples, -1), sigmas.reshape(batch, count, samples)

    def render(
        self,
        planes: Tensor,
        ws: Tensor,
        labels: Tensor,
        *,
        side: int = 0,
        fine: bool = True,
        fit: bool = False,
    ) -> View:
        """The picture that a camera sees.

        Args:
            planes: [B, 3 C, H, W].
            ws: [B, L, D]; super-resolution takes the last latent.
            labels: [B, 25], or [B, K, 25]; see camera_rays.
            side: side of the volume rendering; 0 for the model's own.
            fine: whether to take the importance samples.
            fit: super-resolve to the model's own size whatever `side` is, as the original does,
                and not to four times `side`.
        """
        side = side or self.raw_side
        return self.finish(self.look(planes, labels, side=side, fine=fine), ws, side, fit=fit)

    def look(
        self,
        planes: Tensor,
        labels: Tensor,
        *,
        side: int = 0,
        fine: bool = True,
        coloured: bool = True,
    ) -> Composite:
        """The volume rendering alone, for all rays of a picture row by row; arguments as for
        `render`. Where only depth and opacity are asked for, features may be [B, R, 0]."""
        rows = labels.shape[1:-1]  # none, or the cameras down a picture
        expect_shape("labels", labels, (len(planes), *rows, 25))
        with torch.autocast(planes.device.type, enabled=False):
            rays = camera_rays(labels.float(), side or self.raw_side)
            if self.marcher is not None and not torch.is_grad_enabled():
                return self.marcher(planes.float(), rays, fine, coloured)
            return self._march_in_parts(planes.float(), rays, fine)

    def _march_in_parts(self, planes: Tensor, rays: Rays, fine: bool) -> Composite:
        batch, count, _ = rays.origins.shape
        part = max(1, POINTS_AT_ONCE // (batch * self.coarse))
        if torch.is_grad_enabled() or part >= count:
            return self.march(planes, rays, fine=fine)
        parts = [
            self.march(planes, Rays(origins, directions), fine=fine)
            for origins, directions in zip(
                torch.split(rays.origins, part, dim=1),
                torch.split(rays.directions, part, dim=1),
                strict=True,
            )
        ]
        return Composite(*(torch.cat(found, dim=1) for found in zip(*parts, strict=True)))

    def finish(self, seen: Composite, ws: Tensor, side: int, *, fit: bool = False) -> View:
        """Super-resolve what side x side rays saw (a whole picture or a square patch)."""
        features = as_image(2 * seen.features - 1, side)
        alpha = as_image(seen.alphas, side)
        raw = features[:, :3]
        coarse = raw if self.image_channels == 3 else torch.cat([raw, 2 * alpha - 1], dim=1)
        if fit and side != self.raw_side:
            size = (self.raw_side, self.raw_side)
            coarse, features = (
                F.interpolate(picture, size=size, mode="bilinear", antialias=True)
                for picture in (coarse, features)
            )
        if self.margin:
            around = (self.margin,) * 4
            coarse = F.pad(coarse, around, mode="replicate")
            features = F.pad(features, around, mode="replicate")
        image = self.superresolution(coarse, features, ws[:, -1])
        if self.margin:
            inner = slice(4 * self.margin, -4 * self.margin)
            image = image[..., inner, inner]
        return View(image, raw, as_image(seen.depths, side), alpha)


def as_image(values: Tensor, side: int) -> Tensor:
    """[B, side * side, C] values of a picture's rays -> [B, C, side, side], channels last."""
    return values.reshape(len(values), side, side, -1).permute(0, 3, 1, 2)


def resize(image: Tensor, side: int) -> Tensor:
    """[B, C, H, W] to side x side, bilinear with antialiasing; exact means for whole ratios of
    2 the way the published code takes them."""
    if image.shape[-1] == side:
        return image
    if image.shape[-1] == 2 * side:
        return F.avg_pool2d(image, 2)
    return F.interpolate(image, size=(side, side), mode="bilinear", antialias=True)
