from __future__ import annotations

import collections
import json
import os
import pickle
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hostile import (
    PROTO4,
    Call,
    module_state,
    named,
    record,
    simple,
    snapshot,
    storage_bytes,
    text,
    view,
)
from shared import shared_path

from tpvideo.pipeline.errors import WeightsError
from tpvideo.weights.snapshot import read_snapshot

LOAD = torch.storage._load_from_bytes


def write(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "network.pkl"
    path.write_bytes(content)
    return path


def refusal(tmp_path: Path, content: bytes) -> str:
    """The one line with which a file is refused."""
    with pytest.raises(WeightsError) as caught:
        read_snapshot(write(tmp_path, content))
    message = str(caught.value)
    assert "\n" not in message and len(message) < 400
    assert [path.name for path in tmp_path.iterdir()] == ["network.pkl"]  # no side effect
    return message


def test_a_snapshot_gives_its_parameters_and_never_runs_its_source(tmp_path: Path) -> None:
    found = read_snapshot(write(tmp_path, simple(_init_kwargs={"z_dim": 4}, z_dim=4)))
    assert list(found.state) == ["weight"]  # neither empty nor temporary buffers
    assert torch.equal(found.state["weight"], torch.arange(6.0).reshape(2, 3))
    assert found.init_kwargs == {"z_dim": 4}
    assert found.attributes["z_dim"] == 4


def test_modules_nest_under_dotted_names(tmp_path: Path) -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    inner = torch.nn.Sequential(torch.nn.Softplus())
    inner.register_parameter("bias", parameter)
    inner._non_persistent_buffers_set = set()
    content = snapshot(record(module_state({"first": torch.zeros(1)}, {"net": inner})))
    assert list(read_snapshot(write(tmp_path, content)).state) == ["first", "net.bias"]


def test_a_strided_tensor_keeps_its_order(tmp_path: Path) -> None:
    weight = torch.arange(6.0).reshape(2, 3).T
    found = read_snapshot(write(tmp_path, simple(weight)))
    assert torch.equal(found.state["weight"], weight)
    assert found.state["weight"].is_contiguous()


def test_the_public_example_reads_as_expected() -> None:
    found = read_snapshot(shared_path("parity/eg3d_persistence_tiny.pkl"))
    expected = json.loads(shared_path("parity/eg3d_persistence_tiny_expected.json").read_text())
    with np.load(shared_path("parity/eg3d_persistence_tiny_expected.npz")) as arrays:
        assert list(found.state) == list(arrays)
        for key in arrays:
            assert np.array_equal(found.state[key].numpy(), arrays[key]), key
    assert found.init_kwargs == expected["init_kwargs"]
    assert found.attributes["rendering_kwargs"] == expected["rendering_kwargs"]
    for key, value in expected["attributes"].items():
        assert found.attributes[key] == value


# --- (1) calls of functions that no checkpoint needs ---------------------------------------------

ATTACKS: dict[str, Callable[[Path], Call]] = {
    "system": lambda marker: Call(os.system, f"touch {marker}"),
    "eval": lambda marker: Call(eval, f"open({str(marker)!r}, 'w')"),
    "getattr": lambda _marker: Call(getattr, "text", "upper"),
    "Popen": lambda marker: Call(subprocess.Popen, ["touch", str(marker)]),
}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("place", ["top", "root", "state", "init_kwargs", "parameter"])
def test_no_function_of_the_file_is_called(tmp_path: Path, attack: str, place: str) -> None:
    call = ATTACKS[attack](tmp_path / "marker")
    content = {
        "top": lambda: pickle.dumps(call, protocol=4),
        "root": lambda: snapshot(record(module_state()), extra=call),
        "state": lambda: snapshot(record(module_state(extra=call))),
        "init_kwargs": lambda: snapshot(record(module_state(_init_kwargs={"a": call}))),
        "parameter": lambda: simple(call),
    }[place]()
    assert "nothing was run" in refusal(tmp_path, content)


# --- (2) the same inside the bytes of a tensor ----------------------------------------------------


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("protocol", [2, 4])
def test_the_bytes_of_a_tensor_are_read_as_carefully(
    tmp_path: Path, attack: str, protocol: int
) -> None:
    inner = pickle.dumps(ATTACKS[attack](tmp_path / "marker"), protocol=protocol)
    for content in (inner, storage_bytes(torch.ones(2))[:27] + inner):
        refusal(tmp_path, simple(Call(LOAD, content)))


# --- (3) source text ------------------------------------------------------------------------------


def test_module_source_is_never_looked_at(tmp_path: Path) -> None:
    source = f"open({str(tmp_path / 'marker')!r}, 'w')"
    state = module_state({"weight": torch.ones(1)})
    path = write(tmp_path, snapshot(record(state, module_src=source)))
    assert list(read_snapshot(path).state) == ["weight"]
    assert [path.name for path in tmp_path.iterdir()] == ["network.pkl"]


# --- (4), (5) names and instructions --------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("torch._utils", "sys.modules"),
        ("torch._utils", "_import_dotted_name"),
        ("torch.storage", "_load_from_bytes.__globals__"),
        ("torch.nn.modules.container", "ModuleList"),
        ("numpy", "load"),
        ("collections", "namedtuple"),
        ("tpvideo.weights.snapshot", "read_snapshot"),
    ],
)
def test_names_beside_the_allowed_ones_are_refused(tmp_path: Path, module: str, name: str) -> None:
    content = PROTO4 + named(module, name) + b")R."
    assert f"asks for {module}.{name}" in refusal(tmp_path, content)


