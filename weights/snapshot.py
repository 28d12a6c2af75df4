"""NVIDIA network snapshots (`.pkl`), read without running a line of them.

Such a file holds, for every persistent class, the source text of the module that defines it; an
ordinary load executes that text. Here it is never looked at: modules become inert records, and
their parameters and buffers are collected under dotted names (parity spec, section 16.4).
"""

from __future__ import annotations

import io
import math
import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from tpvideo.pipeline.errors import WeightsError
from tpvideo.weights.inert_pickle import (
    PROTOCOL_2,
    PROTOCOL_4,
    Call,
    Inert,
    Machine,
    Name,
    NumberType,
    Refused,
    string_keys,
)

MAGIC = b"\x80\x04"
"""How a protocol-4 pickle begins."""

DEEPEST = 64
"""Levels of modules or of settings beyond which a file is an attack, not a network."""

PERSISTENCE_VERSION = 6

_STORAGE_MAGIC = 0x1950A86A20F9469CFC6C
_STORAGE_PROTOCOL = 1001

_STORAGE_TYPES = {
    Name("torch", f"{kind}Storage"): dtype
    for kind, dtype in {
        "Float": torch.float32,
        "Double": torch.float64,
        "Half": torch.float16,
        "BFloat16": torch.bfloat16,
        "Long": torch.int64,
        "Int": torch.int32,
        "Short": torch.int16,
        "Char": torch.int8,
        "Byte": torch.uint8,
        "Bool": torch.bool,
    }.items()
}
_NUMBERS = frozenset({"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"})

_RENDERING = "training.volumetric_rendering"
_INERT_CLASSES = frozenset(
    {
        Name("training.triplane", "OSGDecoder"),
        Name(f"{_RENDERING}.renderer", "ImportanceRenderer"),
        Name(f"{_RENDERING}.ray_marcher", "MipRayMarcher2"),
        Name(f"{_RENDERING}.ray_sampler", "RaySampler"),
        Name("torch.nn.modules.container", "Sequential"),
        Name("torch.nn.modules.activation", "Softplus"),
        Name("dnnlib.util", "EasyDict"),
    }
)


class Snapshot(NamedTuple):
    """One generator out of a network snapshot."""

    state: dict[str, Tensor]
    """Parameters and buffers by dotted name, in the order of a state dict."""
    init_kwargs: dict[str, Any]
    """What its class was called with; plain containers and numbers."""
    attributes: dict[str, Any]
    """Its other attributes that are plain numbers, text or tables of such."""


def read_snapshot(path: Path, network: str = "G_ema") -> Snapshot:
    """One network of a snapshot file.

    Raises:
        WeightsError: the file is damaged, or asks for anything a checkpoint does not need.
    """
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            content = _machine().run(cast(BinaryIO, view))
        roots = string_keys(content, "the snapshot")
        if network not in roots:
            raise Refused(f"it holds no {network}, only {', '.join(roots) or 'nothing'}")
        root = roots[network]
        if not isinstance(root, Inert):
            raise Refused(f"its {network} is no network")
        return _snapshot(root, path.stat().st_size)
    except (OSError, ValueError) as error:
        raise WeightsError(f"cannot read {path}: {error}") from error
    except Refused as error:
        raise WeightsError(f"refused {path}: {error}") from error


def _machine() -> Machine:
    calls: dict[Name, Call] = {
        Name("torch_utils.persistence", "_reconstruct_persistent_obj"): _persistent_object,
        Name("collections", "OrderedDict"): _ordered_dict,
        Name("torch._utils", "_rebuild_tensor_v2"): _tensor,
        Name("torch._utils", "_rebuild_parameter"): _parameter,
        Name("torch.storage", "_load_from_bytes"): _storage,
        Name("numpy", "dtype"): _number_type,
        Name("numpy.core.multiarray", "scalar"): _number,
        Name("numpy._core.multiarray", "scalar"): _number,
    }
    return Machine(PROTOCOL_4, _INERT_CLASSES | frozenset(calls), calls)


# --- what the file's calls stand for ----------------------------------------------------------


def _persistent_object(record: Any) -> Inert:
    record = string_keys(record, "a persistence record")
    if set(record) != {"type", "version", "module_src", "class_name", "state"}:
        raise Refused("a persistence record has other fields than it should")
    if record["type"] != "class" or record["version"] != PERSISTENCE_VERSION:
        raise Refused(f"a persistence record is not of version {PERSISTENCE_VERSION}")
    if not isinstance(record["class_name"], str):
        raise Refused("a persistence record has no class name")
    state = string_keys(record["state"], "the state of a persistence record")
    return Inert(Name("(persistent)", record["class_name"]), state)


def _ordered_dict(*items: Any) -> dict[str, Any]:
    if any(item != [] for item in items):
        raise Refused("an ordered dictionary is made from arguments")
    return {}


def _tensor(
    storage: Any, offset: Any, size: Any, stride: Any, _gradient: Any, _hooks: Any, *_more: Any
) -> Tensor:
    """A view of a storage, if it stays inside and shows nothing twice."""
    numbers = (offset, *size, *stride) if isinstance(size, tuple | list) else ()
    if (
        not isinstance(storage, Tensor)
        or storage.ndim != 1
        or not isinstance(stride, tuple | list)
        or len(size) != len(stride)
        or not numbers
        or not all(type(number) is int and 0 <= number < 2**40 for number in numbers)
    ):
        raise Refused("a tensor has sizes that make no sense")
    last = offset + sum(
        (extent - 1) * step for extent, step in zip(size, stride, strict=True) if extent
    )
    if math.prod(size) > len(storage) or (math.prod(size) and last >= len(storage)):
        raise Refused("a tensor reaches beyond its storage")
    return storage.as_strided(tuple(size), tuple(stride), offset)


