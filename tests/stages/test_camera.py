"""Live sources: films at their own pace, cameras that come and go."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from parts import Event
from PIL import Image as Pillow
from synthetic import read_number, write_clip

from tpvideo.pipeline.errors import ConfigError, InputError
from tpvideo.stages import camera, devices
from tpvideo.stages.camera import CameraSource, open_live
from tpvideo.stages.devices import Camera, Wish, open_camera, pick_camera
from tpvideo.stages.live import TIME_BASE, LiveSource, now
from tpvideo.stages.paced import PacedFile


def taken(source: LiveSource, most: int) -> list[Any]:
    """Open, take so many pictures, close."""
    frames = []
    try:
        source.open()
        for frame in source:
            frames.append(frame)
            if len(frames) == most:
                break
    finally:
        source.close()
    return frames


# --- films ------------------------------------------------------------------------------------


def test_a_film_plays_at_its_own_pace_under_the_clock_on_the_wall(tmp_path: Path) -> None:
    source = PacedFile(write_clip(tmp_path / "talk.mp4", 8, rate=25))
    begins: list[int] = []
    source.on_begin = lambda moment, film_s: begins.append(moment)
    frames = taken(source, 100)
    assert [read_number(frame.rgb) for frame in frames] == list(range(8))
    assert [frame.stamp.index for frame in frames] == list(range(8))
    times = [frame.stamp.pts for frame in frames]
    (begin,) = begins
    # The n-th comes no sooner than n frames after the beginning, and is stamped as it comes.
    assert all(time - begin >= 40_000 * n - 10 for n, time in enumerate(times))  # microseconds
    assert times == sorted(times) and times[-1] <= now()


def test_a_film_can_begin_again_and_its_times_go_on(tmp_path: Path) -> None:
    source = PacedFile(write_clip(tmp_path / "talk.mp4", 3, rate=50), loop=True)
    frames = taken(source, 7)
    assert [read_number(frame.rgb) for frame in frames] == [0, 1, 2, 0, 1, 2, 0]
    times = [frame.stamp.pts for frame in frames]
    assert times == sorted(set(times))
    assert [frame.stamp.index for frame in frames] == list(range(7))


def test_a_film_that_waits_for_its_next_picture_sees_that_the_run_is_over(tmp_path: Path) -> None:
    source = PacedFile(write_clip(tmp_path / "gap.mp4", 2, rate=25, pts=[0, 25 * 600]))
    is_over = threading.Event()
    source.is_over = is_over.is_set
    source.open()
    frames = iter(source)
    next(frames)
    is_over.set()
    assert list(frames) == []  # within half a second, not in ten minutes
    source.close()


def test_a_live_film_has_no_known_end_and_ticks_in_microseconds(tmp_path: Path) -> None:
    source = PacedFile(write_clip(tmp_path / "talk.mp4", 3))
    info = source.open()
    source.close()
    assert (info.frames, info.time_base, info.rate) == (None, TIME_BASE, 25)


def test_a_photograph_is_no_camera(tmp_path: Path) -> None:
    Pillow.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "me.png")
    with pytest.raises(InputError, match="does not move"):
        PacedFile(tmp_path / "me.png").open()


# --- cameras ----------------------------------------------------------------------------------


def bars(frames: int) -> Any:
    """FFmpeg's test picture as a device that ends."""
    return av.open(f"testsrc=size=64x48:rate=30,trim=end_frame={frames}", format="lavfi")


def test_a_camera_that_goes_away_is_waited_for_and_picked_up_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tries: list[str] = []

    def open_device() -> Any:
        tries.append("try")
        if len(tries) in (2, 3):  # unplugged
            raise av.error.FileNotFoundError(2, "No such file or directory", "/dev/video0")
        return bars(4)

    frames = taken(CameraSource("the camera", open_device, retry_s=0.01), 8)
    assert [frame.stamp.index for frame in frames] == list(range(8))
    assert frames[0].rgb.shape == (48, 64, 3)
    assert len(tries) == 4
    told = [record.getMessage() for record in caplog.records if record.name.endswith("camera")]
    assert told == [
        "the camera gives no more pictures; waiting for its return",
        "the camera is back",
    ]


