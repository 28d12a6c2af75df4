"""Half precision that a network survives: a self-test on one frame, before a run."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from tpvideo.stages import geometry
from tpvideo.stages.invert import in_precision
from tpvideo.stages.networks.triplanenet import TriPlaneNet

log = logging.getLogger(__name__)

FLAT = 1e-3
"""Deviation over a picture, of values in -1..1, below which it shows nothing."""


def working_dtype(
    network: TriPlaneNet, device: torch.device | str, dtype: torch.dtype
) -> torch.dtype:
    """`dtype`, or float32 with a notice where one frame in `dtype` comes out broken.

    Half precision can overflow inside a network that was trained without it; the picture is
    then NaN or of one colour, usually black.

    Args:
        network: in evaluation mode on `device`.
        device: where it runs.
        dtype: of convolutions and matrix products.
    """
    if dtype == torch.float32 or _shows_something(network, torch.device(device), dtype):
        return dtype
    name = str(dtype).removeprefix("torch.")
    log.warning("%s gives broken pictures with this model; computing in float32 instead", name)
    return torch.float32


def _shows_something(network: TriPlaneNet, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a frame comes out finite and not of one colour."""
    try:
        picture = one_frame(network, device, dtype)
    except RuntimeError as error:  # NaN as a table index, or an operator that lacks the type
        log.debug("the self-test failed: %s", error)
        return False
    return shows_something(picture)


@torch.inference_mode()
def one_frame(network: TriPlaneNet, device: torch.device, dtype: torch.dtype) -> Tensor:
    """[3, S, S] the front view of a plain gradient, -1..1, float32 on `device`.

    Args:
        network: in evaluation mode on `device`.
        device: where it runs.
        dtype: of convolutions and matrix products.

    Raises:
        RuntimeError: it cannot be computed like this.
    """
    image = torch.linspace(-0.5, 0.5, network.side, device=device)
    images = image.expand(1, 3, network.side, network.side)
    label = torch.from_numpy(geometry.label(geometry.look_at_camera(0.0)))[None].to(device)
    with in_precision(device, dtype):
        found = network.invert(images, label)
        return network.render(found.planes, found.ws, label).image[0, :3].float()


def shows_something(picture: Tensor) -> bool:
    """Whether a picture [3, S, S] is finite and not of one colour."""
    edge = picture.shape[-1] // 4  # enlarging fades the edges even of a black picture
    middle = picture[:, edge:-edge, edge:-edge]
    return bool(torch.isfinite(picture).all() and middle.std(dim=(1, 2)).max() > FLAT)
