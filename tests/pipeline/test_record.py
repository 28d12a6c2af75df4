"""A run as JSON: written whole or not at all, and read back."""

from __future__ import annotations

import json
import signal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from tpvideo.pipeline import Report, Stamp, Timing
from tpvideo.pipeline.config import Settings
from tpvideo.pipeline.errors import ConfigError, InputError, NoFaceError, OutputError
from tpvideo.pipeline.exits import exit_code, meaning
from tpvideo.pipeline.losses import Loss
from tpvideo.pipeline.record import (
    Record,
    file_facts,
    read_record,
    report_as_json,
    settings_as_json,
)
from tpvideo.pipeline.signals import Terminated

LOST = Loss("eyes shut", 2, Stamp(3, 253), Stamp(4, 254), stage="render")
REPORT = Report(
    (Timing("decode", frames=9, batches=9, busy_s=0.5), Timing("encode", frames=9)),
    elapsed_s=1.23456,
    losses=(LOST, Loss("track left out", 1, stage="encode")),
    warnings=("tone-mapped",),
    time_base=Fraction(1, 25),
    zero_pts=250,
)


def record(**changes: Any) -> Record:
    facts: dict[str, Any] = {
        "exit_code": 3,
        "outcome": "done with losses",
        "begun": "2026-01-02T03:04:05+00:00",
        "settings": settings_as_json(Settings(trim=(Fraction(1, 3), None))),
        "versions": {"tpvideo": "1"},
        "run": report_as_json(REPORT),
    }
    return Record(**{**facts, **changes})


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    record().write(tmp_path / "report.json")
    assert read_record(tmp_path / "report.json") == record()
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_losses_have_frames_and_seconds_after_the_first_frame() -> None:
    assert report_as_json(REPORT)["losses"] == [
        {
            "what": "eyes shut",
            "stage": "render",
            "count": 2,
            "frames": [3, 4],
            "seconds": [0.12, 0.16],
        },
        {
            "what": "track left out",
            "stage": "encode",
            "count": 1,
            "frames": None,
            "seconds": None,
        },
    ]


def test_figures_of_every_stage_are_in_it() -> None:
    told = report_as_json(REPORT)
    assert (told["frames"], told["elapsed_s"], told["warnings"]) == (9, 1.235, ["tone-mapped"])
    assert told["stages"][0] == {
        "stage": "decode",
        "frames": 9,
        "batches": 9,
        "busy_s": 0.5,
        "starved_s": 0.0,
        "blocked_s": 0.0,
    }


def test_settings_are_exact_and_of_json_types() -> None:
    told = settings_as_json(Settings(trim=(Fraction(1, 3), None), face=2))
    assert (told["trim"], told["face"]) == (["1/3", None], 2)
    assert json.loads(json.dumps(told)) == told
    assert settings_as_json(Settings())["trim"] is None


def test_a_file_is_known_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    facts = file_facts(tmp_path / "a")
    assert facts["bytes"] == 3
    assert facts["sha256"] == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_facts(tmp_path / "none") == {"path": str(tmp_path / "none")}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("no json", "it is no report"),
        ("[]", '"format" is not "tpvideo report 1"'),
        ('{"format": "tpvideo report 9"}', '"format" is not'),
        ('{"format": "tpvideo report 1", "exit_code": 0}', "not complete"),
    ],
)
def test_another_file_is_no_report(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(InputError, match=reason):
        read_record(tmp_path / "report.json")


def test_a_report_of_a_newer_program_with_more_in_it_is_read(tmp_path: Path) -> None:
    record().write(tmp_path / "report.json")
    content = json.loads((tmp_path / "report.json").read_text())
    (tmp_path / "report.json").write_text(json.dumps({**content, "weather": "fair"}))
    assert read_record(tmp_path / "report.json") == record()


def test_a_report_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    record().write(tmp_path / "report.json")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="cannot write"):
        record().write(tmp_path / "folder")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "report.json"]
    with pytest.raises(OutputError, match="cannot write"):
        record().write(tmp_path / "missing" / "report.json")


def test_every_code_has_a_meaning() -> None:
    assert {code: meaning(code) for code in (0, 1, 2, 3, 130, 143)} == {
        0: "done",
        1: "failed",
        2: "wrong usage",
        3: "done with losses",
        130: "interrupted",
        143: "interrupted",
    }


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (Report((Timing("decode"),), 1.0), 0),
        (REPORT, 3),
        (Report((Timing("decode"),), 1.0, is_stopped=True, losses=(LOST,)), 130),
        (KeyboardInterrupt(), 130),
        (Terminated(signal.SIGTERM), 143),
        (ConfigError("yaw"), 2),
        (NoFaceError("none"), 1),
        (MemoryError(), 1),
    ],
)
def test_every_outcome_has_its_exit_code(outcome: Report | BaseException, code: int) -> None:
    assert exit_code(outcome) == code
