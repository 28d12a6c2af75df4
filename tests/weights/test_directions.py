from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny import SIZES, tiny_network

from tpvideo.pipeline.errors import ConfigError, WeightsError
from tpvideo.weights import directions, store
from tpvideo.weights.directions import Direction, Directions


def model_file(folder: Path, *, seed: int = 0) -> str:
    path = folder / f"model{seed}.safetensors"
    store.save(path, tiny_network(seed=seed).state_dict(), SIZES)
    return str(path)


def in_w(value: float) -> Direction:
    return Direction("latents", torch.full((6, 16), value), "made by hand", (0, 5))


def in_planes() -> Direction:
    """Of rank 4, which is what a file keeps."""
    random = torch.Generator().manual_seed(1)
    maps = torch.randn(3, 4, 8, 8, generator=random)
    mixes = torch.randn(3, 16, 4, generator=random)
    return Direction("planes", torch.einsum("pcr,prhw->pchw", mixes, maps).flatten(0, 1), "random")


def some(model: str) -> Directions:
    return Directions(
        directions.generator_of(model), "tiny", {"smile": in_w(0.5), "age": in_planes()}
    )


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    model, path = model_file(tmp_path), tmp_path / "found.safetensors"
    wanted = some(model)
    directions.write(path, wanted)
    found = directions.read(path, model)
    assert list(found.by_name) == ["smile", "age"]
    assert found.by_name["smile"].layers == (0, 5)
    assert found.by_name["age"].about == "random"
    for name, each in wanted.by_name.items():
        # float16 keeps 11 bits of each factor
        torch.testing.assert_close(found.by_name[name].shift, each.shift, rtol=5e-3, atol=2e-2)


def test_edits_add_up_by_their_strengths(tmp_path: Path) -> None:
    known = Directions("", "", {"one": in_w(1.0), "two": in_w(2.0), "age": in_planes()})
    shift = known.shift([("one", 0.5), ("two", -1.0)], "file")
    assert shift.latents is not None and shift.planes is None
    torch.testing.assert_close(shift.latents, torch.full((6, 16), -1.5))
    both = known.shift([("age", 2.0), ("one", 1.0)], "file")
    assert both.planes is not None and both.latents is not None
    torch.testing.assert_close(both.planes, 2 * in_planes().shift)
    with pytest.raises(ConfigError, match="file has no direction grin; it has one, two, age"):
        known.shift([("grin", 1.0)], "file")


def test_motion_is_kept_and_adds_up(tmp_path: Path) -> None:
    model, path = model_file(tmp_path), tmp_path / "found.safetensors"
    moved = replace(in_planes(), motion=torch.full((3, 4, 4), 0.5))
    known = Directions(directions.generator_of(model), "tiny", {"a": moved, "b": in_w(1.0)})
    directions.write(path, known)
    shift = directions.read(path, model).shift([("a", 2.0), ("b", 1.0), ("a", -1.0)], path)
    assert shift.motion is not None
    torch.testing.assert_close(shift.motion, torch.full((3, 4, 4), 0.5))
    assert directions.read(path, model).shift([("b", 1.0)], path).motion is None


def test_the_shipped_directions_are_of_the_shipped_model() -> None:
    """Where the default model was trained anew, docs/editing.md says how to find them again."""
    path = directions.locate(None, "default")
    known = directions.read(path, "default")
    assert {"smile", "sad", "brows", "wide"} <= known.by_name.keys()
    assert all(each.motion is not None for each in known.by_name.values())


def test_directions_of_another_generator_are_refused(tmp_path: Path) -> None:
    model, other = model_file(tmp_path), model_file(tmp_path, seed=1)
    assert directions.generator_of(model) != directions.generator_of(other)
    path = tmp_path / "found.safetensors"
    directions.write(path, some(model))
    with pytest.raises(WeightsError, match="another generator, that of tiny, which mean nothing"):
        directions.read(path, other)


def test_a_generator_is_known_by_its_tensors_not_by_its_file(tmp_path: Path) -> None:
    model, copy = model_file(tmp_path), tmp_path / "copy.safetensors"
    store.save(copy, tiny_network().state_dict(), SIZES, {"note": "another header"})
    assert directions.generator_of(model) == directions.generator_of(copy)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"nothing of the kind", "as directions"),
        (None, "as directions"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(
    tmp_path: Path, content: bytes | None, complaint: str
) -> None:
    path = tmp_path / "found.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=complaint):
        directions.read(path, model_file(tmp_path))


def test_a_model_file_and_a_damaged_header_are_no_directions(tmp_path: Path) -> None:
    model, path = model_file(tmp_path), tmp_path / "found.safetensors"
    with pytest.raises(WeightsError, match="is no directions file"):
        directions.read(model, model)
    header = {"format": directions.FORMAT, "generator": directions.generator_of(model)}
    for about in (
        "no json",
        "[]",
        "{}",
        '{"smile": {}}',
        '{"smile": {"space": "latents", "about": "", "layers": [0, 5]}}',
        '{"a": {"space": "planes", "about": "", "layers": null}}',
        '{"a": {"space": "elsewhere", "about": "", "layers": [0, 1]}}',
        '{"a": {"space": "latents", "about": "", "layers": [0]}}',
        '{"b": {"space": "latents", "about": "", "layers": [0, 5]}}',
    ):
        tensors = {"a": torch.zeros(6), "b": torch.zeros(6, 16), "b.motion": torch.zeros(2, 4, 4)}
        save_file(tensors, path, metadata={**header, "directions": about})
        with pytest.raises(WeightsError, match="is damaged"):
            directions.read(path, model)


def test_a_models_own_directions_lie_beside_it(tmp_path: Path) -> None:
    model = model_file(tmp_path)
    with pytest.raises(WeightsError, match="comes with no directions; name a file"):
        directions.locate(None, model)
    own = tmp_path / "model0.directions.safetensors"
    directions.write(own, some(model))
    assert directions.locate(None, model) == own
    with pytest.raises(WeightsError, match="no directions file"):
        directions.locate(str(tmp_path / "absent.safetensors"), model)


def test_a_folder_that_is_not_there_cannot_be_written_to(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="cannot write"):
        directions.write(tmp_path / "absent" / "found.safetensors", some(model_file(tmp_path)))
    assert [path.name for path in tmp_path.iterdir()] == ["model0.safetensors"]
