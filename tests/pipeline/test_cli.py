"""The command line: what it accepts, what it says, how it exits."""

from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from parts import Add, Collect, Event, Numbers, fail_at

import tpvideo
from tpvideo.pipeline import Pipeline, Report, cli, progress, read
from tpvideo.pipeline.checkpoint import Checkpoint
from tpvideo.pipeline.config import Settings
from tpvideo.pipeline.errors import NoFaceError
from tpvideo.stages.ledger import Ledger


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """(exit code, standard output, standard error) of the command with these arguments."""
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    written = capsys.readouterr()
    return int(caught.value.code or 0), written.out, written.err


def python(code: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=240
    )
    return result.stdout


# --- help and dispatch ----------------------------------------------------------------------


def test_help_answers_without_loading_torch() -> None:
    said = python(
        "import sys\n"
        "from tpvideo.pipeline.cli import main\n"
        "try:\n"
        "    main(['--help'])\n"
        "except SystemExit as end:\n"
        "    print('code', end.code, 'torch' in sys.modules, 'av' in sys.modules)\n"
    )
    assert "Usage: tpvideo [OPTIONS] SOURCE" in said
    assert said.endswith("code 0 False False\n")


def test_the_package_runs_as_a_module() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tpvideo", "--version"], capture_output=True, text=True, timeout=240
    )
    assert result.stdout == f"tpvideo {tpvideo.__version__}\n"


def test_help_names_every_option_of_the_readme(capsys: pytest.CaptureFixture[str]) -> None:
    _, said, _ = run(capsys, "--help")
    options = (
        "-o --yaw --pitch --view --background --size --crf --codec --audio --output --model "
        "--matting --face-model --face --on-lost --smooth --decoder --trim --queue --batch-size "
        "--device --precision --overwrite --progress --quiet"
    )
    assert [option for option in options.split() if option not in said] == []


def test_the_first_word_may_name_a_sub_command(capsys: pytest.CaptureFixture[str]) -> None:
    code, said, _ = run(capsys, "weights", "--help")
    assert code == 0
    assert "Usage: tpvideo weights" in said


