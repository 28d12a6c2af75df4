"""An installed FFmpeg gives the same frames, times and colours as the standard decoder."""

from __future__ import annotations

import shutil
import subprocess
import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from films import read_all
from synthetic import read_number, write_clip

from tpvideo.pipeline.errors import InputError
from tpvideo.stages.decode import FileSource

pytest.importorskip("ffmpeg", reason="needs the extra tpvideo[ffmpeg]")
for program in ("ffmpeg", "ffprobe"):
    if shutil.which(program) is None:
        pytest.skip(f"needs the program {program}", allow_module_level=True)

CLIPS: dict[str, dict[str, Any]] = {
    "plain": {"options": {"bf": "3"}},
    "variable rate": {"pts": [0, 33, 50, 83, 983, 991], "time_base": Fraction(1, 1000)},
    "turned": {"rotation": (90, False, False)},
    "mirrored": {"rotation": (0, True, False)},
    "wide pixels": {"aspect": Fraction(4, 3)},
    "turned wide pixels": {"aspect": Fraction(4, 3), "rotation": (-90, False, False)},
    "full range": {"matrix": 5, "full_range": True, "tags": {"colorspace": 5, "color_range": 2}},
    "tagged 709": {"matrix": 1, "tags": {"colorspace": 1, "color_range": 1}},
    "untagged high definition": {"matrix": 1, "size": (1280, 720)},
    "deep": {"pixels": "yuv420p10le"},
    "with sound": {"sound": [(0.0, 0.2)]},
}


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
@pytest.mark.parametrize("case", CLIPS)
def test_both_decoders_agree_frame_by_frame(tmp_path: Path, case: str, suffix: str) -> None:
    clip = write_clip(tmp_path / f"-clip 100%{suffix}", 6, **CLIPS[case])
    info, expected = read_all(FileSource(clip))
    other_info, frames = read_all(FileSource(clip, decoder="ffmpeg"))
    assert other_info == info
    assert [frame.stamp for frame in frames] == [frame.stamp for frame in expected]
    for frame, other in zip(frames, expected, strict=True):
        assert frame.rgb.shape == other.rgb.shape
        difference = np.abs(frame.rgb.astype(int) - other.rgb.astype(int))
        # Rounding; for wide pixels a scaler before or after the conversion, on hard edges.
        assert difference.mean() < (3 if "wide" in case else 1.5)


def test_trim_works_with_an_installed_ffmpeg(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 30)
    _, frames = read_all(FileSource(clip, decoder="ffmpeg", trim=(0.4, 0.8)))
    assert [read_number(frame.rgb) for frame in frames] == list(range(10, 20))


def test_wide_colours_are_refused(tmp_path: Path) -> None:
    tags = {"colorspace": 9, "color_range": 1, "color_trc": 16, "color_primaries": 9}
    bright = write_clip(tmp_path / "hdr.mp4", 2, pixels="yuv420p10le", matrix=9, tags=tags)
    with pytest.raises(InputError, match="wide colours; use the decoder av"):
        FileSource(bright, decoder="ffmpeg").open()


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (40, 64, 96, 3), np.uint8)
    clip = write_clip(tmp_path / "clip.mkv", list(noise))
    content = bytearray(clip.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4000] = bytes(4000)
    clip.write_bytes(content)
    with pytest.raises(InputError, match="use the decoder av"):
        read_all(FileSource(clip, decoder="ffmpeg"))


@pytest.mark.parametrize("program", ["ffmpeg", "ffprobe"])
def test_a_missing_program_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 2)
    monkeypatch.setattr(shutil, "which", lambda name: None if name == program else name)
    with pytest.raises(InputError, match=f"no program {program} on the PATH; install FFmpeg or"):
        FileSource(clip, decoder="ffmpeg").open()


@pytest.mark.parametrize("taken", [0, 3, 300])
def test_closing_ends_the_process_wherever_reading_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: int
) -> None:
    started: list[subprocess.Popen[bytes]] = []

    class Noted(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *args: Any, **settings: Any) -> None:
            super().__init__(*args, **settings)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Noted)
    clip = write_clip(tmp_path / "clip.mp4", 300, size=(320, 240))
    threads = threading.active_count()
    source = FileSource(clip, decoder="ffmpeg")
    source.open()
    frames = iter(source)
    numbers = [next(frames).stamp.index for _ in range(taken)]
    reader = started[-1]
    assert numbers == list(range(taken))
    assert "rawvideo" in reader.args  # type: ignore[operator]
    assert reader.returncode is None
    source.close()
    assert reader.returncode is not None  # waited for: no zombie
    assert reader.stdout is not None and reader.stdout.closed
    assert threading.active_count() == threads
