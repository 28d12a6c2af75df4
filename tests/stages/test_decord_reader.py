"""The optional decoder gives the same frames, times and colours as the standard one."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from films import read_all
from synthetic import read_number, write_clip

from tpvideo.pipeline.errors import InputError
from tpvideo.stages.decode import FileSource

pytest.importorskip("decord", reason="needs the extra tpvideo[decord]")

CLIPS: dict[str, dict[str, Any]] = {
    "plain": {"options": {"bf": "3"}},
    "variable rate": {"pts": [0, 33, 50, 83, 983, 991], "time_base": Fraction(1, 1000)},
    "turned": {"rotation": (90, False, False)},
    "wide pixels": {"aspect": Fraction(4, 3)},
    "turned wide pixels": {"aspect": Fraction(4, 3), "rotation": (-90, False, False)},
    "full range": {"matrix": 5, "full_range": True, "tags": {"colorspace": 5, "color_range": 2}},
    "tagged 709": {"matrix": 1, "tags": {"colorspace": 1, "color_range": 1}},
    "untagged high definition": {"matrix": 1, "size": (1280, 720)},
    "deep": {"pixels": "yuv420p10le"},
}


@pytest.mark.parametrize("case", CLIPS)
def test_both_decoders_agree_frame_by_frame(tmp_path: Path, case: str) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 6, **CLIPS[case])
    info, expected = read_all(FileSource(clip))
    other_info, frames = read_all(FileSource(clip, decoder="decord"))
    assert other_info == info
    assert [frame.stamp for frame in frames] == [frame.stamp for frame in expected]
    for frame, other in zip(frames, expected, strict=True):
        assert frame.rgb.shape == other.rgb.shape
        difference = np.abs(frame.rgb.astype(int) - other.rgb.astype(int))
        # Rounding; for wide pixels a scaler before or after the conversion, on hard edges.
        assert difference.mean() < (3 if "wide" in case else 1.5)


def test_trim_works_with_the_other_decoder(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 30)
    _, frames = read_all(FileSource(clip, decoder="decord", trim=(0.4, 0.8)))
    assert [read_number(frame.rgb) for frame in frames] == list(range(10, 20))


def test_files_that_decord_would_misread_are_refused(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.ts", 6)
    with pytest.raises(InputError, match="misplaces frames of mpegts files; use the decoder av"):
        FileSource(clip, decoder="decord").open()
    tags = {"colorspace": 9, "color_range": 1, "color_trc": 16, "color_primaries": 9}
    bright = write_clip(tmp_path / "hdr.mp4", 2, pixels="yuv420p10le", matrix=9, tags=tags)
    with pytest.raises(InputError, match="wide colours; use the decoder av"):
        FileSource(bright, decoder="decord").open()