@pytest.mark.parametrize(
    ("content", "instruction"),
    [
        (b"cos\nsystem\n(S'true'\ntR.", "GLOBAL"),
        (b"(S'true'\nios\nsystem\n.", "STRING"),
        (b"(ios\nsystem\n.", "INST"),
        (b"(" + named("collections", "OrderedDict") + b"o.", "OBJ"),
        (b"\x82\x01.", "EXT1"),
        (b"\x83\x01\x00.", "EXT2"),
        (b"\x84\x01\x00\x00\x00.", "EXT4"),
        (b"Pelsewhere\n.", "PERSID"),
        (text("elsewhere") + b"Q.", "BINPERSID"),
        (b"\x97.", "NEXT_BUFFER"),
        (b"N2.", "DUP"),
        (named("collections", "OrderedDict") + b")}\x92.", "NEWOBJ_EX"),
        (b"Nr\xff\xff\xff\xff.", "LONG_BINPUT"),  # would allocate a table of 2^32
    ],
)
def test_instructions_without_a_place_in_checkpoints_are_refused(
    tmp_path: Path, content: bytes, instruction: str
) -> None:
    assert f"instruction {instruction} " in refusal(tmp_path, PROTO4 + content)


# --- (6), (7) sizes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "numbers",
    [
        (0, (7,), (1,)),
        (1, (6,), (1,)),
        (0, (2, 3), (3, 2)),
        (-1, (2,), (1,)),
        (0, (-2,), (1,)),
        (0, (2,), (-1,)),
        (0, (1 << 40,), (0,)),
        (0, (1 << 62, 4), (0, 0)),
        (0, (2, 3), (1,)),
        (0, (2.0,), (1,)),
    ],
)
def test_tensors_stay_inside_their_storage(tmp_path: Path, numbers: Any) -> None:
    assert "tensor" in refusal(tmp_path, simple(view(*numbers)))


def test_tensors_that_share_a_storage_cannot_outgrow_the_file(tmp_path: Path) -> None:
    weight = torch.ones(1000)
    content = snapshot(record(module_state({f"w{n}": weight for n in range(100)})))
    assert "larger than the file" in refusal(tmp_path, content)


@pytest.mark.parametrize("count", [1 << 40, 3, -1])
def test_a_storage_holds_what_it_announces(tmp_path: Path, count: int) -> None:
    good = storage_bytes(torch.ones(2))
    tail = struct.pack("<q", 2) + torch.ones(2).numpy().tobytes()
    assert good.endswith(tail)
    swapped = good[: -len(tail)] + struct.pack("<q", count) + tail[8:]
    assert "announces" in refusal(tmp_path, simple(Call(LOAD, swapped)))


