from __future__ import annotations

import collections
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hostile import module_state, record, snapshot
from parity import SALT
from torch import Tensor

from tpvideo.pipeline.errors import WeightsError
from tpvideo.stages import geometry
from tpvideo.stages.networks.triplanenet import TriPlaneNet
from tpvideo.weights import convert, manifest, store
from tpvideo.weights.rule import make_tensor

# The published sizes: 282 million numbers, several GB of disk.
pytestmark = [pytest.mark.weights, pytest.mark.timeout(1800)]


def seeded(prefix: str, **config: Any) -> dict[str, Tensor]:
    """Tensors of the published network, by the rule, of the keys that begin with `prefix`."""
    with torch.device("meta"):
        state = TriPlaneNet(**config).state_dict()
    return collections.OrderedDict(
        (key, make_tensor(SALT, key, list(tensor.shape)))
        for key, tensor in state.items()
        if key.startswith(prefix) and key != "latent_avg"
    )


def generator_state() -> dict[str, Tensor]:
    return collections.OrderedDict(
        (key.removeprefix("decoder."), tensor) for key, tensor in seeded("decoder.").items()
    )


@pytest.fixture(autouse=True)
def own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TPVIDEO_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"


def write_generator(tmp_path: Path) -> Path:
    path = tmp_path / "ffhq512-128.pth"
    average = make_tensor(SALT, "latent_avg", [512])
    content = {"latent_avg": average[None], "init_kwargs": {}, "G_ema": generator_state()}
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"offsets": {"up": "nearest"}}, "ffhq512"),
        ({"offsets": {"up": "pixelshuffle"}}, "ffhq512"),
        ({"offsets": {"up": "pixelshuffle"}, "mirrored": False}, "ffhq512-v1"),
    ],
)
def test_published_files_import_and_render(
    tmp_path: Path, config: dict[str, Any], name: str
) -> None:
    convert.import_file(write_generator(tmp_path))
    path = tmp_path / "net.pt"
    torch.save({"state_dict": seeded("", **config), "opts": {"n_styles": 14}, "step": 1}, path)
    assert convert.import_file(path).stem == name
    assert manifest.health(manifest.entry(name)) == "intact"
    network, loaded = store.load(name)
    assert loaded["offsets"] == config["offsets"]
    label = torch.from_numpy(geometry.label(geometry.look_at_camera(0.1)))[None]
    with torch.inference_mode():
        found = network.invert(torch.zeros(1, 3, 256, 256), label)
        image = network.render(found.planes, found.ws, label).image
    assert image.shape == (1, 3, 512, 512)
    assert torch.isfinite(image).all() and image.std() > 0.1


def test_a_missing_key_and_a_number_that_is_none_are_named(tmp_path: Path) -> None:
    convert.import_file(write_generator(tmp_path))
    state = seeded("")
    del state["psp_encoder.latlayer1.bias"]
    torch.save({"state_dict": state}, tmp_path / "net.pt")
    with pytest.raises(WeightsError, match=r"1 missing \(psp_encoder\.latlayer1\.bias\)"):
        convert.import_file(tmp_path / "net.pt")
    state["psp_encoder.latlayer1.bias"] = torch.full((512,), math.nan)
    torch.save({"state_dict": state}, tmp_path / "net.pt")
    with pytest.raises(WeightsError, match=r"latlayer1\.bias holds values that are no numbers"):
        convert.import_file(tmp_path / "net.pt")


def test_a_snapshot_of_the_published_size_imports(tmp_path: Path) -> None:
    tree: dict[str, Any] = {}
    for key, tensor in generator_state().items():
        *modules, leaf = key.split(".")
        node = tree
        for module in modules:
            node = node.setdefault(module, {})
        node[leaf] = tensor

    def build(node: dict[str, Any]) -> Any:
        module = torch.nn.Sequential()
        module._non_persistent_buffers_set = set()
        for key, value in node.items():
            if isinstance(value, Tensor):
                module.register_parameter(key, torch.nn.Parameter(value, requires_grad=False))
        module._modules.update({k: build(v) for k, v in node.items() if isinstance(v, dict)})
        return module

    parts = {key: build(part) for key, part in tree.items()}
    path = tmp_path / "ffhqrebalanced512-128.pkl"
    path.write_bytes(snapshot(record(module_state({}, parts, rendering_kwargs={}))))
    target = convert.import_file(path)
    assert target.name == "eg3d-ffhqrebalanced512-128.safetensors"
    numbers = store.tensors(target)
    expected = make_tensor(SALT, "decoder.decoder.net.0.bias", [64])
    assert np.array_equal(numbers["decoder.decoder.net.0.bias"].numpy(), expected.numpy())
