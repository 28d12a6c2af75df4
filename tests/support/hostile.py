"""Network snapshots for tests: harmless ones of the published structure, and attacks on readers."""

from __future__ import annotations

import collections
import io
import pickle
import struct
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

PROTO4 = b"\x80\x04"


class Call:
    """Pickles as a call of `function`; `state`, where given, follows as a BUILD."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments


@contextmanager
def stand_in(module: str, name: str) -> Iterator[Callable[..., Any]]:
    """A function that pickles under the name of one that is not installed."""

    def function(*_arguments: Any) -> None:
        raise AssertionError(f"{module}.{name} was called")

    function.__module__, function.__qualname__, function.__name__ = module, name, name
    parts = module.split(".")
    packages = [".".join(parts[: end + 1]) for end in range(len(parts))]
    added = [package for package in packages if package not in sys.modules]
    for package in added:
        sys.modules[package] = types.ModuleType(package)
    setattr(sys.modules[module], name, function)
    try:
        yield function
    finally:
        for package in added:
            del sys.modules[package]


def module_state(
    parameters: dict[str, Any] | None = None, modules: dict[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    """The instance dictionary of a module."""
    return {
        "training": False,
        "_parameters": collections.OrderedDict(parameters or {}),
        "_buffers": collections.OrderedDict({"empty": None, "scratch": torch.ones(1)}),
        "_non_persistent_buffers_set": {"scratch"},
        "_modules": collections.OrderedDict(modules or {}),
        **more,
    }


def record(state: Any, **changes: Any) -> dict[str, Any]:
    """A persistence record."""
    return {
        "type": "class",
        "version": 6,
        "module_src": "raise SystemExit('module source was executed')",
        "class_name": "TriPlaneGenerator",
        "state": state,
        **changes,
    }


def snapshot(generator: dict[str, Any], **roots: Any) -> bytes:
    """A snapshot whose G_ema is the persistent object of the record `generator`."""
    with stand_in("torch_utils.persistence", "_reconstruct_persistent_obj") as rebuild:
        return pickle.dumps({"G_ema": Call(rebuild, generator), **roots}, protocol=4)


def simple(weight: Any = None, **more: Any) -> bytes:
    """A snapshot of one module with one parameter."""
    value = torch.arange(6.0).reshape(2, 3) if weight is None else weight
    return snapshot(record(module_state({"weight": value}, **more)))


def typed(tensor: Tensor) -> torch.storage.TypedStorage:
    """A tensor's storage in the form that old files name by its type."""
    return torch.storage.TypedStorage(  # type: ignore[no-untyped-call]
        wrap_storage=tensor.untyped_storage(), dtype=tensor.dtype, _internal=True
    )


def view(offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> Call:
    """A tensor of these numbers over a storage of six."""
    rebuild = torch._utils._rebuild_tensor_v2
    return Call(
        rebuild, typed(torch.arange(6.0)), offset, size, stride, False, collections.OrderedDict()
    )


def storage_bytes(tensor: Tensor) -> bytes:
    """A tensor's storage as the small file that snapshots embed."""
    stream = io.BytesIO()
    torch.save(typed(tensor), stream, _use_new_zipfile_serialization=False)
    return stream.getvalue()


def text(value: str) -> bytes:
    """The instruction that pushes a short text."""
    content = value.encode()
    return b"\x8c" + struct.pack("<B", len(content)) + content


def named(module: str, name: str) -> bytes:
    """The instructions that push a global."""
    return text(module) + text(name) + b"\x93"
