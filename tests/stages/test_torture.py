"""The shared awkward files and real clips, held to their manifests by the decoder alone."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from films import frame_times, pass_through, sound_packets
from shared import ROOT, shared_path

from tpvideo.pipeline.errors import InputError
from tpvideo.pipeline.frame import Image, StreamInfo
from tpvideo.stages.decode import FileSource

COUNT = 54


@functools.cache
def manifest(folder: str) -> dict[str, dict[str, Any]]:
    content = json.loads(shared_path(f"clips/{folder}/manifest.json").read_text("utf-8"))
    return {entry["file"]: entry for entry in content["files"]}


@dataclass
class Reading:
    """What the decoder made of one file."""

    info: StreamInfo
    first: Image
    times: list[Fraction] = field(default_factory=list)
    shapes: set[tuple[int, ...]] = field(default_factory=set)
    notices: list[str] = field(default_factory=list)


def read(path: Path) -> Reading:
    source = FileSource(path)
    try:
        info = source.open()
        reading: Reading | None = None
        for frame in source:
            reading = reading or Reading(info, frame.rgb)
            reading.times.append(frame.stamp.pts * info.time_base)
            reading.shapes.add(frame.rgb.shape)
        assert reading is not None
        reading.notices = source.notices
        return reading
    finally:
        source.close()


def names() -> list[str]:
    path = ROOT.parent / "shared/clips/torture/manifest.json"
    return sorted(manifest("torture")) if path.exists() else ["(all)"]


@pytest.mark.parametrize("name", names())
def test_a_torture_file_is_as_its_manifest_says(name: str) -> None:
    path = shared_path("clips/torture") / name
    assert len(manifest("torture")) == COUNT
    assert complaint(path, manifest("torture")[name]) is None


def complaint(path: Path, entry: dict[str, Any]) -> str | None:
    """What is wrong with the way a file is read, or None."""
    if entry["kind"] == "error":
        try:
            read(path)
        except InputError as error:
            return None if "\n" not in str(error) and path.name in str(error) else str(error)
        return "was read, though it cannot be"
    truth, seen = entry["truth"], entry["observed_with_pyav"]
    reading = read(path)
    size = truth.get("upright") or truth.get("display") or truth.get("size") or truth.get("stored")
    if size is None:
        size = reading.info.width, reading.info.height
    if reading.shapes != {(size[1], size[0], 3)} or list(size) != [
        reading.info.width,
        reading.info.height,
    ]:
        return f"sizes {reading.shapes}, told {reading.info}"
    if any(later <= earlier for earlier, later in pairwise(reading.times)):
        return "times do not rise"
    return (
        count_complaint(reading, entry)
        or time_complaint(reading, truth, seen)
        or (patch_complaint(reading.first, truth["rgb"]) if "rgb" in truth else None)
    )


def count_complaint(reading: Reading, entry: dict[str, Any]) -> str | None:
    truth, count = entry["truth"], len(reading.times)
    if entry["kind"] == "ok-with-warning":
        most = truth.get("frames_claimed") or truth.get("frames_original")
        few = entry["observed_with_pyav"]["pyav_frames"]
        if not (few <= count < most and reading.notices):
            return f"{count} frames, notices {reading.notices}"
    elif count != truth.get("frames", 1):
        return f"{count} frames"
    return None


def time_complaint(reading: Reading, truth: dict[str, Any], seen: dict[str, Any]) -> str | None:
    first, last = float(reading.times[0]), float(reading.times[-1])
    if abs(first - seen["first_s"]) > 1e-6:
        return f"begins at {first}"
    if "frames" in truth and abs(last - seen["last_s"]) > 1e-6:
        return f"ends at {last}"
    if "pts_ms" in truth and [t * 1000 for t in reading.times] != truth["pts_ms"]:
        return f"times {reading.times}"
    if "fps" in truth and abs(float(reading.info.rate) - truth["fps"]) > 0.01:
        return f"rate {reading.info.rate}"
    return None


def patch_complaint(picture: Image, truth: list[list[int]]) -> str | None:
    means = [picture[8:24, i * 60 + 10 : i * 60 + 50].mean(axis=(0, 1)) for i in range(8)]
    off = np.abs(np.array(means) - truth).max()
    return f"patches off by {off:.1f}" if off > 4 else None  # the manifest's own tolerance


def test_the_three_colour_codings_give_the_same_picture() -> None:
    names = ("t25_bt601_full.mp4", "t26_bt709_limited.mp4", "t27_bt601_unflagged.mp4")
    pictures = [read(shared_path(f"clips/torture/{name}")).first.astype(int) for name in names]
    for picture in pictures[1:]:
        assert np.abs(picture - pictures[0]).mean() < 2  # encoded apart at crf 12


def test_turned_phones_show_the_same_upright_picture() -> None:
    names = [f"t01_rot{degrees}_matrix.mp4" for degrees in (90, 180, 270)]
    pictures = [read(shared_path(f"clips/torture/{name}")).first.astype(int) for name in names]
    for picture in pictures[1:]:
        assert np.abs(picture - pictures[0]).mean() < 3  # encoded apart at crf 28


@pytest.mark.parametrize(
    "name",
    [
        "t00_control.mp4",
        "t01_rot90_matrix.mp4",
        "t04_vfr_gap.mp4",
        "t05_start10s.mp4",
        "t06_start10s.ts",
        "t09_ntsc_2997.mkv",
        "t11_audio_longer.mp4",
        "t12_audio_shorter.mp4",
        "t13_audio_late.mp4",
        "t14_two_audio_tracks.mp4",
        "t15_opus.webm",
        "t36_one_frame.mp4",
        "t38_anim.gif",
        "t40_res_change.ts",
    ],
)
def test_a_film_passed_through_keeps_count_times_and_sound(tmp_path: Path, name: str) -> None:
    source, target = shared_path(f"clips/torture/{name}"), tmp_path / "out.mp4"
    times = read(source).times
    sink = pass_through(source, target)
    assert sink.notices == []
    written = frame_times(target)
    shift = times[0] - written[0]
    assert [time - shift for time in times] == written
    tracks = sum(
        kind.startswith("audio")
        for kind in manifest("torture")[name]["observed_with_pyav"]["streams"]
    )
    starts = [written[0]]
    for track in range(tracks):
        before, after = sound_packets(source, track), sound_packets(target, track)
        assert len(before[0]) == len(after[0])
        off = [abs(a - shift - b) for a, b in zip(before[0], after[0], strict=True)]
        assert max(off) <= Fraction(1, 44100)
        assert before[1] == after[1]
        starts.append(after[0][0])
    assert abs(min(starts)) < 0.03  # zero, or the warming up of the sound codec before it


@pytest.mark.slow
def test_every_public_clip_is_read_whole() -> None:
    for name, entry in manifest("public").items():
        reading = read(shared_path(f"clips/public/{name}"))
        assert len(reading.times) == entry["frames"], name
        assert reading.shapes == {(entry["height"], entry["width"], 3)}, name
        assert reading.notices == [], name
