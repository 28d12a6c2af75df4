"""The sample clips: what is performed, and the file it is written to."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

pytest.importorskip("numba", reason="needs the training extra")
pytest.importorskip("cv2", reason="needs the training extra")
pytest.importorskip("scipy", reason="needs the training extra")

from tpvideo.pipeline.errors import OutputError
from tpvideo.weights.training.heads.clip import RATE, ClipConfig, perform
from tpvideo.weights.training.heads.movie import Movie

SIDE = 64


def picture(level: int) -> np.ndarray:
    return np.full((SIDE, SIDE, 3), level, np.uint8)


def write(path: Path, levels: list[int], sound: np.ndarray | None = None) -> None:
    with Movie(path, SIDE, SIDE, RATE, crf=10, sound=sound) as movie:
        for level in levels:
            movie.show(picture(level))


def test_every_picture_arrives_in_order_with_its_brightness(tmp_path: Path) -> None:
    levels = [20, 60, 100, 140, 180, 220]
    write(tmp_path / "clip.mp4", levels)
    with av.open(str(tmp_path / "clip.mp4")) as container:
        frames = list(container.decode(video=0))
    assert [frame.time for frame in frames] == pytest.approx([i / RATE for i in range(6)])
    means = [frame.to_ndarray(format="rgb24").mean() for frame in frames]
    np.testing.assert_allclose(means, levels, atol=3)  # one rounding each way, and the codec


def test_colours_are_tagged_as_they_are_written(tmp_path: Path) -> None:
    write(tmp_path / "clip.mp4", [100])
    with av.open(str(tmp_path / "clip.mp4")) as container:
        context = container.streams.video[0].codec_context
        tags = (context.colorspace, context.color_primaries, context.color_trc)
    assert tags == (1, 1, 1)  # BT.709


def test_sound_lasts_as_long_as_the_pictures_and_keeps_its_place(tmp_path: Path) -> None:
    sound = np.zeros(48_000, np.float32)
    sound[24_000:28_800] = 0.5 * np.sin(np.arange(4_800) / 48_000 * 2 * np.pi * 440)
    write(tmp_path / "clip.mp4", [100] * RATE, sound)
    with av.open(str(tmp_path / "clip.mp4")) as container:
        heard = np.concatenate(
            [frame.to_ndarray()[0] for frame in container.decode(audio=0)], axis=0
        )
    loud = np.flatnonzero(np.abs(heard) > 0.25)
    assert abs(len(heard) - 48_000) <= 1024  # AAC's blocks
    assert loud[0] == pytest.approx(24_000, abs=1100)  # and its delay
    assert loud[-1] == pytest.approx(28_800, abs=1100)


def test_a_failed_clip_leaves_no_file(tmp_path: Path) -> None:
    movie = Movie(tmp_path / "clip.mp4", SIDE, SIDE, RATE, crf=10)
    with pytest.raises(RuntimeError, match="stopped"), movie:
        movie.show(picture(1))
        raise RuntimeError("stopped")
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot write .*nowhere"):
        Movie(tmp_path / "nowhere" / "clip.mp4", SIDE, SIDE, RATE, crf=10)


def test_a_performance_turns_the_head_about_its_neck_only() -> None:
    performance = perform(7, ClipConfig(seconds=2.0))
    assert len(performance.expressions) == len(performance.head_from_room) == 2 * RATE
    neck = np.array([0.0, -0.22, -0.08, 1.0])
    for motion in performance.head_from_room:
        np.testing.assert_allclose(motion @ neck, neck, atol=1e-12)
        np.testing.assert_allclose(motion[:3, :3] @ motion[:3, :3].T, np.eye(3), atol=1e-12)
    turns = [np.arctan2(-motion[0, 2], motion[0, 0]) for motion in performance.head_from_room]
    assert 0.1 < max(turns) - min(turns) < 0.9
    again = perform(7, ClipConfig(seconds=2.0))
    assert again.expressions == performance.expressions


def test_eyes_shut_fully_in_a_blink() -> None:
    performance = perform(7, ClipConfig(seconds=2.0))
    lids = [weights.get("eyeBlink_L", 0.0) for weights in performance.expressions]
    assert max(lids) == 1.0
    assert np.median(lids) == 0.0
