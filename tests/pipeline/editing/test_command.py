"""`tpvideo edit` and `--edit` with the smallest networks, from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from balls import save_balls
from PIL import Image
from small_run import OPTIONS, OneFace, small_networks
from synthetic import write_clip
from tiny import SIZES, tiny_network

from tpvideo.pipeline import app, cli
from tpvideo.pipeline.config import Settings
from tpvideo.stages.provenance import read_provenance
from tpvideo.weights import directions, store
from tpvideo.weights.directions import Direction, Directions

FEW = ("--matting", "none", "--precision", "float32", "--device", "cpu")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(app, "load_networks", small_networks)
    monkeypatch.setenv("TPVIDEO_WEIGHTS", str(tmp_path / "weights"))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.safetensors"
    store.save(path, tiny_network().state_dict(), SIZES)
    return path


@pytest.fixture
def known(tmp_path: Path, model: Path) -> Path:
    """A directions file of the model: `smile` in W, `age` in the planes."""
    path = tmp_path / "known.safetensors"
    smile = Direction("latents", torch.full((6, 16), 2.0), "by hand", (0, 5))
    age = Direction("planes", torch.full((48, 4, 4), 1.0), "by hand")
    found = Directions(directions.generator_of(model), "tiny", {"smile": smile, "age": age})
    directions.write(path, found)
    return path


class Ran:
    """What a command said, and its exit code."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *arguments: object) -> None:
        with pytest.raises(SystemExit) as caught:
            cli.main([str(argument) for argument in arguments])
        self.code = int(caught.value.code or 0)
        self.said, self.complaint = capsys.readouterr()


def photograph(path: Path, seed: int = 1) -> Path:
    noise = np.random.default_rng(seed).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


