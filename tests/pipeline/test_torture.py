"""The shared awkward files through the whole program, held to what their manifest says of them.

The networks that draw are small and random; decoding, matting, face tracking, encoding, report and
exit code are those of every run. The decoder alone is tested in tests/stages/test_torture.py.
"""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Command, Ended, Seen, expect_refusal, small_networks, watch
from shared import ROOT, shared_path

from tpvideo.pipeline import app
from tpvideo.pipeline.record import Record, read_record
from tpvideo.stages.compare import compare, plan_of
from tpvideo.stages.contents import Contents, read_contents

COUNT = 54
QUICK = {
    "t02_exif6.jpg", "t07_1fps.mp4", "t16_audio_only.mp4", "t30_trunc60_moov_end.mp4",
    "t33_zero.mp4", "t34_text.mp4", "t35_noise.mp4", "t36_one_frame.mp4", "t37_header_only.mp4",
}  # fmt: skip
"""Files that run by default; the others are slow, because they are many."""


def entries() -> list[Any]:
    path = ROOT.parent / "shared/clips/torture/manifest.json"
    if not path.exists():
        return [pytest.param(None, id="(all)")]
    listed = json.loads(path.read_text("utf-8"))["files"]
    return [
        pytest.param(
            entry, id=entry["file"], marks=() if entry["file"] in QUICK else pytest.mark.slow
        )
        for entry in listed
    ]


@pytest.fixture(scope="module")
def networks() -> app.Networks:
    return small_networks()


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch, networks: app.Networks) -> Seen:
    """Put the small networks in place, and look over the decoder's shoulder."""
    return watch(monkeypatch, networks)


@pytest.mark.skipif(entries()[0].id == "(all)", reason="needs shared/clips beside the checkout")
def test_all_the_files_are_tried() -> None:
    assert len(entries()) == COUNT


@pytest.mark.parametrize("entry", entries())
def test_a_torture_file_becomes_what_its_manifest_says(
    entry: dict[str, Any] | None, seen: Seen, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = shared_path("clips/torture") / (entry["file"] if entry else "")
    assert entry is not None
    target = tmp_path / ("out.jpg" if source.suffix == ".jpg" else "out.mp4")
    ended = Command(capsys).render(source, target, "--report", tmp_path / "report.json")
    record = read_record(tmp_path / "report.json")
    assert record.exit_code == ended.code
    if ended.code == 1:
        assert entry["kind"] not in ("ok", "ok-with-warning"), ended.complaint
        expect_refusal(ended, record, tmp_path)
        return
    assert entry["kind"] not in ("error", "error-or-passthrough")
    expect_decoded(seen, entry["truth"])
    expect_written(source, target, entry["truth"])
    expect_told(ended, record, entry)


def expect_decoded(seen: Seen, truth: dict[str, Any]) -> None:
    """The decoder's frames are upright, of the size that is meant, and of the right colours."""
    size = truth.get("upright") or truth.get("display") or truth.get("size") or truth.get("stored")
    height, width, _ = seen.pictures[0].shape
    assert [width, height] == (size or [width, height])
    assert (seen.infos[0].width, seen.infos[0].height) == (width, height)
    if "rgb" in truth:
        patches = [
            seen.pictures[0][8:24, i * 60 + 10 : i * 60 + 50].mean(axis=(0, 1)) for i in range(8)
        ]
        assert np.abs(np.array(patches) - truth["rgb"]).max() < 4  # the manifest's own tolerance
    if "fps" in truth:
        assert abs(float(seen.infos[0].rate) - truth["fps"]) < 0.01


def expect_written(source: Path, target: Path, truth: dict[str, Any]) -> None:
    """Every rule of verify holds, and count, times and sound are the manifest's."""
    broken = [verdict for verdict in compare(source, target, plan_of(target)) if not verdict.holds]
    assert not broken, broken
    written = read_contents(target)
    assert len(written.times_s) == truth.get("frames", len(written.times_s))
    if not written.is_timed:
        return
    if "pts_ms" in truth:
        assert [float(t) * 1000 for t in written.times_s] == pytest.approx(truth["pts_ms"])
    if "fps" in truth:
        # A clock of milliseconds may lengthen the last frame by one, and so the whole.
        count = len(written.times_s)
        length_s = count / Fraction(truth["fps"])
        assert abs(count * written.step_s - length_s) < Fraction(2, 1000)
    if "audio" in truth:
        assert len(written.tracks) == (0 if truth["audio"] is None else 1)
    expect_sound(written, truth)


def expect_sound(written: Contents, truth: dict[str, Any]) -> None:
    """Tracks, lengths and offsets, in the file that was written."""
    assert len(written.tracks) == truth.get("audio_tracks", len(written.tracks))
    for track in written.tracks:
        offset_s = float(track.times_s[0] - written.times_s[0])
        length_s = float(track.end_s - track.times_s[0])
        # an AAC packet before the sound warms up the decoder
        assert offset_s == pytest.approx(truth.get("audio_offset_s", offset_s), abs=0.03)
        assert length_s == pytest.approx(truth.get("audio_s", length_s), abs=0.06)
    if "video_s" in truth:
        shown_s = float(written.times_s[-1] + written.last_s - written.times_s[0])
        assert shown_s == pytest.approx(truth["video_s"], abs=0.001)


def expect_told(ended: Ended, record: Record, entry: dict[str, Any]) -> None:
    """What was lost is in the exit code, in the report and in the closing lines."""
    losses = record.run["losses"]
    assert ended.code == (3 if losses else 0)
    assert ended.said.count("lost: ") == len({loss["what"] for loss in losses})
    if entry["kind"] == "ok-with-warning":
        assert any(loss["stage"] == "decode" for loss in losses)
        assert "warning: " in ended.complaint
    if "faceless_frames" in entry["truth"]:
        faceless = [loss["frames"] for loss in losses if loss["what"].startswith("no face")]
        assert faceless == [entry["truth"]["faceless_frames"]]
    elif entry["truth"].get("faces", 0) >= 1:
        assert losses == []  # the turned phones among them: upright, every face is found
