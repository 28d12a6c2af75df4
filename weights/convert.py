"""From published checkpoints to our model files: same numbers, checked keys, no pickle."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from tpvideo.pipeline.errors import WeightsError
from tpvideo.weights import checkpoint, folder, manifest, store
from tpvideo.weights.checkpoint import Checkpoint

log = logging.getLogger(__name__)

AVERAGE_FROM = "eg3d-ffhq512-128"
"""TriPlaneNet starts from this generator and adds its average latent, which its own file lacks."""

W_AVG = "decoder.backbone.mapping.w_avg"


def import_file(path: Path, *, name: str | None = None, use_w_avg: bool = False) -> Path:
    """Convert a published checkpoint and put it into the user's directory.

    Args:
        path: EG3D's `.pth` or `.pkl`, or TriPlaneNet's `.pt`.
        name: of the result; None takes the one of the manifest.
        use_w_avg: take the generator's running average for a missing average latent. The two are
            the same kind of number; that they are equal is not confirmed.

    Returns:
        The safetensors file that now exists.

    Raises:
        WeightsError: not a known checkpoint, damaged, hostile, or of other keys and shapes.
    """
    found = checkpoint.read(path)
    name = name or _name(path, found)
    config = dict(found.settings)
    state = {key: _as_stored(tensor) for key, tensor in found.state.items()}
    if found.kind == "triplanenet":
        config, state = _completed(path, config, state, use_w_avg)
    _expect_fit(path, found, config, state)
    model = manifest.known().get(name)
    folder.directory().mkdir(parents=True, exist_ok=True)
    target = folder.directory() / (model.file if model else f"{name}.safetensors")
    metadata = {"kind": found.kind, "source": path.name}
    if model is not None:
        metadata["licence"] = model.licence
    with folder.lock(target):
        store.save(target, state, config, metadata)
        manifest.record(target.name, manifest.sha256_of(target))
    return target


def _name(path: Path, found: Checkpoint) -> str:
    """By the published file name; else by what it is."""
    for model in manifest.known().values():
        if model.original == path.name:
            return model.name
    if found.kind == "generator":
        return f"eg3d-{path.stem}"
    return "ffhq512" if found.settings["mirrored"] else "ffhq512-v1"


def _as_stored(tensor: Tensor) -> Tensor:
    return tensor.detach().float() if tensor.is_floating_point() else tensor.detach()


def _completed(
    path: Path, config: dict[str, object], state: dict[str, Tensor], use_w_avg: bool
) -> tuple[dict[str, object], dict[str, Tensor]]:
    """The settings of the generator's own file, and its average latent."""
    source = folder.directory() / manifest.entry(AVERAGE_FROM).file
    if source.is_file():
        settings, _ = store.header(source)
        with safe_open(source, framework="pt") as file:
            if "latent_avg" in file.keys():  # noqa: SIM118  not a dictionary
                average = file.get_tensor("latent_avg")
                return {**settings, **config}, {**state, "latent_avg": average}
    if use_w_avg and W_AVG in state:
        log.warning("taking the generator's running average for the average latent, unconfirmed")
        return config, {**state, "latent_avg": state[W_AVG].clone()}
    raise WeightsError(
        f"{path} lacks the average latent, which is in EG3D's file; import that one first "
        f"(`tpvideo weights pull {AVERAGE_FROM}`, or `tpvideo weights import ffhq512-128.pth`)"
    )


def _expect_fit(
    path: Path, found: Checkpoint, config: dict[str, object], state: dict[str, Tensor]
) -> None:
    """Every key and shape of the network that this file is for, and no other."""
    network = store.build(config, path)
    shapes = {key: list(tensor.shape) for key, tensor in network.state_dict().items()}
    if found.kind == "generator":
        shapes = {key: shape for key, shape in shapes.items() if key.startswith("decoder.")}
        if "latent_avg" in state:
            shapes["latent_avg"] = [512]
    store.check(state, shapes, path)
    for key, tensor in state.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise WeightsError(f"{path} is damaged: {key} holds values that are no numbers")
