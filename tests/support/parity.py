"""The golden set that lives beside the checkout, read for tests."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray
from shared import shared_path
from torch import nn

from tpvideo.weights.rule import make_state

SALT = "A6:"


def published_keys(name: str, prefix: str) -> list[tuple[str, list[int], str]]:
    """(key without prefix, shape, dtype) of a key list, in order."""
    entries: list[dict[str, Any]] = json.loads(shared_path(f"parity/{name}").read_text())
    return [
        (entry["key"][len(prefix) :], entry["shape"], entry["dtype"])
        for entry in entries
        if entry["key"].startswith(prefix)
    ]


def own_keys(network: nn.Module) -> list[tuple[str, list[int], str]]:
    """The same of a network of ours."""
    return [
        (key, list(tensor.shape), str(tensor.dtype).removeprefix("torch."))
        for key, tensor in network.state_dict().items()
    ]


def golden(file: str) -> dict[str, NDArray[Any]]:
    """Arrays of one golden file."""
    with np.load(shared_path(f"parity/golden/{file}")) as arrays:
        return dict(arrays)


def tolerances(file: str) -> dict[str, float]:
    """Largest allowed absolute error of each array of one golden file."""
    manifest = json.loads(shared_path("parity/golden_manifest.json").read_text())
    return {name: entry.get("atol", 0.0) for name, entry in manifest["arrays"][file].items()}


def fill(network: nn.Module, prefix: str) -> None:
    """Give `network` the seeded weights of the public golden set."""
    shapes = {key: list(tensor.shape) for key, tensor in network.state_dict().items()}
    network.load_state_dict(make_state(SALT, shapes, prefix))
    network.eval()
