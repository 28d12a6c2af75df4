from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tpvideo.pipeline.errors import WeightsError
from tpvideo.stages.networks.triplanenet import TriPlaneNet
from tpvideo.weights import store

SMALL: dict[str, Any] = {
    "side": 32,
    "style_dim": 8,
    "plane_side": 32,
    "plane_channels": 4,
    "backbone_widths": (8, 8, 8, 8),
    "hidden": 8,
    "colours": 8,
    "raw_side": 8,
    "superres_widths": (8, 8),
    "samples": (4, 4),
    "encoder": {
        "widths": (4, 4, 4, 4, 8),
        "units": (1, 1, 1, 1),
        "pyramid": 8,
        "style_counts": (3, 3, 2),
    },
    "offsets": {
        "widths": (4, 4, 4, 4, 8),
        "units": (1, 1, 1, 1),
        "up_widths": (8, 8, 4, 4),
        "head_width": 8,
    },
}


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, TriPlaneNet]:
    torch.manual_seed(0)
    network = TriPlaneNet(**SMALL)
    path = tmp_path / "small.safetensors"
    store.save(path, network.state_dict(), SMALL, {"licence": "Apache-2.0"})
    return path, network


def test_a_saved_network_comes_back_the_same(saved: tuple[Path, TriPlaneNet]) -> None:
    path, network = saved
    loaded, config = store.load(path)
    assert config == json.loads(json.dumps(SMALL))
    assert not loaded.training
    expected = network.state_dict()
    assert list(loaded.state_dict()) == list(expected)
    for key, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, expected[key]), key
    assert not any(tensor.is_meta for tensor in loaded.state_dict().values())
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert store.header(path)[1]["licence"] == "Apache-2.0"


def test_a_network_loads_in_another_precision(saved: tuple[Path, TriPlaneNet]) -> None:
    loaded, _ = store.load(saved[0], dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.bfloat16}


def test_writing_leaves_nothing_but_the_file(saved: tuple[Path, TriPlaneNet]) -> None:
    assert [path.name for path in saved[0].parent.iterdir()] == ["small.safetensors"]


def test_the_users_directory_can_be_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saved: tuple[Path, TriPlaneNet]
) -> None:
    monkeypatch.setenv("TPVIDEO_WEIGHTS", str(tmp_path))
    assert store.directory() == tmp_path
    assert store.find("small") == saved[0]
    assert store.locate("small") == saved[0]


def test_absent_weights_say_how_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TPVIDEO_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsError, match=r"no weights named ffhq512 .* weights pull ffhq512"):
        store.load("ffhq512")
    with pytest.raises(WeightsError, match=r"no model file .*gone\.safetensors"):
        store.load(tmp_path / "gone.safetensors")


Change = Callable[[dict[str, torch.Tensor]], object]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda state: state.pop("latent_avg"), r"1 missing \(latent_avg\)"),
        (lambda state: state.update(more=torch.zeros(1)), r"1 unknown \(more\)"),
        (
            lambda state: state.update(latent_avg=torch.zeros(9)),
            r"1 misshapen \(latent_avg \[9\] instead of \[8\]\)",
        ),
    ],
)
def test_a_file_that_does_not_fit_names_the_keys(
    saved: tuple[Path, TriPlaneNet], change: Change, complaint: str
) -> None:
    path, network = saved
    state = network.state_dict()
    change(state)
    store.save(path, state, SMALL)
    with pytest.raises(WeightsError, match=complaint):
        store.load(path)


def test_a_file_of_another_kind_is_refused_in_one_line(tmp_path: Path) -> None:
    text = tmp_path / "text.safetensors"
    text.write_text("this is not a model")
    bare = tmp_path / "bare.safetensors"
    save_file({"a": torch.zeros(1)}, bare)
    odd = tmp_path / "odd.safetensors"
    store.save(odd, {"a": torch.zeros(1)}, {"sides": 3})
    for path, complaint in (
        (text, "cannot read .* as safetensors"),
        (bare, "no configuration in its header"),
        (odd, "builds no network: .*sides"),
    ):
        with pytest.raises(WeightsError, match=complaint) as caught:
            store.load(path)
        assert "\n" not in str(caught.value)
