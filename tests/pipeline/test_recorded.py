"""`--report` and the exit codes of whole runs, and `tpvideo verify` on what they wrote."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import av
import numpy as np
import pytest
from commands import Command
from faces import known_face
from PIL import Image as Pillow
from synthetic import write_clip
from tiny import tiny_network

from tpvideo.pipeline import app, recorded
from tpvideo.pipeline.config import Settings
from tpvideo.pipeline.frame import Image
from tpvideo.pipeline.record import read_record, sha256_of
from tpvideo.pipeline.signals import Terminated
from tpvideo.stages.facefinder import FaceBox, FaceReading
from tpvideo.weights import store

FRAMES = 9


class Blinking:
    """Sees a face in the pictures that are bright at the top right."""

    def find(self, rgb: Image) -> list[FaceBox]:
        return [self.read(rgb, None).box()] if rgb[:8, -8:].mean() > 128 else []

    def read(self, rgb: Image, box: FaceBox | None) -> FaceReading:
        score = 0.9 if rgb[:8, -8:].mean() > 128 else 0.01
        return known_face(48.0, 32.0, 50.0, score=score)


def clip(path: Path, faceless: tuple[int, ...] = ()) -> Path:
    """Nine frames with sound; the face is out of sight in some."""
    pictures = []
    for number in range(FRAMES):
        picture = np.full((64, 96, 3), 60 + 5 * number, np.uint8)
        picture[:8, -8:] = 20 if number in faceless else 230
        pictures.append(picture)
    return write_clip(path, pictures, sound=[(0.0, 0.36)])


@pytest.fixture
def tpvideo(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    networks = app.Networks(tiny_network(), Blinking())
    monkeypatch.setattr(app, "load_networks", lambda settings, machine: networks)
    return Command(capsys)


def test_a_clean_run_exits_with_0_and_tells_everything(tpvideo: Command, tmp_path: Path) -> None:
    source, out, report = clip(tmp_path / "talk.mp4"), tmp_path / "out.mp4", tmp_path / "r.json"
    ended = tpvideo.render(source, out, "--report", report, "--matting", "none", "--yaw", "0.2")
    assert (ended.code, ended.complaint) == (0, "")
    record = read_record(report)
    assert (record.exit_code, record.outcome, record.error) == (0, "done", None)
    assert record.settings["yaw_rad"] == 0.2
    assert record.source["sha256"] == sha256_of(source)
    assert record.target["sha256"] == sha256_of(out)
    assert record.weights["model"]["sha256"] == sha256_of(store.find("default"))
    assert set(record.weights) == {"model", "face"}
    assert {"tpvideo", "python", "torch", "av"} <= set(record.versions)
    assert record.source["media"]["streams"][0]["width"] == 96
    assert record.target["media"]["streams"][0]["width"] == 64
    assert [stage["stage"] for stage in record.run["stages"]][-1] == "encode"
    assert record.run["frames"] == FRAMES


def test_lost_frames_are_told_in_code_line_and_report(tpvideo: Command, tmp_path: Path) -> None:
    source = clip(tmp_path / "talk.mp4", faceless=(0, 4, 5))
    ended = tpvideo.render(
        source, tmp_path / "out.mp4", "--report", tmp_path / "r.json", "--matting", "none"
    )
    assert ended.code == 3
    assert "lost: 1 x no face: the source is shown, at 0:00.00 (frame 0)" in ended.said
    assert (
        "lost: 2 x no face: the picture before is shown, at 0:00.16-0:00.20 (frames 4-5)"
        in ended.said
    )
    record = read_record(tmp_path / "r.json")
    assert record.outcome == "done with losses"
    assert [(loss["stage"], loss["frames"]) for loss in record.run["losses"]] == [
        ("render", [0, 0]),
        ("render", [4, 5]),
    ]


@pytest.mark.parametrize(("choice", "said"), [("source", "the source"), ("blank", "the backdrop")])
def test_what_is_shown_instead_is_told(
    tpvideo: Command, tmp_path: Path, choice: str, said: str
) -> None:
    source = clip(tmp_path / "talk.mp4", faceless=(3,))
    ended = tpvideo.render(source, tmp_path / "o.mp4", "--on-lost", choice, "--matting", "none")
    assert ended.code == 3
    assert f"1 x no face: {said}" in ended.said


def test_a_failed_run_leaves_its_report_with_the_reason(tpvideo: Command, tmp_path: Path) -> None:
    source = clip(tmp_path / "talk.mp4", faceless=tuple(range(FRAMES)))
    ended = tpvideo.render(
        source, tmp_path / "out.mp4", "--report", tmp_path / "r.json", "--matting", "none"
    )
    assert ended.code == 1
    record = read_record(tmp_path / "r.json")
    assert (record.exit_code, record.outcome) == (1, "failed")
    assert record.error is not None and record.error in ended.complaint
    assert record.target == {"path": str(tmp_path / "out.mp4")}
    assert record.run["stages"][0]["frames"] == FRAMES


def test_a_run_that_never_began_has_a_report_too(tpvideo: Command, tmp_path: Path) -> None:
    ended = tpvideo.render(
        tmp_path / "none.mp4", tmp_path / "out.mp4", "--report", tmp_path / "r.json"
    )
    record = read_record(tmp_path / "r.json")
    assert (ended.code, record.exit_code, record.run) == (1, 1, {})
    assert record.error is not None and "no such file" in record.error


def test_an_aborted_run_is_recorded_as_interrupted(tmp_path: Path) -> None:
    source, out, report = clip(tmp_path / "talk.mp4"), tmp_path / "o.mp4", tmp_path / "r.json"
    settings = Settings(size=64, device="cpu", matting="none")
    networks = app.Networks(tiny_network(), Blinking())
    with (
        pytest.raises(KeyboardInterrupt),
        recorded.recorded(report, source, out, settings) as recording,
    ):
        recording.pipeline = app.assemble(source, out, settings, networks)
        recording.pipeline.abort()
        recording.pipeline.run()
    record = read_record(report)
    assert (record.exit_code, record.error) == (130, "interrupted")


def test_a_run_ended_by_the_system_says_by_what(tmp_path: Path) -> None:
    source, out, report = clip(tmp_path / "talk.mp4"), tmp_path / "o.mp4", tmp_path / "r.json"
    with pytest.raises(Terminated), recorded.recorded(report, source, out, Settings()):
        raise Terminated(signal.SIGTERM)
    record = read_record(report)
    assert (record.exit_code, record.outcome) == (143, "interrupted")
    assert record.error == "ended by SIGTERM"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("talk.mp4", "would replace the source"),
        ("out.mp4", "would replace the source or the result"),
        ("none/r.json", "there is no folder"),
        ("folder", "is a folder"),
    ],
)
def test_a_report_in_the_way_is_refused_before_the_run(
    tpvideo: Command, tmp_path: Path, name: str, reason: str
) -> None:
    source = clip(tmp_path / "talk.mp4")
    digest = sha256_of(source)
    (tmp_path / "folder").mkdir()
    ended = tpvideo.render(source, tmp_path / "out.mp4", "--report", tmp_path / name)
    assert (ended.code, ended.complaint.count("\n")) == (1, 1)
    assert reason in ended.complaint
    assert sha256_of(source) == digest
    assert not (tmp_path / "out.mp4").exists()


# --- verify ---------------------------------------------------------------------------------


def test_our_own_results_pass_and_the_trim_is_known(tpvideo: Command, tmp_path: Path) -> None:
    source, out, report = clip(tmp_path / "talk.mp4"), tmp_path / "out.mkv", tmp_path / "r.json"
    options = ("--matting", "none", "--trim", "0.08-0.2", "--report", report)
    assert tpvideo.render(source, out, *options).code == 0
    by_note = tpvideo("verify", source, out)
    assert (by_note.code, by_note.complaint) == (0, "")
    assert "3 of 3" in by_note.said
    assert "synthetic view by tpvideo" in by_note.said
    assert by_note.said.endswith(f"{out}: every rule holds\n")
    assert tpvideo("verify", source, out, "--report", report).code == 0
    assert tpvideo("verify", source, out, "--trim", "0-0.36").code == 1


def test_without_a_note_the_plan_is_in_the_report_or_the_options(
    tpvideo: Command, tmp_path: Path
) -> None:
    source, out, report = clip(tmp_path / "talk.mp4"), tmp_path / "out.mp4", tmp_path / "r.json"
    options = ("--matting", "none", "--audio", "none", "--no-provenance", "--report", report)
    assert tpvideo.render(source, out, *options).code == 0
    with av.open(str(out)) as film:
        assert "comment" not in film.metadata
    ended = tpvideo("verify", source, out)
    assert ended.code == 1
    assert "BROKEN  sound      0 of 1 tracks" in ended.said
    assert ended.said.endswith("broken: sound\n")
    assert tpvideo("verify", source, out, "--report", report).code == 0
    assert tpvideo("verify", source, out, "--audio", "none").code == 0


def test_a_result_changed_since_its_report_is_refused(tpvideo: Command, tmp_path: Path) -> None:
    source, out, report = clip(tmp_path / "talk.mp4"), tmp_path / "out.mp4", tmp_path / "r.json"
    tpvideo.render(source, out, "--matting", "none", "--report", report)
    out.write_bytes(out.read_bytes() + b"\0")
    ended = tpvideo("verify", source, out, "--report", report)
    assert (ended.code, ended.said) == (1, "")
    assert "changed since" in ended.complaint


def test_photographs_and_sequences_are_verified_too(tpvideo: Command, tmp_path: Path) -> None:
    photo = tmp_path / "me.png"
    Pillow.fromarray(np.full((64, 96, 3), 230, np.uint8)).save(photo)
    assert tpvideo.render(photo, tmp_path / "turned.jpg", "--matting", "none").code == 0
    assert tpvideo("verify", photo, tmp_path / "turned.jpg").code == 0
    source = clip(tmp_path / "talk.mp4")
    assert tpvideo.render(source, tmp_path / "view_%02d.png", "--matting", "none").code == 0
    assert tpvideo("verify", source, tmp_path / "view_%02d.png").code == 0
    (tmp_path / "view_03.png").unlink()
    assert tpvideo("verify", source, tmp_path / "view_%02d.png").code == 1


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["verify", "talk.mp4"], 2, "Missing argument 'OUT'"),
        (["verify", "talk.mp4", "out.mp4", "--trim", "x"], 2, "is no trim"),
        (["verify", "no.mp4", "out.mp4"], 1, "no such file"),
    ],
)
def test_wrong_usage_of_verify_is_one_line(
    tpvideo: Command, arguments: list[str], code: int, line: str
) -> None:
    ended = tpvideo(*arguments)
    assert (ended.code, ended.complaint.count("\n")) == (code, 1)
    assert line in ended.complaint


def test_the_report_is_plain_json(tpvideo: Command, tmp_path: Path) -> None:
    source = clip(tmp_path / "tälk.mp4")
    tpvideo.render(source, tmp_path / "o.mp4", "--matting", "none", "--report", tmp_path / "r.json")
    content = json.loads((tmp_path / "r.json").read_text("utf-8"))
    assert content["format"] == "tpvideo report 1"
    assert content["source"]["path"].endswith("tälk.mp4")


def test_a_report_with_a_senseless_trim_is_refused(tpvideo: Command, tmp_path: Path) -> None:
    source, out, report = clip(tmp_path / "talk.mp4"), tmp_path / "out.mp4", tmp_path / "r.json"
    tpvideo.render(source, out, "--matting", "none", "--report", report)
    content = json.loads(report.read_text("utf-8"))
    content["settings"]["trim"] = ["soon", None]
    report.write_text(json.dumps(content), "utf-8")
    ended = tpvideo("verify", source, out, "--report", report)
    assert (ended.code, ended.complaint.count("\n")) == (1, 1)
    assert "is no trim" in ended.complaint
