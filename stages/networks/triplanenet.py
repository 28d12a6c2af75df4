"""TriPlaneNet v2: a picture of a face to tri-planes, in two branches (paper, section 3.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tpvideo.stages.networks.encoder import StyleEncoder
from tpvideo.stages.networks.generator import Generator, View, resize
from tpvideo.stages.networks.layers import expect_shape
from tpvideo.stages.networks.plane_encoder import PlaneEncoder
from tpvideo.stages.networks.triplane import EG3D_AXES, ORTHOGONAL_AXES
from tpvideo.stages.networks.volume import Composite

BLACK = -0.95
"""Where no channel is above it there is nothing but background."""

AXES = {"eg3d": EG3D_AXES, "orthogonal": ORTHOGONAL_AXES}


class Inversion(NamedTuple):
    """A face in EG3D's space."""

    ws: Tensor
    """[B, L, D] latents in W+."""
    first: Tensor
    """[B, 3 C, H, W] planes of the first branch, T = G(w) (eq. 5)."""
    planes: Tensor
    """[B, 3 C, H, W] refined planes T + ΔT (eq. 7)."""
    error: Tensor | None = None
    """[B] of the first branch in the same view, see `first_error`; None where it was not looked
    at."""
    labels: Tensor | None = None
    """[B, 25] the cameras, where the method moved them; None where they are as given."""
    tuned: TriPlaneNet | None = None
    """The network that draws these planes, where the method made one of its own of it."""


