from __future__ import annotations

import numpy as np
import pytest
from balls import save_balls
from tiny import tiny_network

from tpvideo.stages.networks.inverters_by_steps import inverter
from tpvideo.weights.evaluation.inverters import METHODS, evaluate, summed_up, verdicts
from tpvideo.weights.evaluation.report import Finding, Row

COMPARED = ("encoder", "w+", "pti", "pose")


@pytest.fixture(scope="module")
def finding(tmp_path_factory: pytest.TempPathFactory) -> Finding:
    folder = save_balls(tmp_path_factory.mktemp("heads") / "held", 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TPVIDEO_WEIGHTS", str(tmp_path_factory.mktemp("none")))
        return evaluate(tiny_network(), folder, methods=COMPARED, steps=2)


def test_every_method_is_scored_in_its_own_view_and_in_the_others(finding: Finding) -> None:
    assert len(finding.rows) == 2 * len(COMPARED) * 4  # two heads, four views
    for row in finding.rows:
        assert np.isfinite(row.scores["psnr_db"])
        assert ("cpu_seconds" in row.scores) == ("mse" in row.scores) == (row.turn_rad < 1e-3)
    assert finding.sheet is not None and finding.sheet.shape == (2 * 5 * 128, 4 * 128, 3)


def test_the_table_has_a_line_for_each_method(finding: Finding) -> None:
    [table] = finding.tables
    lines = table.splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == list(COMPARED)
    assert "same view: PSNR" in lines[0] and "shape" in lines[0] and "CPU seconds" in lines[0]
    assert any("2 gradients" in note for note in finding.notes)
    assert any("features of our face network" in note for note in finding.notes)
    assert "pti stands for w+:generator" in finding.notes


def test_methods_that_begin_alike_are_charged_for_what_they_share(finding: Finding) -> None:
    seconds = {
        (row.name, row.method): row.scores["cpu_seconds"]
        for row in finding.rows
        if "cpu_seconds" in row.scores
    }
    for name in {row.name for row in finding.rows}:
        assert seconds[name, "pti"] > seconds[name, "w+"] > 0


def test_a_summary_keeps_own_and_far_views_apart() -> None:
    rows = [
        Row("a", "pti", 0.0, 0.0, {"psnr_db": 30.0, "cpu_seconds": 7.0, "shape": 0.1}),
        Row("a", "pti", 0.1, 0.1, {"psnr_db": 99.0, "shape": 0.3}),  # neither own nor far
        Row("a", "pti", 0.4, 0.4, {"psnr_db": 20.0}),
        Row("a", "pti", 0.6, 0.6, {"psnr_db": 10.0}),
    ]
    [summary] = summed_up(rows)
    assert summary.scores == pytest.approx(
        {"same_psnr_db": 30.0, "far_psnr_db": 15.0, "cpu_seconds": 7.0, "shape": 0.2}
    )


def test_the_papers_findings_are_held_to_what_was_found() -> None:
    summary = []
    for number, noise in enumerate((0.0, 0.1, -0.1)):
        for method, same, far, shape in (("pti", 30.0, 10.0, 0.1), ("encoder", 20.0, 15.0, 0.2)):
            scores = {"same_psnr_db": same + noise, "far_psnr_db": far, "shape": shape}
            if method == "encoder":
                scores["same_psnr_db"] = same
            summary.append(Row(str(number), method, 0.0, 0.0, scores))
    lines = list(verdicts(summary))
    assert len(lines) == 3  # nothing is said of methods that were not run
    assert "same view PTI is better than the encoder: holds (pti less encoder: +10" in lines[0]
    assert "far from the input's camera the encoder is better than PTI: holds" in lines[1]
    assert "the encoder's depth is better than PTI's: DOES NOT HOLD" in lines[2]


def test_a_finding_within_its_error_is_not_decided() -> None:
    summary = [
        Row(name, method, 0.0, 0.0, {"same_psnr_db": value})
        for name, method, value in (
            ("a", "pti", 20.0), ("a", "encoder", 19.0), ("b", "pti", 19.0), ("b", "encoder", 20.0),
        )
    ]  # fmt: skip
    for heads in (summary, summary[:2]):  # one head alone has no error to go by
        [line] = verdicts(heads)
        assert "is not decided" in line


def test_what_is_compared_by_default_exists() -> None:
    for method in METHODS:
        assert inverter(method).steps