def test_while_a_camera_is_away_the_run_can_end() -> None:
    opened = Event()

    def open_device() -> Any:
        if opened.is_set():
            raise OSError(19, "No such device")
        opened.set()
        return bars(2)

    source = CameraSource("the camera", open_device, retry_s=60.0)
    source.open()
    frames = iter(source)
    assert [next(frames).stamp.index, next(frames).stamp.index] == [0, 1]
    asked = []

    def is_over() -> bool:
        asked.append(source.state)
        return "gone" in source.state

    source.is_over = is_over
    assert list(frames) == []
    assert asked[-1] == "the camera is gone: waiting for it"
    source.close()


def test_a_camera_that_is_not_there_at_first_is_an_error_with_a_way_out() -> None:
    with pytest.raises(InputError, match="--list-cameras"):
        open_live("/dev/video97").open()


def test_the_rate_is_measured_because_what_is_promised_is_often_not_kept() -> None:
    source = CameraSource("the camera", lambda: bars(camera.RATE_FRAMES + 2))
    source.open()
    assert "promises 30 fps" in source.state
    frames = iter(source)
    moments = [next(frames).stamp.pts for _ in range(camera.RATE_FRAMES + 1)]
    assert source.measured_rate == pytest.approx(
        camera.RATE_FRAMES * 1e6 / (moments[-1] - moments[0])
    )
    assert "measured" in source.state
    source.close()


def test_a_driver_that_sleeps_for_ever_does_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asleep, wake = Event(), Event()

    def decode(**_: Any) -> Iterator[Any]:
        asleep.set()
        wake.wait()
        yield from ()

    context = SimpleNamespace(width=64, height=48)
    stream = SimpleNamespace(average_rate=30, guessed_rate=30, codec_context=context)
    streams = SimpleNamespace(video=[stream])
    device = SimpleNamespace(streams=streams, decode=decode, close=lambda: None)
    monkeypatch.setattr(camera, "CLOSE_S", 0.05)
    source = CameraSource("the camera", lambda: device)  # type: ignore[arg-type, return-value]
    source.open()
    source.is_over = lambda: asleep.is_set()
    assert list(source) == []
    source.close()
    assert "does not answer" in caplog.text
    wake.set()


CAMERAS = [
    Camera("/dev/video0", "Integrated Camera"),
    Camera("/dev/video2", "Logitech BRIO"),
]


@pytest.mark.parametrize(
    ("choice", "name"),
    [
        ("auto", "/dev/video0"),
        ("0", "/dev/video0"),
        ("2", "/dev/video2"),
        ("brio", "/dev/video2"),
        ("/dev/video2", "/dev/video2"),
    ],
)
def test_a_camera_is_chosen_by_number_or_part_of_its_name(choice: str, name: str) -> None:
    assert pick_camera(choice, CAMERAS).name == name


def test_a_number_counts_where_names_have_none() -> None:
    cameras = [Camera("FaceTime HD", "FaceTime HD"), Camera("OBS", "OBS")]
    assert pick_camera("1", cameras).name == "OBS"


def test_an_unknown_camera_is_told_with_those_there_are() -> None:
    with pytest.raises(InputError, match="Logitech BRIO"):
        pick_camera("elgato", CAMERAS)
    with pytest.raises(InputError, match="a film's path works"):
        pick_camera("auto", [])


def test_mjpeg_is_asked_for_first_and_a_camera_that_refuses_is_taken_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[dict[str, str]] = []

    def refuse_all_wishes(name: str, *, format: str, options: dict[str, str]) -> str:
        asked.append(options)
        if options:
            raise av.error.ArgumentError(22, "Invalid argument", name)
        return f"{format} {name}"

    monkeypatch.setattr(av, "open", refuse_all_wishes)
    monkeypatch.setattr(devices.sys, "platform", "linux")
    assert open_camera("/dev/video0", Wish(width=640, height=480, rate=25)) == "v4l2 /dev/video0"
    plain = {"video_size": "640x480", "framerate": "25"}
    assert asked == [plain | {"input_format": "mjpeg"}, plain, {}]


@pytest.mark.parametrize("wrong", [{"width": 3}, {"height": 10_000}, {"rate": 0}])
def test_nonsense_is_not_asked_of_a_camera(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="camera-"):
        Wish(**wrong)


def test_a_stream_by_its_address_is_a_camera() -> None:
    source = open_live("rtsp://me:secret@127.0.0.1:9/none")
    assert isinstance(source, CameraSource)
    with pytest.raises(InputError, match=r"rtsp://127\.0\.0\.1:9/none") as caught:
        source.open()
    assert "secret" not in str(caught.value)
