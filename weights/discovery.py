"""Finds directions: the ways in which faces differ most, or what tells labelled faces apart."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from tpvideo.pipeline.errors import ConfigError
from tpvideo.stages.geometry import label as label_of
from tpvideo.stages.geometry import look_at_camera
from tpvideo.stages.networks.triplanenet import TriPlaneNet
from tpvideo.weights.directions import Direction

Layers = tuple[int, int]
"""The first and the last latent that a direction looks at and changes."""

REACH = 0.02
"""How far (scene units) a landmark takes its surroundings along: an eighth of the distance between
the eyes."""
STILL = 0.2
"""Weight with which everything else stays where it is."""
SMALL = 2
"""A direction in the planes is kept at their side divided by this: it is smooth."""


def principal(latents: Tensor, count: int, layers: Layers) -> list[Direction]:
    """Principal components in W, each as long as one standard deviation (GANSpace: Härkönen et
    al. 2020, section 2).

    Args:
        latents: [N, L, D] of many faces.
        count: how many components.

    Raises:
        ConfigError: there are too few faces.
    """
    faces = len(latents)
    if faces <= count:
        raise ConfigError(
            f"{count} components need at least {count + 1} faces, got {faces}; give more faces, or "
            "ask for fewer with --components"
        )
    part = slice(layers[0], layers[1] + 1)
    chosen = latents[:, part]
    if bool((latents == latents[:, :1]).all()):
        chosen = chosen[:, :1]  # one latent for all layers, as the mapping network gives
    flat = (chosen - chosen.mean(dim=0)).flatten(1).double()  # [N, l D]
    _, spread, axes = torch.linalg.svd(flat, full_matrices=False)
    shares = spread.square() / spread.square().sum().clamp(min=1e-30)
    found = []
    for size, axis, share in zip(spread[:count], axes, shares, strict=False):
        # A component and its opposite are the same; its largest entry decides, so that it is
        # found alike on every machine.
        axis = axis * torch.sign(axis[axis.abs().argmax()])
        shift = torch.zeros(latents.shape[1:])
        shift[part] = (size / (faces - 1) ** 0.5 * axis).reshape(chosen.shape[1:]).float()
        about = f"principal component of {faces} faces, {100 * float(share):.1f} % of the variance"
        found.append(Direction("latents", shift, about, layers))
    return found


def sampled_latents(network: TriPlaneNet, count: int, seed: int = 0) -> Tensor:
    """[N, L, D] latents of faces that the generator draws by itself: z ~ N(0, 1) through its
    mapping network, for a frontal camera.

    Raises:
        ConfigError: the generator has no mapping network.
    """
    mapping = getattr(network.decoder.backbone, "mapping", None)
    if mapping is None:
        raise ConfigError(
            "this model has no mapping network to sample faces from; name pictures of faces, clips "
            "or folders of them, whose latents its encoder finds"
        )
    device = network.latent_avg.device
    random = torch.Generator().manual_seed(seed)
    z_dim = mapping.fc0.weight.shape[1] - len(network.latent_avg)
    z = torch.randn(count, z_dim, generator=random).to(device)
    label = torch.from_numpy(label_of(look_at_camera(0.0))).to(device)
    with torch.inference_mode():
        ws: Tensor = mapping(z, label.expand(count, -1), network.decoder.latents)
    return ws.float()


def contrast(with_it: Tensor, without: Tensor, layers: Layers, *, ridge: float = 0.0) -> Direction:
    """What tells labelled faces apart in W: the difference of their means, or, with a ridge, as
    much of it as lies along the axis of a linear regression of the label on the latents.

    Args:
        with_it, without: [N, L, D] and [M, L, D] latents.
        ridge: 0, or the weight of the penalty, in mean variances of the latents; the larger, the
            nearer to the difference of the means.
    """
    part = slice(layers[0], layers[1] + 1)
    one, other = with_it[:, part].flatten(1).double(), without[:, part].flatten(1).double()
    apart = one.mean(dim=0) - other.mean(dim=0)
    if ridge > 0:
        centred = torch.cat([one - one.mean(dim=0), other - other.mean(dim=0)])
        covariance = centred.T @ centred / len(centred)
        penalty = ridge * covariance.diagonal().mean() * torch.eye(len(apart), dtype=apart.dtype)
        axis = F.normalize(torch.linalg.solve(covariance + penalty, apart), dim=0)
        apart = axis * (axis @ apart)
    shift = torch.zeros(with_it.shape[1:])
    shift[part] = apart.reshape(shift[part].shape).float()
    how = f"ridge regression ({ridge:g})" if ridge > 0 else "difference of means"
    return Direction("latents", shift, f"{how}, {_counts(len(with_it), len(without))}", layers)


def plane_contrast(with_it: Iterable[Tensor], without: Iterable[Tensor]) -> Direction:
    """What tells labelled faces apart in the planes T + ΔT: the difference of their means.

    A model whose first branch is coarse has expressions in ΔT alone, where no change of latents
    reaches them. Not in the paper.

    Args:
        with_it, without: batches [B, 3 C, H, W] of refined planes.
    """
    (one, many), (other, more) = _mean(with_it), _mean(without)
    apart = F.avg_pool2d((one - other)[None], SMALL)[0]
    return Direction("planes", apart, f"difference of means in the planes, {_counts(many, more)}")


def _mean(batches: Iterable[Tensor]) -> tuple[Tensor, int]:
    total, count = torch.zeros(()), 0
    for batch in batches:
        total, count = total + batch.sum(dim=0), count + len(batch)
    if not count:
        raise ConfigError("there is no face to learn from")
    return total / count, count


def _counts(many: int, more: int) -> str:
    return f"{many} faces with it and {more} without"


def motion(before: Tensor, after: Tensor, box: float, side: int = 64) -> Tensor:
    """[3, side, side] where the surface was before a change, spread from landmarks.

    Args:
        before, after: [K, 3] mean landmarks without and with it, scene units.
        box: side of the square of x and y that is covered.
    """
    cells = ((torch.arange(side) + 0.5) / side - 0.5) * box
    y, x = torch.meshgrid(cells, cells, indexing="ij")
    apart = torch.stack([x, y], dim=-1)[:, :, None] - after[:, :2]  # [side, side, K, 2]
    weights = torch.exp(-apart.square().sum(dim=-1) / (2 * REACH**2))
    total = weights.sum(dim=-1, keepdim=True) + STILL
    return ((weights @ (before - after)) / total).permute(2, 0, 1).float()
