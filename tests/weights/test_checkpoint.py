from __future__ import annotations

import collections
import io
import os
import pickle
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hostile import Call, module_state, record, snapshot

from tpvideo.pipeline.errors import WeightsError
from tpvideo.weights import checkpoint, convert

RENDERING = {
    "ray_start": 2.25,
    "ray_end": 3.3,
    "box_warp": 1,
    "depth_resolution": 48,
    "depth_resolution_importance": 48,
    "clamp_mode": "softplus",
    "superresolution_module": "training.superresolution.SuperresolutionHybrid8XDC",
}


def saved(tmp_path: Path, content: Any, **options: Any) -> Path:
    path = tmp_path / "checkpoint.pt"
    torch.save(content, path, **options)
    return path


def generator(**changes: Any) -> dict[str, Any]:
    return {
        "latent_avg": torch.ones(1, 512),
        "init_kwargs": {"z_dim": 512, "rendering_kwargs": {**RENDERING, **changes}},
        "G_ema": collections.OrderedDict({"backbone.synthesis.b4.const": torch.zeros(2)}),
    }


def offsets(up: int, stem: int) -> dict[str, torch.Tensor]:
    return {
        "triplanenet_encoder.up2.conv.double_conv.1.weight": torch.zeros(up, 1, 1, 1),
        "triplanenet_encoder.input_layer.0.weight": torch.zeros(64, stem, 1, 1),
    }


def refusal(path: Path) -> str:
    """The one line with which a file is refused."""
    before = sorted(path.parent.iterdir())
    with pytest.raises(WeightsError) as caught:
        checkpoint.read(path)
    assert sorted(path.parent.iterdir()) == before  # no side effect
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500
    return message


def test_the_generator_file_gives_its_average_latent_and_settings(tmp_path: Path) -> None:
    found = checkpoint.read(saved(tmp_path, generator(ray_start=2.5)))
    assert found.kind == "generator"
    assert found.state["latent_avg"].shape == (512,)
    assert "decoder.backbone.synthesis.b4.const" in found.state
    assert found.settings == {"near": 2.5, "far": 3.3, "box": 1.0, "samples": [48, 48]}


def test_settings_may_be_an_easydict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("dnnlib.util")
    easy = type("EasyDict", (dict,), {"__module__": "dnnlib.util"})
    module.EasyDict = easy  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "dnnlib", types.ModuleType("dnnlib"))
        patch.setitem(sys.modules, "dnnlib.util", module)
        content = generator()
        content["init_kwargs"] = easy(rendering_kwargs=easy(RENDERING))
        path = saved(tmp_path, content)
    assert checkpoint.read(path).settings["samples"] == [48, 48]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("clamp_mode", "relu"),
        ("white_back", True),
        ("disparity_space_sampling", True),
        ("superresolution_module", "training.superresolution.SuperresolutionHybrid2X"),
        ("ray_start", "auto"),
    ],
)
def test_settings_that_we_lack_are_refused(tmp_path: Path, setting: str, value: Any) -> None:
    message = refusal(saved(tmp_path, generator(**{setting: value})))
    assert setting in message or "auto" in message


@pytest.mark.parametrize(
    ("up", "stem", "settings"),
    [
        (256, 9, {"offsets": {"up": "nearest"}, "mirrored": True}),
        (384, 9, {"offsets": {"up": "pixelshuffle"}, "mirrored": True}),
        (384, 6, {"offsets": {"up": "pixelshuffle"}, "mirrored": False}),
    ],
)
def test_shapes_tell_which_triplanenet_it_is(
    tmp_path: Path, up: int, stem: int, settings: dict[str, Any]
) -> None:
    content = {
        "state_dict": offsets(up, stem),
        "opts": {"n_styles": 14, "device": "cuda:0", "exp_dir": None},
        "best_val_loss": 0.1,
        "step": 7,
        "triplane_optimizer": {"state": {0: {"exp_avg": torch.zeros(1)}}, "param_groups": []},
    }
    found = checkpoint.read(saved(tmp_path, content))
    assert found.kind == "triplanenet"
    assert found.settings == settings


