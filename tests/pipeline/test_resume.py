"""An interrupted run is continued, and nobody can tell from the film."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import interrupted
import pytest
import torch
from films import frame_times
from interrupted import film, render

from tpvideo.pipeline.config import Settings
from tpvideo.pipeline.errors import NoFaceError, OutputError, ResumeError, StageError
from tpvideo.pipeline.resume import how_to_go_on, resumable
from tpvideo.pipeline.run_key import run_key
from tpvideo.stages.head_memory import HeadMemory
from tpvideo.stages.ledger import Ledger
from tpvideo.stages.pose_smoothing import PoseFitter
from tpvideo.stages.render import NovelView
from tpvideo.stages.steady_matte import SteadyMatte
from tpvideo.stages.tracker import Tracker


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film(tmp_path_factory.mktemp("film") / "talk.mp4")


@pytest.fixture(scope="module")
def undisturbed(source: Path) -> Path:
    """What the run makes of the film when nothing happens."""
    with torch.random.fork_rng(devices=[]):
        target = source.with_name("undisturbed.mp4")
        report = render(source, target)
    assert (report.earlier_frames, report.frames) == (0, 45)
    return target


@pytest.fixture(scope="module")
def killed(source: Path) -> Path:
    """A folder with what a run left that was killed before its 34th frame was written."""
    folder = source.parent / "killed"
    folder.mkdir()
    assert interrupted.run(source, folder / "out.mp4", "--at", "33").returncode == -signal.SIGKILL
    assert {path.name for path in folder.iterdir()} == {".out.mp4.part"}
    return folder


@pytest.fixture
def left(killed: Path, tmp_path: Path) -> Path:
    """The target of such a run, in a folder of its own."""
    shutil.copytree(killed, tmp_path, dirs_exist_ok=True)
    return tmp_path / "out.mp4"


def content(path: Path) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Every decoded picture, and every packet of picture and sound with its times."""
    with av.open(str(path)) as container:
        pictures = [
            hashlib.md5(frame.to_ndarray().tobytes()).hexdigest()
            for frame in container.decode(video=0)
        ]
    with av.open(str(path)) as container:
        packets = [
            (packet.stream.type, packet.pts, packet.dts, packet.duration, bytes(packet))
            for packet in container.demux()
        ]
    return pictures, packets


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# --- the same film --------------------------------------------------------------------------


def test_a_killed_run_is_continued_to_the_very_same_film(
    source: Path, undisturbed: Path, left: Path
) -> None:
    report = render(source, left, resume=True)
    assert (report.earlier_frames, report.frames) == (26, 19)
    assert content(left) == content(undisturbed)
    assert len(content(left)[0]) == 45
    assert frame_times(left) == frame_times(undisturbed)
    assert names_in(left.parent) == {"out.mp4"}


@pytest.mark.parametrize("where", ["join", pytest.param("keep", marks=pytest.mark.slow)])
def test_a_run_killed_at_the_worst_moment_is_continued(
    source: Path, undisturbed: Path, left: Path, where: str
) -> None:
    """In the middle of the join; or when a segment is on the disk and the ledger not yet. It is
    the second time for this run."""
    options = json.dumps({"resume": True})
    again = interrupted.run(source, left, "--at", where, "--settings", options)
    assert again.returncode == -signal.SIGKILL, again.stderr
    assert not left.exists()
    report = render(source, left, resume=True)
    assert report.earlier_frames == (36 if where == "join" else 26)
    assert content(left) == content(undisturbed)
    assert names_in(left.parent) == {"out.mp4"}


