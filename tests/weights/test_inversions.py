from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny import SIZES, labels, tiny_network

from tpvideo.pipeline.errors import WeightsError
from tpvideo.stages.networks.inverters import draw
from tpvideo.stages.networks.inverters_by_steps import inverter
from tpvideo.weights import inversions, store

CAMERA = labels((0.3, 0.0))
CROP = torch.linspace(-1, 1, 32).expand(1, 3, 32, 32)
ABOUT = {"method": "x", "model": "tiny.safetensors", "model_sha256": "0"}


@pytest.mark.parametrize("method", ["encoder", "psp:generator", "pose"])
def test_an_inversion_comes_back_and_draws_the_same(method: str, tmp_path: Path) -> None:
    network = tiny_network()
    found = inverter(method, steps=2)(CROP, CAMERA, network)
    path = tmp_path / "face.safetensors"
    inversions.save(path, found, CAMERA, SIZES, ABOUT)
    again, label = inversions.load(path, network)
    assert torch.equal(label, CAMERA)
    assert (again.tuned is None) == (found.tuned is None)
    assert (again.labels is None) == (found.labels is None)
    with torch.no_grad():
        pictures = [draw(network, one, CAMERA).image for one in (found, again)]
    assert torch.equal(*pictures)
    config, about = store.header(path)
    assert config["side"] == 32 and about["kind"] == "inversion" and about["method"] == "x"


def test_an_inversion_of_another_network_is_refused(tmp_path: Path) -> None:
    found = inverter("psp")(CROP, CAMERA, tiny_network())
    path = tmp_path / "face.safetensors"
    inversions.save(path, found, CAMERA, SIZES, ABOUT)
    other = tiny_network(plane_side=32)
    with pytest.raises(WeightsError, match=r"first \[1, 48, 16, 16\] instead of \[1, 48, 32, 32\]"):
        inversions.load(path, other)


def test_a_model_is_no_inversion(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    store.save(path, tiny_network().state_dict(), SIZES)
    with pytest.raises(WeightsError, match="is no inversion; `tpvideo invert` writes them"):
        inversions.load(path, tiny_network())


def test_an_inversion_without_planes_or_with_nan_is_named(tmp_path: Path) -> None:
    found = inverter("psp")(CROP, CAMERA, tiny_network())
    path = tmp_path / "face.safetensors"
    inversions.save(path, found, CAMERA, SIZES, ABOUT)
    state = store.tensors(path)
    header = {"config": "{}", "kind": "inversion"}
    save_file({**state, "ws": state["ws"] * torch.nan}, path, metadata=header)
    with pytest.raises(WeightsError, match="is damaged: ws holds what is no number"):
        inversions.load(path, tiny_network())
    del state["planes"]
    save_file(state, path, metadata=header)
    with pytest.raises(WeightsError, match="is no whole inversion: planes missing"):
        inversions.load(path, tiny_network())