def _parameter(tensor: Any, _gradient: Any, _hooks: Any) -> Tensor:
    if not isinstance(tensor, Tensor):
        raise Refused("a parameter is no tensor")
    return tensor


def _storage(content: Any) -> Tensor:
    """A tensor's numbers from their own small file inside the pickle: magic, protocol, system,
    record, keys, count, raw numbers."""
    if not isinstance(content, bytes):
        raise Refused("a storage is not made of bytes")
    stream = io.BytesIO(content)
    found: list[tuple[torch.dtype, int]] = []

    def record(kind: Any, name: Any, _key: Any, _place: Any, count: Any, *_view: Any) -> None:
        if kind != "storage" or name not in _STORAGE_TYPES or type(count) is not int:
            raise Refused("a storage has a record of another kind")
        found.append((_STORAGE_TYPES[name], count))

    def header() -> Any:
        return Machine(PROTOCOL_2, frozenset(_STORAGE_TYPES), {}, record).run(stream)

    if header() != _STORAGE_MAGIC or header() != _STORAGE_PROTOCOL:
        raise Refused("a storage has the wrong magic number")
    header()  # sizes of C types where it was written
    header()
    header()  # keys
    if len(found) != 1:
        raise Refused("a storage has not exactly one record")
    (dtype, count), raw = found[0], stream.read()
    stated = int.from_bytes(raw[:8], "little", signed=True)
    numbers = memoryview(raw)[8:]
    if count != stated or count < 0 or len(numbers) != count * dtype.itemsize:
        raise Refused(f"a storage announces {count} numbers and holds {len(numbers)} bytes")
    if count == 0:
        return torch.empty(0, dtype=dtype)
    return torch.frombuffer(bytearray(numbers), dtype=dtype)


def _number_type(code: Any, *_flags: Any) -> NumberType:
    if code not in _NUMBERS:
        raise Refused("a number is of a type that is no plain number")
    return NumberType(code)


def _number(kind: Any, content: Any) -> int | float | bool:
    if not isinstance(kind, NumberType) or not isinstance(content, bytes):
        raise Refused("a number is of a type that is no plain number")
    numbers = np.frombuffer(content, np.dtype("<" + kind.code))
    if numbers.size != 1:
        raise Refused("a number has the wrong length")
    value: int | float | bool = numbers[0].item()
    return value


# --- from records to a state dict ---------------------------------------------------------------


def _snapshot(root: Inert, file_bytes: int) -> Snapshot:
    state: dict[str, Tensor] = {}
    _collect(root, "", state, [])
    if sum(tensor.numel() * tensor.element_size() for tensor in state.values()) > file_bytes:
        raise Refused("its tensors are larger than the file")
    init_kwargs = plain(root.state.get("_init_kwargs", {}))
    attributes = {}
    for key, value in root.state.items():
        if not key.startswith("_"):
            try:
                attributes[key] = plain(value)
            except TypeError:
                continue  # a module, a tensor, a function: not a setting
    if not isinstance(init_kwargs, dict):
        raise Refused("its arguments are not a table")
    return Snapshot(
        {key: tensor.clone(memory_format=torch.contiguous_format) for key, tensor in state.items()},
        init_kwargs,
        attributes,
    )


def _collect(node: Inert, prefix: str, state: dict[str, Tensor], above: list[Inert]) -> None:
    """Parameters, then buffers, then those of the modules below, like `state_dict`."""
    if len(above) > DEEPEST or any(node is other for other in above):
        raise Refused("its modules contain themselves")
    parts = {
        kind: string_keys(node.state.get(kind, {}), f"{kind} of {node.name}")
        for kind in ("_parameters", "_buffers", "_modules")
    }
    skipped = node.state.get("_non_persistent_buffers_set", set())
    if not isinstance(skipped, set):
        raise Refused("its list of temporary buffers is no set")
    for key, value in (*parts["_parameters"].items(), *parts["_buffers"].items()):
        if value is None or (key in skipped and key in parts["_buffers"]):
            continue
        if not isinstance(value, Tensor):
            raise Refused(f"its {prefix}{key} is no tensor")
        state[prefix + key] = value
    for key, value in parts["_modules"].items():
        if value is None:
            continue
        if not isinstance(value, Inert):
            raise Refused(f"its {prefix}{key} is no module")
        _collect(value, f"{prefix}{key}.", state, [*above, node])


def plain(value: Any, budget: list[int] | None = None, depth: int = 0) -> Any:
    """`value` as JSON types: text, numbers, lists and tables of such.

    Raises:
        TypeError: it is something else.
        Refused: it is nested without end or larger than any setting.
    """
    budget = [100_000] if budget is None else budget
    budget[0] -= 1
    if depth > DEEPEST or budget[0] < 0:
        raise Refused("its settings are nested without end")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [plain(entry, budget, depth + 1) for entry in value]
    if isinstance(value, Mapping):
        return {str(key): plain(entry, budget, depth + 1) for key, entry in value.items()}
    raise TypeError(f"a setting is a {type(value).__name__}")
