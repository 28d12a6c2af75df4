from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tpvideo.weights.evaluation.report import (
    Finding,
    Group,
    Measure,
    Row,
    mean_and_error,
    measure_table,
    paired,
    table,
    tall_table,
    write_csv,
    write_json,
    write_sheet,
)

ROWS = [
    Row("a", "ours", 0.1, 0.1, {"psnr_db": 20.0}),
    Row("a", "ours", 0.5, 0.5, {"psnr_db": 22.0}),
    Row("b", "ours", 0.5, 0.5, {"psnr_db": 25.0, "id": 0.5}),
    Row("b", "theirs", 0.5, 0.5, {"psnr_db": 10.0}),
]
GROUPS = [Group("far", lambda row: row.is_far), Group("all", lambda row: True)]


def test_the_error_is_that_of_the_mean_over_names() -> None:
    # Names' means are 21 and 25: mean 23, deviation sqrt(8), error sqrt(8) / sqrt(2).
    assert mean_and_error(ROWS[:3], "psnr_db") == pytest.approx((23.0, 2.0))
    mean, error = mean_and_error(ROWS[:3], "id") or (0, 0)
    assert mean == 0.5 and np.isnan(error)
    assert mean_and_error(ROWS, "lpips") is None


def test_tables_lie_either_way() -> None:
    psnr = [Measure("psnr_db", ".1f")]
    assert table(ROWS, GROUPS, psnr).splitlines() == [
        "| method | far | all |",
        "|---|---|---|",
        "| ours | 23.5 ± 1.5 | 23.0 ± 2.0 |",
        "| theirs | 10.0 | 10.0 |",
    ]
    assert tall_table(ROWS, GROUPS, psnr).splitlines() == [
        "| view | ours | theirs |",
        "|---|---|---|",
        "| far | 23.5 ± 1.5 | 10.0 |",
        "| all | 23.0 ± 2.0 | 10.0 |",
    ]
    assert measure_table(ROWS, {"PSNR": psnr[0], "ID": Measure("id")}).splitlines()[2:] == [
        "| ours | 23.0 ± 2.0 | 0.50 |",
        "| theirs | 10.0 | – |",
    ]


def test_every_row_is_written_and_read_again(tmp_path: Path) -> None:
    finding = Finding("heads", "a folder", ROWS, ["| table |"], ["a note"])
    write_csv([finding], tmp_path / "all.csv")
    write_json([finding], {"model": "default"}, tmp_path / "all.json")
    with (tmp_path / "all.csv").open(encoding="utf-8", newline="") as file:
        listed = list(csv.DictReader(file))
    assert [row["psnr_db"] for row in listed] == ["20", "22", "25", "10"]
    assert [row["id"] for row in listed] == ["", "", "0.5", ""]
    assert listed[0]["path"] == "a folder" and listed[3]["method"] == "theirs"
    told = json.loads((tmp_path / "all.json").read_text("utf-8"))
    assert told["model"] == "default" and told["findings"][0]["rows"][2]["scores"]["id"] == 0.5


def test_sheets_of_other_widths_go_below_one_another(tmp_path: Path) -> None:
    wide, narrow = (np.full((4, width, 3), 200, np.uint8) for width in (8, 6))
    findings = [Finding("", "", [], [], sheet=sheet) for sheet in (wide, None, narrow)]
    write_sheet(findings, tmp_path / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (8, 8, 3)
    assert (sheet[4:, 6:] == 0).all() and (sheet[4:, :6] == 200).all()


def test_a_finding_prints_as_markdown() -> None:
    text = str(Finding("clip", "talk.mp4", ROWS, ["| one |", "| two |"], ["first", "second"]))
    assert text == "## talk.mp4 (clip)\n\n| one |\n\n| two |\n\n- first\n- second"


def test_differences_are_taken_name_by_name() -> None:
    found = paired(ROWS, "ours")  # on "b" alone: 10 - 25
    assert [(row.name, row.method, dict(row.scores)) for row in found] == [
        ("b", "theirs", {"psnr_db": -15.0})
    ]
    assert not paired(ROWS[:3], "ours")
