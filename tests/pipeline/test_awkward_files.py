"""Awkward files, made here, through the whole program: size, colours, count, times and sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from awkward import CASES, CUT_FRAMES, Case
from commands import Command, Seen, expect_refusal, watch
from faces import known_face
from synthetic import PATCHES, corner_of, read_number, read_patches
from tiny import tiny_network

from tpvideo.pipeline import app
from tpvideo.pipeline.frame import Image
from tpvideo.pipeline.record import Record, read_record
from tpvideo.stages.compare import compare, plan_of
from tpvideo.stages.contents import read_contents
from tpvideo.stages.facefinder import FaceBox, FaceReading

SLOW = {
    "t01 rot180.mp4", "t01 rot270.mp4", "t08 120fps.mp4", "t12 sound shorter.mp4",
    "t20 hevc10.mkv", "t21 high10.mkv", "t22 444.mp4", "t28 uhd.mp4",
}  # fmt: skip
"""Cases that others, or tests of the decoder alone, stand for by default."""
WARMING_UP_S = 0.03
"""What a sound codec needs before its first sample, at most."""
DAMAGE = ("damaged packet", "frame that the file promises")


class InTheLight:
    """Sees a face in the middle of every picture that is not dark."""

    def find(self, rgb: Image) -> list[FaceBox]:
        return [self._face(rgb).box()] if rgb.mean() > 40 else []

    def read(self, rgb: Image, box: FaceBox) -> FaceReading:
        return self._face(rgb, score=0.9 if rgb.mean() > 40 else 0.01)

    @staticmethod
    def _face(rgb: Image, score: float = 0.9) -> FaceReading:
        height, width, _ = rgb.shape
        return known_face(width / 2, height / 2, min(width, height) * 0.8, score=score)


@pytest.fixture(scope="module")
def networks() -> app.Networks:
    return app.Networks(tiny_network(), InTheLight())


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch, networks: app.Networks) -> Seen:
    return watch(monkeypatch, networks)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case.name, marks=pytest.mark.slow if case.name in SLOW else ())
        for case in CASES
    ],
)
def test_an_awkward_file_becomes_what_it_should(
    case: Case, seen: Seen, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("in", "out"):
        (tmp_path / folder).mkdir()
    source, out = tmp_path / "in" / case.name, tmp_path / "out"
    case.make(source)
    target = out / ("out.jpg" if source.suffix == ".jpg" else "out.mp4")
    report = out / "report.json"
    ended = Command(capsys).render(source, target, "--matting", "none", "--report", report)
    record = read_record(report)
    assert record.exit_code == ended.code
    if case.error:
        expect_refusal(ended, record, out)
        assert case.error in ended.complaint
        return
    assert case.warns in ended.complaint
    assert ended.code == (3 if case.faceless or case.loses else 0), ended.complaint
    expect_told(record, case)
    expect_decoded(seen, case)
    expect_written(source, target, case)


def expect_told(record: Record, case: Case) -> None:
    """The report has the stretches without a face, and what could not be decoded."""
    losses = record.run["losses"]
    faceless = [tuple(loss["frames"]) for loss in losses if loss["what"].startswith("no face")]
    assert faceless == list(case.faceless)
    assert any(loss["what"].startswith(DAMAGE) for loss in losses) == case.loses


def expect_decoded(seen: Seen, case: Case) -> None:
    """The decoder's frames are upright, all there, in order, and of the right colours."""
    assert (seen.infos[0].width, seen.infos[0].height) == case.size
    assert {picture.shape for picture in seen.pictures} == {(*case.size[::-1], 3)}
    if case.corner is not None:
        assert corner_of(seen.pictures[0]) == case.corner
    expected = range(len(seen.pictures)) if case.numbers is None else case.numbers
    if len(expected):
        assert [read_number(picture) for picture in seen.pictures] == list(expected)
    if case.has_patches:
        off = np.abs(read_patches(seen.pictures[0]) - PATCHES).max()
        assert off <= 6  # chroma at half resolution, and a lossy codec


def expect_written(source: Path, target: Path, case: Case) -> None:
    """Every rule of verify holds; count, times and sound are as they should be."""
    broken = [verdict for verdict in compare(source, target, plan_of(target)) if not verdict.holds]
    assert not broken, broken
    written = read_contents(target)
    count = len(written.times_s)
    assert count == case.frames or (case.loses and 4 < count <= CUT_FRAMES)
    assert written.times_s[0] <= WARMING_UP_S
    if case.times_ms is not None:
        times_ms = [float((moment_s - written.times_s[0]) * 1000) for moment_s in written.times_s]
        assert times_ms == pytest.approx(case.times_ms, abs=0.01)
    assert case.tracks in (None, len(written.tracks))
    for track in written.tracks:
        offset_s = float(track.times_s[0] - written.times_s[0])
        assert offset_s == pytest.approx(case.offset_s, abs=WARMING_UP_S)
