"""Networks from files and into files.

A model file is safetensors whose header also holds, as JSON under `config`, the arguments that
build the network. `folder` says where such files are.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from tpvideo.pipeline.errors import WeightsError
from tpvideo.stages.networks.triplanenet import TriPlaneNet
from tpvideo.weights.folder import directory, find, locate, lock

__all__ = [
    "build",
    "check",
    "directory",
    "find",
    "fit",
    "header",
    "load",
    "locate",
    "lock",
    "save",
    "tensors",
]


def save(
    path: str | os.PathLike[str],
    state: Mapping[str, Tensor],
    config: Mapping[str, Any],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a model file; it appears under its name only when whole.

    Args:
        path: of the file; its folder must exist.
        state: tensors by key.
        config: arguments that build the network, of JSON types.
        metadata: further lines for the header.
    """
    target = Path(path)
    part = target.with_name(target.name + f".part{os.getpid()}")
    header = {**(metadata or {}), "config": json.dumps(config)}
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in state.items()}
    try:
        save_file(tensors, part, metadata=header)
        os.replace(part, target)
    except OSError as error:
        raise WeightsError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def header(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """(config, other metadata) of a model file, without reading its tensors.

    Raises:
        WeightsError: it is not a model file of ours.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"cannot read {path} as safetensors: {_line(error)}") from error
    if "config" not in metadata:
        raise WeightsError(
            f"{path} has no configuration in its header; convert the original checkpoint with "
            f"`tpvideo weights import FILE`"
        )
    try:
        config = json.loads(metadata.pop("config"))
    except (json.JSONDecodeError, RecursionError) as error:
        raise WeightsError(f"{path} has a damaged configuration: {error}") from error
    if not isinstance(config, dict):
        raise WeightsError(f"{path} has a damaged configuration: not a table")
    return config, metadata


def tensors(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """All tensors of a model file, by key, in memory.

    Raises:
        WeightsError: it is missing, damaged or cut short.
    """
    try:
        # What safetensors gives is a window into the file, and the process would end by SIGBUS
        # when somebody writes a shorter one in its place.
        return {key: tensor.clone() for key, tensor in load_file(path).items()}
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"cannot read {path} as safetensors: {_line(error)}") from error


def load(
    name_or_path: str | os.PathLike[str],
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> tuple[TriPlaneNet, dict[str, Any]]:
    """The tri-plane model of a file, ready for inference.

    Args:
        name_or_path: a name for `find`, or a path.
        device: where its parameters go.
        dtype: of its floating-point parameters.

    Returns:
        The network in evaluation mode, with gradients off, and its configuration.

    Raises:
        WeightsError: no such file, or it does not fit the network; names what is missing.
    """
    path = locate(name_or_path)
    config, _ = header(path)
    network = build(config, path)
    fit(network, tensors(path), path)
    network.requires_grad_(False).eval()
    return network.to(device=device, dtype=dtype), config


def build(config: Mapping[str, Any], source: object) -> TriPlaneNet:
    """The network of a configuration, without memory for its parameters (meta device)."""
    try:
        with torch.device("meta"):
            return TriPlaneNet(**config)
    except (TypeError, ValueError, KeyError) as error:
        raise WeightsError(
            f"{source} has a configuration that builds no network: {error}"
        ) from error


def fit(network: torch.nn.Module, state: Mapping[str, Tensor], source: object) -> None:
    """Give `network` the tensors of `state`, which must match its keys and shapes exactly.

    Raises:
        WeightsError: naming the first keys that are missing, unknown or of another shape.
    """
    check(state, {key: list(t.shape) for key, t in network.state_dict().items()}, source)
    network.load_state_dict(dict(state), assign=True)


def check(state: Mapping[str, Tensor], shapes: Mapping[str, list[int]], source: object) -> None:
    """Raise WeightsError unless `state` has exactly these keys and shapes."""
    missing = [key for key in shapes if key not in state]
    unknown = [key for key in state if key not in shapes]
    misshapen = [
        f"{key} {list(state[key].shape)} instead of {shape}"
        for key, shape in shapes.items()
        if key in state and list(state[key].shape) != shape
    ]
    complaints = [
        f"{len(keys)} {what} ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})"
        for what, keys in (("missing", missing), ("unknown", unknown), ("misshapen", misshapen))
        if keys
    ]
    if complaints:
        raise WeightsError(f"{source} does not fit the network: {'; '.join(complaints)}")


def _line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0]