def test_a_snapshot_is_a_generator_too(tmp_path: Path) -> None:
    inner = module_state({"const": torch.ones(3)})
    inner["_buffers"].clear()
    backbone = torch.nn.Sequential()
    backbone.register_parameter("const", torch.nn.Parameter(torch.ones(3)))
    backbone._non_persistent_buffers_set = set()
    state = module_state({}, {"backbone": backbone}, rendering_kwargs=RENDERING)
    path = tmp_path / "network.pkl"
    path.write_bytes(snapshot(record(state)))
    found = checkpoint.read(path)
    assert list(found.state) == ["decoder.backbone.const"]
    assert found.settings["far"] == 3.3


# --- files that are something else, damaged, or hostile -------------------------------------------


@pytest.mark.parametrize("place", ["top", "opts", "state"])
def test_no_function_of_an_archive_is_called(tmp_path: Path, place: str) -> None:
    call = Call(os.system, f"touch {tmp_path / 'marker'}")
    content = {
        "top": call,
        "opts": {"state_dict": offsets(256, 9), "opts": call},
        "state": {"state_dict": {"w": call}},
    }[place]
    assert "nothing was run" in refusal(saved(tmp_path, content))


def test_a_module_in_an_archive_is_refused(tmp_path: Path) -> None:
    assert "nothing was run" in refusal(saved(tmp_path, {"state_dict": torch.nn.Linear(1, 1)}))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is no checkpoint"),
        (b"GIF89a..", "begins with 47 49 46 38"),
        (b"PK\x03\x04 and no more", "archive is damaged"),
        (pickle.dumps({"a": 1}, protocol=2), "begins with 80 02"),
    ],
)
def test_wrong_magic_is_named(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "file.pt"
    path.write_bytes(content)
    assert complaint in refusal(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "gone.pt: No such file" in refusal(tmp_path / "gone.pt")


def test_files_of_old_torch_say_what_to_do(tmp_path: Path) -> None:
    path = saved(tmp_path, {"state_dict": {}}, _use_new_zipfile_serialization=False)
    assert "torch before 1.6; load and save it once" in refusal(path)


def test_other_archives_say_what_they_hold(tmp_path: Path) -> None:
    assert "it holds model, epoch" in refusal(saved(tmp_path, {"model": 1, "epoch": 2}))
    assert "holds a list" in refusal(saved(tmp_path, [1]))
    assert "more than tensors" in refusal(saved(tmp_path, {"state_dict": {"w": 1}}))


def test_an_archive_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, generator())
    whole = path.read_bytes()
    for end in range(4, len(whole), max(1, len(whole) // 60)):
        path.write_bytes(whole[:end])
        refusal(path)


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}, protocol=2))
        archive.writestr("archive/data/0", bytes(64 << 20))
    assert path.stat().st_size < 1 << 20
    assert "it unpacks to 6710" in refusal(path)


def test_members_that_overlap_are_refused(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", bytes(1000))
        first = archive.infolist()[0]
        for copy in range(50):
            other = zipfile.ZipInfo(f"archive/data/{copy}")
            other.file_size = other.compress_size = 1000
            other.CRC, other.header_offset = first.CRC, first.header_offset
            archive.filelist.append(other)
            archive.NameToInfo[other.filename] = other
    path = tmp_path / "overlap.pt"
    path.write_bytes(stream.getvalue())
    assert "more than it has" in refusal(path)


def test_tensors_cannot_outgrow_their_archive(tmp_path: Path) -> None:
    huge = torch.ones(1).expand(1 << 40)
    assert "larger than the file" in refusal(saved(tmp_path, {"state_dict": {"w": huge}}))


def test_a_storage_that_announces_too_much_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, {"state_dict": offsets(256, 9)})
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    data = next(name for name in members if name.endswith("data.pkl"))
    assert members[data].count(b"M\x00\x01") == 2  # 256 numbers, and as many rows
    members[data] = members[data].replace(b"M\x00\x01", b"\x8a\x06\x00\x00\x00\x00\x00\x01")
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    refusal(path)


# --- conversion -----------------------------------------------------------------------------------


def test_missing_keys_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TPVIDEO_WEIGHTS", str(tmp_path / "store"))
    path = saved(tmp_path, generator())
    with pytest.raises(WeightsError, match=r"175 missing \(decoder\..*1 misshapen \(decoder\."):
        convert.import_file(path)
    assert not (tmp_path / "store").exists()


def test_triplanenet_without_its_average_latent_says_where_that_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TPVIDEO_WEIGHTS", str(tmp_path / "store"))
    path = saved(tmp_path, {"state_dict": offsets(256, 9)})
    with pytest.raises(WeightsError, match=r"lacks the average latent.*weights pull eg3d"):
        convert.import_file(path)