class TriPlaneNet(nn.Module):
    """Encoder to W+, EG3D's generator, and the offset U-Net. The default sizes are those of the
    published FFHQ 512-128 model, with its key names.

    Args:
        side: side of the pictures that come in and that the second branch compares.
        encoder_side: side of the pictures that the style encoder sees; 0 for `side`.
        first_side: side of the volume rendering that the second branch compares with; 0 for
            `raw_side`.
        first_fine: whether that rendering takes importance samples.
        offsets: further arguments of PlaneEncoder.
        encoder: further arguments of StyleEncoder.
        canonical: lay the second branch's pictures on a mean head before it sees them, so that
            its convolutions stand over the planes' own cells. Not in the paper; the small
            default model needs far fewer samples this way. The mean head's surface is the
            buffer `surface`.
        mirrored: whether the second branch also sees what the mirrored picture misses, as in
            TriPlaneNet v2; v1 did not.
    Other arguments: see Generator.
    """

    latent_avg: Tensor
    surface: Tensor

    def __init__(
        self,
        *,
        side: int = 256,
        encoder_side: int = 0,
        style_dim: int = 512,
        plane_side: int = 256,
        plane_channels: int = 32,
        backbone_widths: Sequence[int] = (512, 512, 512, 512, 512, 256, 128),
        hidden: int = 64,
        colours: int = 32,
        raw_side: int = 128,
        first_side: int = 0,
        first_fine: bool = True,
        superres_widths: Sequence[int] = (256, 128),
        image_channels: int = 3,
        near: float = 2.25,
        far: float = 3.3,
        samples: Sequence[int] = (48, 48),
        box: float = 1.0,
        axes: str = "eg3d",
        density_gain: float = 1.0,
        margin: int = 0,
        mapping: bool = True,
        noise: bool = True,
        encoder: Mapping[str, Any] | None = None,
        offsets: Mapping[str, Any] | None = None,
        canonical: bool = False,
        mirrored: bool = True,
    ) -> None:
        super().__init__()
        self.psp_encoder = StyleEncoder(
            side=encoder_side or side, style_dim=style_dim, **(encoder or {})
        )
        self.triplanenet_encoder = PlaneEncoder(
            plane_channels=3 * plane_channels,
            side=side,
            plane_side=plane_side,
            **{"in_channels": 9 if mirrored else 6, **(offsets or {})},
        )
        self.decoder = Generator(
            style_dim=style_dim,
            plane_side=plane_side,
            plane_channels=plane_channels,
            backbone_widths=backbone_widths,
            hidden=hidden,
            colours=colours,
            raw_side=raw_side,
            superres_widths=superres_widths,
            image_channels=image_channels,
            near=near,
            far=far,
            samples=samples,
            box=box,
            axes=AXES[axes],
            density_gain=density_gain,
            margin=margin,
            mapping=mapping,
            noise=noise,
        )
        self.register_buffer("latent_avg", torch.zeros(style_dim))
        if canonical:
            self.register_buffer("surface", torch.zeros(side, side))
        self.canonical = canonical
        self.mirrored = mirrored
        self.first_side = first_side or raw_side
        self.first_fine = first_fine
        self.side = side

    @property
    def image_side(self) -> int:
        """Side of a rendered picture, pixels."""
        return 4 * self.decoder.raw_side

    def encode(self, images: Tensor) -> Tensor:
        """Latents of [B, 3, side, side] pictures: ŵ = φ(x) + w̄ (eq. 4)."""
        expect_shape("images", images, (None, 3, self.side, self.side))
        codes: Tensor = self.psp_encoder(resize(images, self.psp_encoder.side))
        return codes.float() + self.latent_avg

    def invert(self, images: Tensor, labels: Tensor) -> Inversion:
        """Tri-planes of pictures (parity spec, section 13).

        Args:
            images: [B, 3, side, side], -1..1.
            labels: [B, 25] the cameras that saw them.
        """
        ws = self.encode(images)
        return self.refine(images, labels, ws, self.decoder.planes(ws))

    def refine(self, images: Tensor, labels: Tensor, ws: Tensor, first: Tensor) -> Inversion:
        """The second branch alone, after latents [B, L, D] and their planes [B, 3 C, H, W]."""
        with torch.no_grad():
            residuals = self.residuals(images, labels, ws, first)
        planes = self.triplanenet_encoder(residuals, first).float()
        return Inversion(ws, first, planes, first_error(residuals))

    def residuals(self, images: Tensor, labels: Tensor, ws: Tensor, first: Tensor) -> Tensor:
        """[B, 9, H, W] what the second branch sees: ŷ, x - ŷ and x_m - ŷ_m (eq. 6); the first
        six channels where it takes no mirror."""
        if not self.mirrored:
            (seen,) = self._first_looks(first, ws, labels)
            own = torch.cat([seen, images - seen], dim=1)
            return self._unproject(own, labels) if self.canonical else own
        mirrored_labels = mirror(labels)
        seen, seen_mirrored = self._first_looks(first, ws, labels, mirrored_labels)
        own = torch.cat([seen, images - seen], dim=1)
        other = images.flip(-1) - seen_mirrored
        if not self.canonical:
            return torch.cat([own, other], dim=1)
        return torch.cat([self._unproject(own, labels), self._unproject(other, mirrored_labels)], 1)

    def _first_looks(self, planes: Tensor, ws: Tensor, *cameras: Tensor) -> tuple[Tensor, ...]:
        """[B, 3, side, side] the first branch's render from each of the cameras, [B, 25] each."""
        side = self.first_side
        looks = [
            self.decoder.look(planes, labels, side=side, fine=self.first_fine) for labels in cameras
        ]
        seen = Composite(*(torch.cat(found) for found in zip(*looks, strict=True)))
        if len(ws) > 1:  # a single picture's latents serve all cameras as they are
            ws = ws.repeat(len(cameras), 1, 1)
        pictures = self.decoder.finish(seen, ws, side).image[:, :3]
        return resize(pictures, self.side).chunk(len(cameras))

    def _unproject(self, images: Tensor, labels: Tensor) -> Tensor:
        """Pictures laid on the mean head, looked at along z: each cell of the (x, y) plane gets
        what the camera saw at (x, y, surface)."""
        size = self.surface.shape[0]
        box = self.decoder.box
        cells = ((torch.arange(size, device=images.device) + 0.5) / size - 0.5) * box
        y, x = torch.meshgrid(cells, cells, indexing="ij")
        points = torch.stack([x, y, self.surface], dim=-1).reshape(1, -1, 3)
        camera = labels[:, :16].reshape(-1, 4, 4)
        seen = (points - camera[:, None, :3, 3]) @ camera[:, :3, :3]  # [B, N, 3]
        focal = labels[:, None, 16:21:4]
        centre = labels[:, None, 18:22:3]
        position = focal * seen[..., :2] / seen[..., 2:] + centre
        grid = (2 * position - 1).reshape(-1, size, size, 2)
        return F.grid_sample(images.float(), grid, align_corners=False)

    def render(self, planes: Tensor, ws: Tensor, labels: Tensor, *, side: int = 0) -> View:
        """Pictures of planes from cameras: R(T + ΔT, π) (eq. 7); `side` as for Generator.render."""
        return self.decoder.render(planes, ws, labels, side=side)


def first_error(residuals: Tensor) -> Tensor:
    """[B] mean difference between pictures and the first branch's look at them, 0..1, over what
    either of them shows.

    Args:
        residuals: [B, 6 or 9, H, W] of TriPlaneNet.residuals.
    """
    seen, missed = residuals[:, :3].float(), residuals[:, 3:6].float()
    shown = torch.maximum(seen, seen + missed).amax(dim=1) > BLACK  # [B, H, W]
    apart = missed.abs().mean(dim=1) / 2 * shown
    return apart.sum(dim=(1, 2)) / shown.sum(dim=(1, 2)).clamp(min=1)


def mirror(labels: Tensor) -> Tensor:
    """[B, 25] labels of the mirrored pictures (parity spec, section 7)."""
    sign = torch.ones(25, device=labels.device, dtype=labels.dtype)
    sign[1:5] = -1
    sign[8] = -1
    return labels * sign
