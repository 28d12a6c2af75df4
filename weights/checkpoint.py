"""Published checkpoint files, read without executing anything in them.

What people have: the `.pth` that TriPlaneNet's authors load EG3D from, NVIDIA's `.pkl`
snapshots, and TriPlaneNet's own `.pt` (parity spec, section 16).
"""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from tpvideo.pipeline.errors import WeightsError
from tpvideo.weights import snapshot

ZIP_MAGIC = b"PK\x03\x04"
LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""How files of torch before 1.6 begin: they are pickles, not archives."""

GENERATOR_KEYS = ("backbone.", "superresolution.", "decoder.")
"""How every key of EG3D's generator begins."""


class Checkpoint(NamedTuple):
    """What a published file holds, under the keys of our network."""

    kind: Literal["generator", "triplanenet"]
    state: dict[str, Tensor]
    """By key; `latent_avg` [512] among them where the file has it."""
    settings: dict[str, Any]
    """Arguments of TriPlaneNet that the file states."""


def read(path: Path) -> Checkpoint:
    """The networks of a published file.

    Raises:
        WeightsError: it is none of the known kinds, damaged, or asks for more than numbers.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(len(LEGACY_MAGIC))
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror}") from error
    if head.startswith(ZIP_MAGIC):
        return _from_archive(path)
    if head.startswith(snapshot.MAGIC):
        found = snapshot.read_snapshot(path)
        rendering = found.attributes.get("rendering_kwargs")
        return _generator(path, found.state, rendering or found.init_kwargs)
    if head.startswith(LEGACY_MAGIC):
        raise WeightsError(
            f"{path} was written by torch before 1.6; load and save it once with a newer torch"
        )
    raise WeightsError(
        f"{path} is no checkpoint of EG3D or TriPlaneNet: it begins with {head[:4].hex(' ')}"
    )


# --- archives of torch.save ----------------------------------------------------------------------


class _Number:
    """Stands for a NumPy number among the settings; what it is does not matter."""

    def __init__(self, *_parts: object) -> None:
        pass

    def __setstate__(self, _state: object) -> None:
        pass


_STAND_INS: list[Any] = [
    (dict, "dnnlib.util.EasyDict"),
    (_Number, "numpy.core.multiarray.scalar"),
    (_Number, "numpy._core.multiarray.scalar"),
    (_Number, "numpy.dtype"),
]


def _from_archive(path: Path) -> Checkpoint:
    _expect_plain_archive(path)
    try:
        with torch.serialization.safe_globals(_STAND_INS):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(f"refused {path}: {_refusal(error)}") from error
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError, EOFError, OSError,
            IndexError, MemoryError, OverflowError, AssertionError) as error:  # fmt: skip
        raise WeightsError(f"cannot read {path}: {_first_line(error)}") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path} holds a {type(content).__name__}, not a checkpoint")
    if "G_ema" in content and "latent_avg" in content:
        state = _tensors(path, content["G_ema"])
        settings = content.get("init_kwargs")
        average = _tensors(path, {"latent_avg": content["latent_avg"]})["latent_avg"]
        found = _generator(path, state, settings if isinstance(settings, dict) else {})
        found.state["latent_avg"] = average.reshape(-1)
        return found
    if "state_dict" in content:
        return _triplanenet(path, _tensors(path, content["state_dict"]))
    keys = ", ".join(str(key) for key in list(content)[:5])
    raise WeightsError(
        f"{path} is no checkpoint of EG3D or TriPlaneNet: it holds {keys or 'nothing'}"
    )


def _expect_plain_archive(path: Path) -> None:
    """Torch stores without compression; anything that grows when unpacked is an attack."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise WeightsError(f"cannot read {path}: the archive is damaged ({error})") from error
    unpacked = sum(member.file_size for member in members)
    is_packed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
    if is_packed or unpacked > path.stat().st_size:
        raise WeightsError(
            f"refused {path}: it unpacks to {unpacked} bytes, more than it has; no checkpoint does"
        )


def _refusal(error: pickle.UnpicklingError) -> str:
    """What torch says the file asked for, without its advice to switch the check off."""
    _, _, reason = str(error).partition("WeightsUnpickler error:")
    line = (reason or "damaged pickle").strip().splitlines()[0]
    return f"{line[:200].removesuffix('.')}; nothing was run"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _tensors(path: Path, state: object) -> dict[str, Tensor]:
    if not isinstance(state, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()
    ):
        raise WeightsError(f"{path} is damaged: a state dictionary holds more than tensors")
    if sum(value.numel() * value.element_size() for value in state.values()) > path.stat().st_size:
        raise WeightsError(f"refused {path}: its tensors are larger than the file")
    return dict(state)


# --- what the networks are called, and their settings --------------------------------------------


def _generator(path: Path, state: dict[str, Tensor], settings: dict[str, Any]) -> Checkpoint:
    """EG3D's generator, under the prefix that it has inside TriPlaneNet."""
    foreign = [key for key in state if not key.startswith(GENERATOR_KEYS)]
    if foreign or not state:
        raise WeightsError(f"{path} holds no EG3D generator: {', '.join(foreign[:3]) or 'empty'}")
    rendering = settings.get("rendering_kwargs", settings)
    return Checkpoint(
        "generator",
        {f"decoder.{key}": tensor for key, tensor in state.items()},
        _rendering(path, rendering if isinstance(rendering, dict) else {}),
    )


def _rendering(path: Path, stated: dict[str, Any]) -> dict[str, Any]:
    """Settings of the renderer, where they are ones that we have (parity spec, section 3)."""
    module = str(stated.get("superresolution_module", "SuperresolutionHybrid8XDC"))
    fixed = {
        "superresolution_module": (module.split(".")[-1], "SuperresolutionHybrid8XDC"),
        "clamp_mode": (stated.get("clamp_mode", "softplus"), "softplus"),
        "disparity_space_sampling": (bool(stated.get("disparity_space_sampling")), False),
        "white_back": (bool(stated.get("white_back")), False),
    }
    for key, (has, wanted) in fixed.items():
        if has != wanted:
            raise WeightsError(f"{path} was trained with {key}={has!r}; we have only {wanted!r}")
    try:
        return {
            "near": float(stated.get("ray_start", 2.25)),
            "far": float(stated.get("ray_end", 3.3)),
            "box": float(stated.get("box_warp", 1.0)),
            "samples": [
                int(stated.get("depth_resolution", 48)),
                int(stated.get("depth_resolution_importance", 48)),
            ],
        }
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{path} has renderer settings that we lack: {error}") from error


def _triplanenet(path: Path, state: dict[str, Tensor]) -> Checkpoint:
    """TriPlaneNet, and which variant it is: shapes of two layers tell (spec, section 12)."""
    up2 = state.get("triplanenet_encoder.up2.conv.double_conv.1.weight")
    stem = state.get("triplanenet_encoder.input_layer.0.weight")
    if up2 is None or stem is None or up2.ndim != 4 or stem.ndim != 4:
        raise WeightsError(f"{path} holds no TriPlaneNet: its offset encoder is missing")
    settings = {
        "offsets": {"up": "pixelshuffle" if up2.shape[0] == 384 else "nearest"},
        "mirrored": stem.shape[1] != 6,  # v1 sees the picture and its residual only
    }
    return Checkpoint("triplanenet", state, settings)