def test_components_are_found_shown_named_and_listed(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    heads, found = save_balls(tmp_path / "heads", 2), tmp_path / "found.safetensors"
    learn = ("--discover", "--components", 3, "--layers", "1-2", "-o", found, "--side", 32)
    ran = Ran(capsys, "edit", heads, *learn, "--model", model, *FEW)
    assert ran.code == 0, ran.complaint
    assert "c0           layers 1-2   principal component of 8 faces" in ran.said
    with Image.open(found.with_suffix(".png")) as sheet:
        assert sheet.width == 3 * 32  # three strengths from one camera
    by_name = directions.read(found, model).by_name
    assert list(by_name) == ["c0", "c1", "c2"]
    assert by_name["c0"].shift[[0, 3, 4, 5]].abs().max() == 0

    rename = ("--rename", "c1=smile", "--directions", found, "--model", model)
    assert Ran(capsys, "edit", *rename).code == 0
    listed = Ran(capsys, "edit", "--directions", found, "--model", model)
    assert [line.split()[0] for line in listed.said.splitlines()[1:]] == ["c0", "smile", "c2"]
    again = Ran(capsys, "edit", "--rename", "c0=smile", "--directions", found, "--model", model)
    assert again.code == 2 and "already has a direction smile" in again.complaint


def test_a_generator_with_a_mapping_network_needs_no_faces(
    tmp_path: Path,
    model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = tmp_path / "found.safetensors"
    task = ("edit", "--discover", "--components", 2, "-o", found, "--model", model, *FEW)
    ran = Ran(capsys, *task)
    assert ran.code == 2 and "no mapping network to sample faces from" in ran.complaint
    mapped = app.Networks(tiny_network(mapping=True, canonical=False, image_channels=3), OneFace())
    monkeypatch.setattr(app, "load_networks", lambda *_: mapped)
    assert Ran(capsys, *task, "--samples", 20).code == 0
    assert list(directions.read(found, model).by_name) == ["c0", "c1"]


@pytest.mark.parametrize("space", ["latents", "planes"])
def test_a_direction_is_learnt_from_two_folders_and_joins_the_others(
    tmp_path: Path, model: Path, known: Path, capsys: pytest.CaptureFixture[str], space: str
) -> None:
    (tmp_path / "with").mkdir()
    (tmp_path / "without").mkdir()
    photograph(tmp_path / "with" / "a.png", 1)
    photograph(tmp_path / "without" / "b.png", 2)
    task = ("edit", "--from", tmp_path / "with", "--against", tmp_path / "without")
    more = ("--space", space, "-o", known, "--model", model, *FEW)
    assert "needs --name" in Ran(capsys, *task, *more).complaint
    ran = Ran(capsys, *task, "--name", "tan", *more)
    assert ran.code == 0, ran.complaint
    found = directions.read(known, model).by_name
    assert list(found) == ["smile", "age", "tan"]
    assert found["tan"].space == space
    assert found["tan"].shift.abs().max() > 0
    assert "2 faces with it and 2 without" in ran.said  # each mirrored as well


def test_synthetic_heads_tell_where_the_surface_was_before(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = np.zeros((68, 3), np.float32)
    before[48] = [-0.05, 0.0, 0.2]  # the corners of the mouth
    before[54] = [0.05, 0.0, 0.2]
    after = before + np.where(np.isin(np.arange(68), [48, 54])[:, None], [0, 0.04, 0], 0)
    for name, landmarks in (("plain", before), ("smile", after)):
        for path in sorted(save_balls(tmp_path / name, 1).glob("*.npz")):
            with np.load(path) as views:
                np.savez(path, **{**views, "lm68_3d": landmarks.astype(np.float32)})
    found = tmp_path / "found.safetensors"
    ran = Ran(
        capsys, "edit", "--from", tmp_path / "smile", "--against", tmp_path / "plain", "--space",
        "planes", "--name", "smile", "-o", found, "--model", model, *FEW,
    )  # fmt: skip
    assert ran.code == 0, ran.complaint
    motion = directions.read(found, model).by_name["smile"].motion
    assert motion is not None and motion.shape == (3, 64, 64)
    corner = motion[:, 35, 36]  # a cell is 0.8 / 64: x = 0.056, y = 0.044
    assert -0.04 < corner[1] < -0.02  # it was below
    assert abs(corner[0]) < 1e-3 and motion[1, 60, 60].abs() < 1e-3


@pytest.mark.parametrize("method", ["encoder", "w:offsets"])
def test_a_sheet_has_a_row_for_each_face_and_a_column_for_each_edit_and_view(
    tmp_path: Path, model: Path, known: Path, capsys: pytest.CaptureFixture[str], method: str
) -> None:
    heads, sheet = save_balls(tmp_path / "heads", 2), tmp_path / "sheet.png"
    ran = Ran(
        capsys, "edit", heads, "--direction", "smile", "--strengths", "-1,0,1", "--yaws", "0,17deg",
        "--inverter", method, "--steps", 2, "--side", 32, "--directions", known,
        "--model", model, "-o", sheet, *FEW,
    )  # fmt: skip
    assert ran.code == 0, ran.complaint
    with Image.open(sheet) as picture:
        pixels = np.asarray(picture).astype(int)
    assert pixels.shape[1] == 32 * 7  # the input, and three strengths from two cameras
    first = pixels[2 * 18 : 2 * 18 + 32].reshape(32, 7, 32, 3)  # below two captions
    less, as_it_is, more = first[:, 1], first[:, 3], first[:, 5]
    assert np.abs(less - as_it_is).mean() > 0.5 and np.abs(more - as_it_is).mean() > 0.5


def test_a_film_is_edited_and_says_so(
    tmp_path: Path, model: Path, known: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 3)
    report, options = tmp_path / "run.json", (*OPTIONS, "--model", model, "--quiet")
    edit = ("--edit", "smile=1.5", "--edit", "age=-1", "--directions", known)
    plain, out = tmp_path / "plain.png", tmp_path / "out.png"
    for target, more in ((plain, ()), (out, edit)):
        frame = photograph(tmp_path / "face.png")
        ran = Ran(capsys, frame, "-o", target, *options, *more)
        assert ran.code == 0, ran.complaint
    one, other = (np.asarray(Image.open(path).convert("RGB"), int) for path in (plain, out))
    assert np.abs(one - other).mean() > 0.5

    ran = Ran(capsys, clip, "-o", tmp_path / "out.mp4", *options, *edit, "--report", report)
    assert ran.code in (0, 3), ran.complaint
    note = read_provenance(tmp_path / "out.mp4")
    assert note is not None and note.edit == (("smile", 1.5), ("age", -1.0))
    assert "face changed by smile=1.5 age=-1" in note.text()
    told: dict[str, Any] = json.loads(report.read_text())
    assert told["settings"]["edit"] == [["smile", 1.5], ["age", -1.0]]
    assert told["weights"]["directions"]["name"] == known.name
    assert "edit" in [stage["stage"] for stage in told["run"]["stages"]]


def test_what_cannot_be_edited_is_refused_in_one_line_before_any_work(
    tmp_path: Path,
    model: Path,
    known: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> app.Networks:
        raise AssertionError("weights were read")

    monkeypatch.setattr(app, "load_networks", fail)
    face = photograph(tmp_path / "face.png")
    other = tmp_path / "other.safetensors"
    store.save(other, tiny_network(seed=1).state_dict(), SIZES)
    common = (face, "-o", tmp_path / "out.png", *OPTIONS)
    file = ("--directions", known)
    for edit, more, code, line in (
        ("grin=1", (*file, "--model", model), 2, "has no direction grin; it has smile, age"),
        ("smile=1", (*file, "--model", other), 1, "directions of another generator, that of tiny"),
        ("smile=1", ("--model", model), 1, "comes with no directions; name a file"),
        ("smile", ("--model", model), 2, "'smile' is no edit; write NAME=STRENGTH"),
        ("smile=much", ("--model", model), 2, "is no edit"),
        ("smile=nan", ("--model", model), 2, "the edit smile must be within 10, got nan"),
        ("a b=1", ("--model", model), 2, "'a b' is no direction's name"),
    ):
        ran = Ran(capsys, *common, "--edit", edit, *more)
        assert (ran.code, ran.complaint.count("\n")) == (code, 1), ran.complaint
        assert line in ran.complaint
    assert not (tmp_path / "out.png").exists()


def test_tasks_and_their_options_are_told_apart(
    tmp_path: Path, model: Path, known: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    face, sheet = photograph(tmp_path / "face.png"), tmp_path / "sheet.png"
    common = ("--model", model, "--directions", known)
    for arguments, line in (
        (("--discover", "--direction", "smile"), "are different tasks"),
        (("--discover",), "this task needs -o"),
        (("--from", face, "-o", sheet), "this task needs --against"),
        (("--direction", "smile", "-o", sheet), "name the faces to edit"),
        ((face, "--direction", "grin", "-o", sheet), "has no direction grin"),
        ((face, "--direction", "smile", "-o", sheet, "--inverter", "luck"), "no inverter 'luck'"),
        ((face, "--direction", "smile", "-o", sheet, "--strengths", "x"), "are no numbers"),
        ((face, "--discover", "-o", sheet, "--layers", "x"), "'x' are no layers"),
        (("--rename", "smile", *common), "renames nothing"),
    ):
        ran = Ran(capsys, "edit", *arguments, *common)
        assert ran.code == 2 and line in ran.complaint, ran.complaint


def test_layers_and_faces_that_are_not_there_are_refused(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    heads, out = save_balls(tmp_path / "heads", 2), tmp_path / "found.safetensors"
    task = ("edit", "--discover", "-o", out, "--model", model, *FEW)
    assert "layers 0-5, got 4-9" in Ran(capsys, *task, heads, "--layers", "4-9").complaint
    assert "no such file or folder" in Ran(capsys, *task, tmp_path / "absent").complaint
    (tmp_path / "empty").mkdir()
    assert "no face in" in Ran(capsys, *task, tmp_path / "empty").complaint
    lost = ("edit", heads, "--discover", "-o", tmp_path / "no" / "found", "--model", model)
    assert "its folder does not exist" in Ran(capsys, *lost).complaint
    in_the_way = ("edit", heads, "--discover", "-o", model, "--model", model)
    assert "is no directions file" in Ran(capsys, *in_the_way).complaint
    (tmp_path / "bad.npz").write_bytes(b"nothing")
    assert "no synthetic heads" in Ran(capsys, *task, tmp_path / "bad.npz").complaint
    assert "--components" in Ran(capsys, *task, heads, "--components", 20).complaint


def test_a_result_without_a_name_is_named_after_its_edits() -> None:
    settings = Settings(yaw_rad=-0.3, edit=(("smile", 1.5), ("age", -1)))
    assert app.default_target(Path("talk.mp4"), settings).name == "talk_yaw-0.3_smile1.5_age-1.mp4"