def test_a_storage_record_with_a_huge_count_is_refused(tmp_path: Path) -> None:
    huge = storage_bytes(torch.ones(2)).replace(b"K\x02N", b"\x8a\x06\x00\x00\x00\x00\x00\x01N")
    assert "announces 1099511627776 numbers" in refusal(tmp_path, simple(Call(LOAD, huge)))


@pytest.mark.parametrize("length", [1 << 30, 1 << 40, 1 << 62])
def test_a_length_beyond_the_file_allocates_nothing(tmp_path: Path, length: int) -> None:
    refusal(tmp_path, PROTO4 + b"\x8e" + struct.pack("<Q", length) + b"abc.")


def test_containers_nested_without_end_are_refused(tmp_path: Path) -> None:
    endless: list[Any] = []
    endless.append(endless)
    deep: Any = {}
    for _ in range(200):
        deep = {"a": deep}
    wide: Any = [0]
    for _ in range(60):
        wide = [wide, wide]
    for settings in ({"a": endless}, deep, {"a": wide}):
        content = snapshot(record(module_state(_init_kwargs=settings)))
        assert "nested without end" in refusal(tmp_path, content)


def test_very_deep_tuples_are_no_keys(tmp_path: Path) -> None:
    content = PROTO4 + b"}" + b"N" + b"\x85" * 200_000 + b"Ns."
    assert "key is a tuple" in refusal(tmp_path, content)


def test_a_module_that_contains_itself_is_refused(tmp_path: Path) -> None:
    module = torch.nn.Sequential()
    module._modules["again"] = module
    content = snapshot(record(module_state({}, {"net": module})))
    assert "contain themselves" in refusal(tmp_path, content)


# --- (8) to (10) records --------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["O", "O8", "V8", "U4", "M8", "x"])
def test_numbers_of_object_type_are_refused(tmp_path: Path, code: str) -> None:
    number = (
        named("numpy.core.multiarray", "scalar")
        + named("numpy", "dtype")
        + text(code)
        + b"\x89\x88\x87R"
        + b"C\x01N\x86R."
    )
    assert "no plain number" in refusal(tmp_path, PROTO4 + number)


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        (record([1]), "is not a dictionary"),
        (record({1: 2}), "names as keys"),
        (record(module_state(), version=5), "not of version 6"),
        (record(module_state(), type="function"), "not of version 6"),
        (record(module_state(), more=1), "other fields"),
        (record(module_state(), class_name=3), "no class name"),
        (record({**module_state(), "_parameters": [1]}), "_parameters .* not a dictionary"),
        (record(module_state({"w": 3})), "w is no tensor"),
        (record(module_state({}, {"m": {}})), "m is no module"),
        (record(module_state(_init_kwargs=3)), "arguments are not a table"),
        (record({**module_state(), "_non_persistent_buffers_set": 1}), "no set"),
    ],
)
def test_records_of_another_form_are_refused(
    tmp_path: Path, broken: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(WeightsError, match=complaint):
        read_snapshot(write(tmp_path, snapshot(broken)))


def test_a_file_without_the_network_says_what_it_holds(tmp_path: Path) -> None:
    content = pickle.dumps({"weights": 1, "step": 2}, protocol=4)
    assert "no G_ema, only weights, step" in refusal(tmp_path, content)


# --- damage ---------------------------------------------------------------------------------------


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = simple(_init_kwargs={"a": collections.OrderedDict()})
    for end in range(0, len(whole) - 1, 7):
        refusal(tmp_path, whole[:end])


def test_flipped_bytes_never_end_in_anything_but_a_refusal(tmp_path: Path) -> None:
    whole = simple()
    random = np.random.default_rng(0)
    calls: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "system", calls.append)
        for _ in range(500):
            damaged = bytearray(whole)
            damaged[random.integers(len(whole))] ^= 1 << int(random.integers(8))
            try:
                read_snapshot(write(tmp_path, bytes(damaged)))
            except WeightsError as error:
                assert "\n" not in str(error)
    assert not calls