def test_a_file_named_like_a_sub_command_is_given_with_its_folder(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, complaint = run(capsys, "./weights", "--progress", "none")
    assert (code, complaint.count("\n")) == (1, 1)
    assert "cannot read weights: no such file" in complaint


def test_no_argument_at_all_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, complaint = run(capsys)
    assert (code, complaint) == (2, "tpvideo: error: Missing argument 'SOURCE'.\n")


# --- one line for each mistake --------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--yaw", "9"], "yaw must be within 1.2 rad of frontal, got 9"),
        (["--yaw", "left"], "'left' is no angle"),
        (["--view", "up"], "'up' is not one of 'fixed', 'follow'"),
        (["--trim", "20-5"], "the trim 20-5 ends before it begins"),
        (["--smooth", "much"], "got 'much'"),
        (["--batch-size", "many"], "must be auto or a number"),
        (["--face", "0"], "at least 1, got 0"),
        (["--background", "mauve"], "got mauve"),
        (["--nonsense"], "No such option"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said, complaint = run(capsys, "talk.mp4", *arguments)
    assert code == 2
    assert said == ""
    assert complaint.startswith("tpvideo: error: ")
    assert complaint.count("\n") == 1
    assert line in complaint


def test_negative_angles_are_values_not_options(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, complaint = run(capsys, "--yaw", "-0.3", "--pitch", "-5deg", "missing.mp4")
    assert code == 1
    assert "cannot read missing.mp4: no such file" in complaint


def test_the_python_function_takes_the_same_settings_with_the_same_defaults() -> None:
    parameters = inspect.signature(tpvideo.render).parameters
    offered = {
        {"yaw": "yaw_rad", "pitch": "pitch_rad"}.get(name, name): parameter.default
        for name, parameter in parameters.items()
        if name not in ("source", "target")
    }
    assert offered == {field.name: field.default for field in fields(Settings)}


def test_the_command_takes_the_same_settings_with_the_same_defaults() -> None:
    with cli.render.make_context("tpvideo", ["talk.mp4"]) as context:
        given = {
            key: value
            for key, value in context.params.items()
            if key not in ("source", "target", "report", "style", "quiet")
        }
    assert Settings(**given) == Settings()


def test_names_of_the_root_are_there_and_sorted() -> None:
    assert sorted(tpvideo.__all__) == tpvideo.__all__
    assert all(hasattr(tpvideo, name) for name in tpvideo.__all__)


# --- how a run ends -------------------------------------------------------------------------


def with_pipeline(monkeypatch: pytest.MonkeyPatch, pipeline: Pipeline) -> None:
    """Let the command run this chain instead of the one that needs models."""
    from tpvideo.pipeline import app

    monkeypatch.setattr(app, "assemble", lambda *_: pipeline)


def test_a_finished_run_shows_the_table_and_exits_0(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_pipeline(monkeypatch, read(Numbers(7)).then(Add(batch=7)).into(Collect()))
    code, said, _ = run(capsys, "talk.mp4", "-o", "out.mp4", "--progress", "none")
    assert code == 0
    lines = said.splitlines()
    assert lines[0].split() == ["stage", "frames", "busy", "starved", "blocked", "batch"]
    assert [line.split()[0] for line in lines[1:4]] == ["decode", "add", "encode"]
    assert said.count("<- limits this run") == 1
    assert lines[4].startswith("7 frames in")
    assert lines[4].endswith("out.mp4")


def test_quiet_says_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_pipeline(monkeypatch, read(Numbers(7)).into(Collect()))
    assert run(capsys, "talk.mp4", "--quiet") == (0, "", "")


def test_a_stage_that_crashed_is_named_with_its_frame(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Numbers(7, before=fail_at(3, MemoryError("out of\nmemory")))
    with_pipeline(monkeypatch, read(source).into(Collect()))
    code, _, complaint = run(capsys, "talk.mp4", "--quiet")
    assert code == 1
    assert complaint == "tpvideo: error: decode failed on frame 3: out of memory\n"


def test_what_a_stage_complains_of_is_said_in_its_own_words(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Numbers(7, before=fail_at(3, NoFaceError("no face in any of 3 frames")))
    with_pipeline(monkeypatch, read(source).into(Collect()))
    code, _, complaint = run(capsys, "talk.mp4", "--quiet")
    assert (code, complaint) == (1, "tpvideo: error: no face in any of 3 frames\n")


def test_a_stopped_run_says_so_and_exits_130(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = read(Numbers(10**9, before=lambda n: pipeline.stop() if n == 4 else None)).into(
        Collect()
    )
    with_pipeline(monkeypatch, pipeline)
    code, said, _ = run(capsys, "talk.mp4", "-o", "out.mp4", "--progress", "none")
    assert code == 130
    assert "interrupted; a shorter, whole file: 5 frames in" in said


def test_an_aborted_run_says_that_nothing_was_written(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = read(Numbers(10**9, before=lambda n: pipeline.abort() if n == 4 else None)).into(
        Collect()
    )
    with_pipeline(monkeypatch, pipeline)
    code, _, complaint = run(capsys, "talk.mp4", "--quiet")
    assert (code, complaint.strip()) == (130, "tpvideo: interrupted; nothing was written")


def test_an_aborted_run_says_what_to_type_to_go_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    target = tmp_path / "my out.mp4"
    ledger = Ledger(target)
    ledger.begin()
    ledger.next_path(".mp4").write_bytes(b"segment")
    ledger.add(ledger.next_path(".mp4"), range(200), 0)
    ledger.keep(Checkpoint(200))
    ledger.end(keep=True)
    pipeline = read(Numbers(10**9, before=lambda n: pipeline.abort() if n == 4 else None)).into(
        Collect()
    )
    with_pipeline(monkeypatch, pipeline)
    code, _, complaint = run(capsys, "talk.mp4", "-o", str(target), "--quiet")
    assert (code, complaint.strip()) == (
        130,
        "tpvideo: interrupted; 200 frames are kept; to go on, type: "
        f"tpvideo --resume talk.mp4 -o '{target}' --quiet",
    )


def test_progress_goes_to_standard_error_in_lines_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Event()
    say_line = progress._say_line

    def say_and_tell(pipeline: Pipeline) -> None:
        say_line(pipeline)
        told.set()

    monkeypatch.setattr(progress, "LINE_INTERVAL_S", 0.001)
    monkeypatch.setattr(progress, "_say_line", say_and_tell)
    sink = Collect(before=lambda item: told.wait() if item == 2 else None)
    with_pipeline(monkeypatch, read(Numbers(3)).into(sink))
    code, _, said = run(capsys, "talk.mp4")
    assert code == 0
    assert "frames after 0 s" in said


def test_a_run_that_is_stopping_says_how_to_end_it_at_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pipeline = read(Numbers(3)).into(Collect())
    progress._say_line(pipeline)
    pipeline.stop()
    progress._say_line(pipeline)
    before, after = capsys.readouterr().err.splitlines()
    assert "Ctrl-C" not in before
    assert "Ctrl-C again ends at once" in after


def test_a_bar_is_drawn_on_a_terminal_and_leaves_no_thread(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Event()
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes the captured stream for a terminal
    monkeypatch.setattr(progress, "BAR_INTERVAL_S", 0.001)
    report = Pipeline.report

    def report_and_tell(pipeline: Pipeline) -> Report:
        told.set()
        return report(pipeline)

    monkeypatch.setattr(Pipeline, "report", report_and_tell)
    sink = Collect(before=lambda item: told.wait())
    with_pipeline(monkeypatch, read(Numbers(3)).into(sink))
    code, _, said = run(capsys, "talk.mp4")
    assert code == 0
    assert "frames" in said
