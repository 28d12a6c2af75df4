"""Inversions in files: latents, planes and cameras, to be drawn again without inverting anew.

Safetensors. Its header holds, as model files do, the network's sizes under `config`, and `kind`
("inversion"), `method`, `model` (its file's name) and `model_sha256`. Its tensors:

    ws           [B, L, D]            latents
    first        [B, 3 C, H, W]       planes of the first branch
    planes       [B, 3 C, H, W]       planes to draw
    label        [B, 25]              camera that was given
    found_label  [B, 25]              camera that was found, where the method moves it
    tuned.*                           weights of the generator, where the method tuned a copy
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tpvideo.pipeline.errors import WeightsError
from tpvideo.stages.networks.generator_tuning import with_own_generator
from tpvideo.stages.networks.triplanenet import Inversion, TriPlaneNet
from tpvideo.weights import store

KIND = "inversion"
TUNED = "tuned."


def save(
    path: str | os.PathLike[str],
    found: Inversion,
    label: Tensor,
    config: Mapping[str, Any],
    about: Mapping[str, str],
) -> None:
    """Write an inversion; it appears under its name only when whole.

    Args:
        label: [B, 25] the cameras that the inverter was given.
        config: of the network, as `store.load` gives it.
        about: further lines for the header: method, model, model_sha256.

    Raises:
        WeightsError: it cannot be written.
    """
    planes = found.planes.clone()  # the very same tensor as `first` where nothing refines it
    state = {"ws": found.ws, "first": found.first, "planes": planes, "label": label}
    if found.labels is not None:
        state["found_label"] = found.labels
    if found.tuned is not None:
        state |= {TUNED + key: value for key, value in found.tuned.decoder.state_dict().items()}
    store.save(path, state, config, {"kind": KIND, **about})


def load(path: str | os.PathLike[str], network: TriPlaneNet) -> tuple[Inversion, Tensor]:
    """An inversion, and the cameras [B, 25] that its inverter was given.

    Args:
        network: the one that it was made with, where it shall be drawn.

    Raises:
        WeightsError: it is damaged, no inversion, or one of a network of other sizes.
    """
    _, about = store.header(path)
    if about.get("kind") != KIND:
        raise WeightsError(f"{path} is no inversion; `tpvideo invert` writes them")
    state = store.tensors(path)
    device = network.latent_avg.device
    kept = {key: value.to(device) for key, value in state.items() if not key.startswith(TUNED)}
    _check(path, kept, network)
    tuned = None
    weights = {key.removeprefix(TUNED): v for key, v in state.items() if key.startswith(TUNED)}
    if weights:
        tuned = with_own_generator(network)
        store.check(
            weights, {k: list(v.shape) for k, v in tuned.decoder.state_dict().items()}, path
        )
        tuned.decoder.load_state_dict(weights)
        tuned.requires_grad_(False).eval()
    planes = kept["ws"], kept["first"], kept["planes"]
    return Inversion(*planes, labels=kept.get("found_label"), tuned=tuned), kept["label"]


def _check(path: object, state: Mapping[str, Tensor], network: TriPlaneNet) -> None:
    """Raise WeightsError unless an inversion's tensors are all there and fit the network."""
    missing = [key for key in ("ws", "first", "planes", "label") if key not in state]
    if missing:
        raise WeightsError(f"{path} is no whole inversion: {', '.join(missing)} missing")
    count = len(state["ws"])
    side = network.decoder.plane_side
    channels = 3 * network.decoder.decoder.get_parameter("net.0.weight").shape[1]
    wanted = {
        "ws": [count, network.decoder.latents, len(network.latent_avg)],
        "first": [count, channels, side, side],
        "planes": [count, channels, side, side],
        "label": [count, 25],
        "found_label": [count, 25],
    }
    for key, tensor in state.items():
        if list(tensor.shape) != wanted.get(key):
            raise WeightsError(
                f"{path} does not fit the network: {key} {list(tensor.shape)} instead of "
                f"{wanted.get(key, 'nothing')}; load the model that it was made with"
            )
        if not torch.isfinite(tensor).all():
            raise WeightsError(f"{path} is damaged: {key} holds what is no number")
