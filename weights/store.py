"""Where model files are, and how a network comes out of one.

A model file is safetensors whose header also holds, as JSON under `config`, the arguments that
build the network. Shipped files lie inside the package; fetched and imported ones in a directory
of the user that all processes share.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import platformdirs
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from tpvideo.pipeline.errors import WeightsError
from tpvideo.stages.networks.triplanenet import TriPlaneNet

SHIPPED = {
    "default": "default.safetensors",
    "face": "face.safetensors",
    "matting": "matting.onnx",
}
"""Files inside the package, by name."""


def directory() -> Path:
    """The user's weights directory: `TPVIDEO_WEIGHTS` where set, else the platform's place for
    application data. It need not exist yet."""
    chosen = os.environ.get("TPVIDEO_WEIGHTS")
    if chosen:
        return Path(chosen).expanduser()
    return platformdirs.user_data_path("tpvideo", appauthor=False) / "weights"


def find(name: str) -> Path:
    """The file of a model, shipped or in the user's directory.

    Args:
        name: `default`, `face`, `matting`; a name of the manifest; or a file name.

    Raises:
        WeightsError: it is not there; the message says how to get it.
    """
    if name in SHIPPED:
        shipped = Path(str(resources.files("tpvideo.weights").joinpath(SHIPPED[name])))
        if shipped.is_file():
            return shipped
        raise WeightsError(
            f"{SHIPPED[name]} is missing from the installed package; install tpvideo again"
        )
    for candidate in (name, f"{name}.safetensors", f"{name}.onnx"):
        path = directory() / candidate
        if path.is_file():
            return path
    raise WeightsError(
        f"no weights named {name} in {directory()}; see `tpvideo weights list`, then get them with "
        f"`tpvideo weights pull {name}` or `tpvideo weights import FILE`"
    )


def locate(name_or_path: str | os.PathLike[str]) -> Path:
    """Like `find`, but anything that looks like a path is taken as one."""
    path = Path(name_or_path)
    is_path = path.suffix in {".safetensors", ".onnx"} or len(path.parts) > 1
    if not is_path:
        return find(str(name_or_path))
    if path.is_file():
        return path
    raise WeightsError(f"no model file {path}")


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
    except json.JSONDecodeError as error:
        raise WeightsError(f"{path} has a damaged configuration: {error}") from error
    if not isinstance(config, dict):
        raise WeightsError(f"{path} has a damaged configuration: not a table")
    return config, metadata


def tensors(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """All tensors of a model file, by key."""
    try:
        return load_file(path)
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


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold `path` + `.lock` against other processes; waits until it is free."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(path.name + ".lock"), "a+b") as handle:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(handle.fileno(), msvcrt.LK_LOCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX)
        yield  # closing the handle releases it


def _line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0]
