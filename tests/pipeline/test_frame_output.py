"""`--output frame` from the settings to the file: whole runs with the smallest network."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import av
import interrupted
import numpy as np
import pytest
from films import frame_times, sound_packets
from interrupted import LOST, film, render
from PIL import Image as Pillow

from tpvideo.pipeline.config import Settings
from tpvideo.pipeline.errors import ConfigError
from tpvideo.pipeline.frame import Image

FRAMES = 24
WHOLE: dict[str, Any] = {
    "layout": "frame", "view": "follow", "yaw_rad": 0.3, "matting": "none", "crf": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film(tmp_path_factory.mktemp("film") / "talk.mp4", FRAMES)


def pictures_of(path: Path) -> list[Image]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_the_film_has_the_sources_size_time_and_sound(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    report = render(source, target, **WHOLE)
    assert [timing.stage for timing in report.timings] == [
        "decode", "nomatting", "face", "room", "invert", "render", "encode",
    ]  # fmt: skip
    before, after = pictures_of(source), pictures_of(target)
    assert [picture.shape for picture in after] == [(64, 96, 3)] * FRAMES
    assert frame_times(target) == frame_times(source)
    assert sound_packets(target)[1] == sound_packets(source)[1]
    changes = [
        np.abs(one.astype(int) - other).mean() for one, other in zip(before, after, strict=True)
    ]
    lost = [changes[number] for number in LOST]
    assert max(lost) < 3  # the codec's
    assert min(changes[: LOST.start]) > 2 * max(lost)  # noise is no head: it is drawn as something


def test_the_confidence_is_in_the_account(source: Path, tmp_path: Path) -> None:
    report = render(source, tmp_path / "out.mp4", **WHOLE)
    (gauge,) = report.gauges
    assert gauge.name == "confidence" and gauge.frames == FRAMES - len(LOST)
    assert report.told_gauges()[0].startswith("confidence: median 0.")
    assert {loss.what for loss in report.losses} == {"no face: the source is shown"}


def test_a_room_of_its_own_stands_behind_a_crop_too(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    report = render(source, target, **{**WHOLE, "layout": "crop", "background": "source"})
    assert "room" in [timing.stage for timing in report.timings]
    assert pictures_of(target)[0].shape == (64, 64, 3)


def test_a_photograph_keeps_its_size(tmp_path: Path, source: Path) -> None:
    photo, target = tmp_path / "me.png", tmp_path / "turned.png"
    Pillow.fromarray(pictures_of(source)[0][:, :95]).save(photo)
    render(photo, target, **WHOLE)
    with Pillow.open(target) as picture:
        assert picture.size == (95, 64)


@pytest.mark.slow
def test_a_killed_run_is_continued_to_the_very_same_film(source: Path, tmp_path: Path) -> None:
    undisturbed, target = tmp_path / "undisturbed.mp4", tmp_path / "out.mp4"
    render(source, undisturbed, **WHOLE)
    settings = json.dumps(WHOLE)
    killed = interrupted.run(source, target, "--at", "14", "--settings", settings)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    report = render(source, target, resume=True, **WHOLE)
    assert report.earlier_frames == 6
    for one, other in zip(pictures_of(undisturbed), pictures_of(target), strict=True):
        np.testing.assert_array_equal(one, other)
    (gauge,) = report.gauges
    assert gauge.frames == FRAMES - len(LOST)  # those of the killed run too


def test_another_background_is_refused() -> None:
    with pytest.raises(ConfigError, match="output frame keeps the source's own room; leave out"):
        Settings(layout="frame", background="white")
    with pytest.raises(ConfigError, match="min-confidence must be 0 to 1, got 2"):
        Settings(min_confidence=2)
