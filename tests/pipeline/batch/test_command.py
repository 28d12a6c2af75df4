"""`tpvideo batch` from outside: exit codes, what it says, and Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from batches import clip, photo
from tiny import SIZES, tiny_network

from tpvideo.pipeline import cli
from tpvideo.weights import store

SAMPLE = Path(__file__).resolve().parents[3] / "samples" / "talk.mp4"


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        cli.main(["batch", *map(str, arguments)])
    written = capsys.readouterr()
    return int(caught.value.code or 0), written.out, written.err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["-o", "out"], "name a folder, files, a pattern, or a list"),
        (["clips"], "Missing option '-o'"),
        (["clips", "-o", "out", "--yaw", "0,9"], "yaw must be within 1.2 rad"),
        (["clips", "-o", "out", "--yaw", "0,left"], "'left' is no angle"),
        (["clips", "-o", "out", "--workers", "0"], "must be auto or a number from 1"),
        (["clips", "-o", "out", "--cluster", "slurm"], "only Ray is known"),
        (["clips", "-o", "out", "--split", "never"], "must be off or minutes"),
        (["clips", "-o", "clips"], "cannot hold both sources and results"),
        (["clips", "-o", "out", "--name", "../{stem}"], "outside the output folder"),
        (["clips", "-o", "out", "--name", "{home}"], "may hold {stem}"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    arguments: list[str],
    line: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    photo(tmp_path / "clips" / "a.png")
    code, _, complaint = run(capsys, *arguments)
    assert (code, complaint.count("\n")) == (2, 1)
    assert line in complaint
    assert not (tmp_path / "out").exists()


def test_an_empty_folder_can_do_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    code, _, complaint = run(capsys, tmp_path / "clips", "-o", tmp_path / "out")
    assert code == 1
    assert "no video or photograph in it" in complaint


def test_a_dry_run_says_what_would_be_done_and_does_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    photo(tmp_path / "clips" / "me.png")
    clip(tmp_path / "clips" / "talk\n2.mp4")
    code, said, _ = run(
        capsys, tmp_path / "clips", "-o", tmp_path / "out", "--yaw", "-0.3,0.3", "--dry-run"
    )
    assert code == 0
    assert [line.split()[2] for line in said.splitlines()[:-1]] == [
        "me_yaw-0.3.png", "me_yaw0.3.png", "talk?2_yaw-0.3.mp4", "talk?2_yaw0.3.mp4",
    ]  # fmt: skip
    assert said.endswith("2 files to do, 0 good already, 0 refused\n")
    assert not (tmp_path / "out").exists()


def test_options_of_a_single_run_are_those_of_a_batch(capsys: pytest.CaptureFixture[str]) -> None:
    _, said, _ = run(capsys, "--help")
    options = "--pitch --view --background --size --crf --codec --audio --output --model --matting "
    options += (
        "--face-model --face --on-lost --smooth --decoder --trim --queue --batch-size --device"
    )
    assert [option for option in options.split() if option not in said] == []


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A tiny network in a file."""
    path = tmp_path / "tiny.safetensors"
    store.save(path, tiny_network().state_dict(), SIZES)
    return path


def started(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tpvideo", "batch", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"}, start_new_session=True,
    )  # fmt: skip


def is_gone(group: int) -> bool:
    """Whether a group of processes ends; Python's own helper needs a moment after its parent."""
    deadline_s = time.monotonic() + 120
    while time.monotonic() < deadline_s:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.slow
def test_bad_files_are_noted_good_ones_are_made_and_then_skipped(
    tmp_path: Path, model: Path
) -> None:
    import av

    folder, out = tmp_path / "in", tmp_path / "out"
    photo(folder / "wall.png")
    (folder / "bad.mp4").write_bytes(b"junk")
    with av.open(str(SAMPLE)) as container:
        next(container.decode(video=0)).to_image().save(folder / "me.png")
    how = ["--model", model, "--matting", "none", "--size", "64", "--device", "cpu"]
    first = started(folder, "-o", out, *how, "--yaw", "0.3", "--progress", "json")
    said, complaint = first.communicate(timeout=240)
    assert first.returncode == 3, complaint
    ended = [json.loads(line) for line in said.splitlines() if '"ended"' in line]
    assert {Path(line["source"]).name: line["kind"] for line in ended} == {
        "bad.mp4": "InputError", "wall.png": "NoFaceError", "me.png": "",
    }  # fmt: skip
    assert (out / "me_yaw0.3.png").is_file()
    page = (out / "index.html").read_text()
    assert page.index("bad.mp4") < page.index("me.png")
    (folder / "bad.mp4").unlink()
    (folder / "wall.png").unlink()
    second = started(folder, "-o", out, *how, "--yaw", "0.3", "--progress", "plain")
    said, _ = second.communicate(timeout=240)
    assert (second.returncode, "1 good" in said) == (0, True)
    assert "data:image/jpeg" in (out / "index.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "left"), [(signal.SIGINT, 1), (signal.SIGTERM, 0)])
def test_ctrl_c_finishes_the_file_under_way_being_ended_drops_it_and_no_process_is_left(
    tmp_path: Path, model: Path, number: signal.Signals, left: int
) -> None:
    for letter in "abc":
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / f"{letter}.mp4").write_bytes(SAMPLE.read_bytes())
    how = ["--model", model, "--matting", "none", "--size", "64", "--device", "cpu"]
    batch = started(tmp_path / "in", "-o", tmp_path / "out", *how, "--progress", "json")
    assert batch.stdout is not None
    for line in batch.stdout:
        if '"progress"' in line:
            break
    os.killpg(batch.pid, number)  # as a terminal does: to every process of the group
    batch.communicate(timeout=240)
    assert batch.returncode == 130
    assert is_gone(batch.pid)
    assert len(list((tmp_path / "out").glob("*.mp4"))) == left