@pytest.mark.slow
def test_sigterm_keeps_what_is_whole(source: Path, undisturbed: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    ended = interrupted.run(source, target, "--at", "25", "--signal", "SIGTERM")
    assert ended.returncode == 128 + signal.SIGTERM, ended.stderr
    assert names_in(tmp_path / ".out.mp4.part") == {
        "000000.mp4", "000001.mp4", "000002.npz", "ledger.json", "times",
    }  # fmt: skip
    assert render(source, target, resume=True).earlier_frames == 16
    assert content(target) == content(undisturbed)


def test_without_its_memory_a_stage_makes_another_film(
    source: Path, undisturbed: Path, left: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each state counts: the films above are the same because of it."""
    for number, part in enumerate((SteadyMatte, Tracker, PoseFitter, HeadMemory)):
        target = tmp_path / str(number) / "out.mp4"
        shutil.copytree(left.parent / ".out.mp4.part", target.parent / ".out.mp4.part")
        with monkeypatch.context() as patch:
            patch.setattr(part, "restore", lambda *_: None)
            render(source, target, resume=True)
        assert content(target)[0] != content(undisturbed)[0], part


def test_a_run_killed_while_the_face_was_lost_remembers_the_picture_and_the_loss(
    source: Path, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, other = tmp_path / "first", tmp_path / "other"
    first.mkdir()
    interrupted.run(source, first / "out.mp4", "--at", "21")  # 14 to 22 show no face
    shutil.copytree(first, other)
    (loss,) = render(source, first / "out.mp4", resume=True).told_losses()
    assert content(first / "out.mp4") == content(undisturbed)
    times = frame_times(first / "out.mp4")
    assert loss.startswith("9 x no face") and loss.endswith("(frames 14-22)")
    assert f"{float(times[14] - times[0]):.2f}" in loss
    monkeypatch.setattr(NovelView, "restore", lambda *_: None)
    render(source, other / "out.mp4", resume=True)
    assert content(other / "out.mp4")[0] != content(undisturbed)[0]


# --- what may not change --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"yaw_rad": 0.25}, r"the yaw of the interrupted run was 0\.0, and is now 0\.25"),
        ({"smooth": 0.1}, r"the smooth of the interrupted run was 0\.5, and is now 0\.1"),
        ({"crf": 30}, "the crf of the interrupted run was 18, and is now 30"),
        ({"matting": "none"}, "the matting file .* is now unknown|the matting of the"),
        ({"batch_size": 1}, "the batch of the interrupted run was 3, and is now 1"),
    ],
)
def test_changed_settings_are_refused_by_name_and_nothing_is_lost(
    source: Path, left: Path, changes: dict[str, Any], reason: str
) -> None:
    before = {path: path.read_bytes() for path in (left.parent / ".out.mp4.part").iterdir()}
    with pytest.raises(ResumeError, match=reason) as caught:
        render(source, left, resume=True, **changes)
    assert "--overwrite begins anew" in str(caught.value) and "\n" not in str(caught.value)
    assert before == {path: path.read_bytes() for path in (left.parent / ".out.mp4.part").iterdir()}


def test_another_source_under_the_same_name_is_refused(
    source: Path, left: Path, tmp_path: Path
) -> None:
    other = film(tmp_path / source.name, frames=44)
    with pytest.raises(ResumeError, match=r"the source of the interrupted run was \d+ bytes \("):
        render(other, left, resume=True)


def test_the_same_source_under_another_name_is_accepted(
    source: Path, left: Path, tmp_path: Path
) -> None:
    moved = Path(shutil.copy(source, tmp_path / "moved.mp4"))
    assert render(moved, left, resume=True).earlier_frames == 26


@pytest.mark.parametrize("what", ["model file", "version of tpvideo", "version of torch"])
def test_other_weights_and_versions_are_refused(source: Path, left: Path, what: str) -> None:
    ledger = left.parent / ".out.mp4.part" / "ledger.json"
    entry = json.loads(ledger.read_text())
    entry["key"][what] = "another"
    ledger.write_text(json.dumps(entry))
    with pytest.raises(ResumeError, match=f"the {what} of the interrupted run was another"):
        render(source, left, resume=True)


def test_every_setting_that_can_change_a_picture_is_in_the_key(source: Path) -> None:
    """A setting added later is compared, unless somebody says that it does not matter."""
    before = run_key(source, Settings(), {}, {})
    free = {"overwrite", "resume", "queue", "batch_size", "device", "precision", "stall_timeout_s"}
    free |= {"max_pixels", "max_frames"}
    for name in Settings.__dataclass_fields__:
        if name not in free:
            assert name.removesuffix("_rad").replace("_", "-") in before


# --- with and without the flag --------------------------------------------------------------


def test_what_is_left_is_not_thrown_away_unasked(
    source: Path, undisturbed: Path, left: Path
) -> None:
    with pytest.raises(OutputError, match=r"left 26 frames of it; --resume goes on, --overwrite"):
        render(source, left)
    assert render(source, left, overwrite=True).earlier_frames == 0
    assert content(left) == content(undisturbed)
    assert names_in(left.parent) == {"out.mp4"}


def test_nothing_to_resume_begins_at_the_beginning(
    source: Path, undisturbed: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out.mp4"
    assert render(source, target, resume=True).earlier_frames == 0
    assert content(target) == content(undisturbed)


def test_pictures_cannot_be_resumed(source: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="only films can be resumed; leave --resume out"):
        render(source, tmp_path / "view_%03d.png", resume=True)


def test_two_runs_never_write_one_target(source: Path, left: Path) -> None:
    other = Ledger(left)
    other.begin()
    try:
        with pytest.raises(OutputError, match="another tpvideo is writing it"):
            render(source, left, overwrite=True)
    finally:
        other.end(keep=False)


# --- what is said ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), SystemExit(143), StageError("encode", None, OSError())]
)
def test_whoever_interrupts_is_told_what_to_type(left: Path, error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, resumable(left):
        raise error
    line = how_to_go_on(caught.value, ["my talk.mp4", "--yaw", "-0.3"])
    assert line == ("26 frames are kept; to go on, type: tpvideo --resume 'my talk.mp4' --yaw -0.3")
    again = how_to_go_on(caught.value, ["talk.mp4", "--resume"])
    assert again is not None and again.endswith("tpvideo talk.mp4 --resume")


def test_nothing_is_promised_where_nothing_is_kept(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt) as caught, resumable(tmp_path / "out.mp4"):
        raise KeyboardInterrupt
    assert how_to_go_on(caught.value, ["talk.mp4"]) is None


def test_what_no_run_can_finish_is_not_kept(left: Path) -> None:
    failure = StageError("render", None, NoFaceError("no face"))
    failure.__cause__ = NoFaceError("no face")
    with pytest.raises(StageError) as caught, resumable(left):
        raise failure
    assert how_to_go_on(caught.value, []) is None
    assert names_in(left.parent) == set()


# --- a damaged or hostile ledger ------------------------------------------------------------


def _cut_segment(folder: Path, entry: dict[str, Any]) -> None:
    (folder / "000001.mp4").write_bytes(b"short")


def _cut_times(folder: Path, entry: dict[str, Any]) -> None:
    (folder / "times").write_bytes(bytes(240))  # thirty times zero: they do not rise


def _pickled_state(folder: Path, entry: dict[str, Any]) -> None:
    import numpy as np

    np.savez(folder / "000003.npz", **{"0.stage.seen": np.array([print], dtype=object)})


def _lead_elsewhere(folder: Path, entry: dict[str, Any]) -> None:
    entry["segments"][0]["name"] = "../../elsewhere.mp4"


def _no_states(folder: Path, entry: dict[str, Any]) -> None:
    del entry["states"]


def _wrong_states(folder: Path, entry: dict[str, Any]) -> None:
    entry["states"][1] = {"stage": {"tracker": 5}, "losses": None}


def _deep(folder: Path, entry: dict[str, Any]) -> None:
    entry["states"] = "deep"


@pytest.mark.parametrize(
    "damage",
    [_cut_segment, _cut_times, _pickled_state, _lead_elsewhere, _no_states, _wrong_states, _deep],
)
def test_a_damaged_ledger_is_refused_in_one_line(
    source: Path, left: Path, damage: Callable[[Path, dict[str, Any]], None]
) -> None:
    folder = left.parent / ".out.mp4.part"
    entry = json.loads((folder / "ledger.json").read_text())
    damage(folder, entry)
    (folder / "ledger.json").write_text(json.dumps(entry))
    with pytest.raises(ResumeError, match=r"damaged; --overwrite begins anew$"):
        render(source, left, resume=True)


def test_a_ledger_that_is_no_json_is_refused(source: Path, left: Path) -> None:
    (left.parent / ".out.mp4.part" / "ledger.json").write_text("[" * 100_000)
    with pytest.raises(ResumeError, match="damaged"):
        render(source, left, resume=True)
