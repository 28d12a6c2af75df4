"""Live pictures: a camera, a network stream, or a film that plays at its own pace.

A live source's pts is the moment a picture was taken, in ticks of TIME_BASE on `now`'s clock, so
that anybody further down can tell a picture's age.
"""

from __future__ import annotations

import logging
import queue
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
from av.container import InputContainer

from tpvideo.pipeline.errors import ConfigError, InputError
from tpvideo.pipeline.frame import Decoded, Image, Stamp, StreamInfo
from tpvideo.stages.decode import FileSource
from tpvideo.stages.media import expect_file
from tpvideo.stages.upright import Upright

log = logging.getLogger(__name__)

TIME_BASE = Fraction(1, 1_000_000)
"""Seconds per tick of every live source."""

PATIENCE_S = 0.5
"""How long a live source waits before it looks whether it is to go on."""

STALLED_S = 5.0
"""A camera that gives no picture for so long is opened anew."""

RATE_FRAMES = 30
"""The true rate is measured over so many pictures: what a camera promises is often not kept."""

FORMATS = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}
"""FFmpeg's name of the system's cameras."""

SCHEMES = ("rtsp://", "rtsps://", "rtmp://", "http://", "https://", "udp://", "rtp://", "srt://")


def now() -> int:
    """This moment in ticks of TIME_BASE; only differences mean anything."""
    return time.monotonic_ns() // 1000


def age_s(pts: int) -> float:
    """Seconds since the moment of a live picture's pts."""
    return (now() - pts) / 1e6


class Camera(NamedTuple):
    """A camera of this machine."""

    name: str
    """What FFmpeg opens, such as /dev/video0."""
    description: str
    """What a person calls it."""


def list_cameras() -> list[Camera]:
    """The cameras of this machine, the system's first choice first.

    Raises:
        InputError: this system's cameras cannot be listed.
    """
    kind = FORMATS.get(sys.platform)
    if kind is None:
        raise InputError("the cameras", f"there is no way to list them on {sys.platform}")
    try:
        found = av.enumerate_input_devices(kind)
    except (av.error.FFmpegError, ValueError) as error:
        raise InputError("the cameras", str(error).splitlines()[0]) from error
    return [
        Camera(device.name, device.description)
        for device in found
        if "video" in getattr(device, "media_types", ["video"]) or not device.media_types
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a camera is asked for; it may give something else."""

    width: int = 1280
    height: int = 720
    rate: int = 30

    def __post_init__(self) -> None:
        if not (16 <= self.width <= 7680 and 16 <= self.height <= 4320):
            raise ConfigError(f"camera-size must be 16x16 to 7680x4320, got {self}")
        if not 1 <= self.rate <= 240:
            raise ConfigError(f"camera-rate must be 1 to 240, got {self.rate}")

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


class LiveSource(ABC):
    """What all live sources have in common: they ask `is_over` at least once a second."""

    def __init__(self) -> None:
        self.is_over: Callable[[], bool] = lambda: False
        """Whether to stop waiting; whoever runs the source puts Pipeline.is_stopping here."""
        self.state = "starting"
        """What the source is doing, for people."""

    @abstractmethod
    def open(self) -> StreamInfo:
        """See pipeline.stage.Source; time is in ticks of TIME_BASE."""

    @abstractmethod
    def __iter__(self) -> Iterator[Decoded]:
        """Pictures as they come, until there are no more or `is_over` says so."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what open acquired."""

    def _wait(self, seconds: float) -> bool:
        """Wait; False as soon as there is nothing to wait for any more."""
        until_s = time.monotonic() + seconds
        while not self.is_over():
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                return True
            time.sleep(min(left_s, PATIENCE_S))
        return False


class PacedFile(LiveSource):
    """A film as a camera: every picture comes when it is its turn, as long as the film lasts.

    Args:
        path: the film.
        loop: begin again at its end, for ever.
    """

    def __init__(self, path: str | Path, *, loop: bool = False) -> None:
        super().__init__()
        self.path = Path(path)
        self._loop = loop
        self._film = FileSource(self.path)

    def open(self) -> StreamInfo:
        """Describe the film.

        Raises:
            InputError: it cannot be read as a film.
        """
        self._info = self._film.open()
        if self._info.still:
            raise InputError(self.path, "a photograph does not move; pass a film or a camera")
        return replace(self._info, time_base=TIME_BASE, frames=None)

    def __iter__(self) -> Iterator[Decoded]:
        index = 0
        self.state = f"playing {self.path.name}"
        while True:
            start, first_pts = now(), None
            for frame in self._film:
                first_pts = frame.stamp.pts if first_pts is None else first_pts
                due_s = float((frame.stamp.pts - first_pts) * self._info.time_base)
                if not self._wait(due_s - age_s(start)):
                    return
                yield Decoded(Stamp(index, now()), frame.rgb)
                index += 1
            if not self._loop or not self._wait(float(1 / self._info.rate)):
                return
            self._film.close()
            self._film = FileSource(self.path)
            self._film.open()

    def close(self) -> None:
        """Close the film."""
        self._film.close()


class CameraSource(LiveSource):
    """A camera or a network stream; one that goes away is waited for and picked up again.

    A thread of its own reads the device, for a driver may sleep in a read; of what it reads only
    the newest few pictures are kept, undecoded into RGB.

    Args:
        name: for messages.
        open_device: opens the camera; called again after every loss.
        retry_s: how long to wait before each try to get a lost camera back.
    """

    def __init__(
        self, name: str, open_device: Callable[[], InputContainer], *, retry_s: float = 1.0
    ) -> None:
        super().__init__()
        self.name = name
        self.measured_rate: float | None = None
        """Pictures a second over the first RATE_FRAMES since the camera was (re)opened."""
        self._open_device = open_device
        self._retry_s = retry_s
        self._reader: _Reader | None = None

    def open(self) -> StreamInfo:
        """Open the camera and describe what it promises.

        Raises:
            InputError: it cannot be opened.
        """
        self._reader = _Reader(self._opened())
        stream = self._reader.container.streams.video[0]
        rate = stream.average_rate or stream.guessed_rate or Fraction(30)
        context = stream.codec_context
        self.state = (
            f"{self.name}: {context.width}x{context.height}, promises {float(rate):.3g} fps"
        )
        return StreamInfo(context.width, context.height, Fraction(rate), TIME_BASE, frames=None)

    def __iter__(self) -> Iterator[Decoded]:
        index = 0
        while not self.is_over():
            if self._reader is None and not self._return():
                continue
            for moment, picture in self._pictures():
                yield Decoded(Stamp(index, moment), picture)
                index += 1
            self._let_go()
            if not self.is_over():
                self.state = f"{self.name} is gone: waiting for it"
                log.warning("%s gives no more pictures; waiting for its return", self.name)

    def close(self) -> None:
        """Let the camera go."""
        self._let_go()

    def _opened(self) -> InputContainer:
        try:
            container = self._open_device()
        except (av.error.FFmpegError, OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise InputError(
                self.name, f"{reason}; 'tpvideo live --list-cameras' shows which there are"
            ) from error
        if not container.streams.video:
            container.close()
            raise InputError(self.name, "it gives no pictures")
        return container

    def _return(self) -> bool:
        """Try once, after a while, to get the camera back."""
        if not self._wait(self._retry_s):
            return False
        try:
            self._reader = _Reader(self._opened())
        except InputError as error:
            log.debug("%s", error)
            return False
        log.warning("%s is back", self.name)
        return True

    def _pictures(self) -> Iterator[tuple[int, Image]]:
        """Moments and pictures until the camera is lost or the run is over."""
        assert self._reader is not None
        upright: Upright | None = None
        begin = 0
        for count, (moment, frame) in enumerate(self._reader.frames(self.is_over)):
            if upright is None:
                upright = Upright(frame, None)
                begin = moment
            yield moment, upright(frame)
            if count == RATE_FRAMES:
                self.measured_rate = count / ((moment - begin) / 1e6)
                size = f"{upright.width}x{upright.height}"
                self.state = f"{self.name}: {size}, measured {self.measured_rate:.3g} fps"
                log.info("%s", self.state)

    def _let_go(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None


class _Reader:
    """Reads an opened device in a thread and hands over its frames with their moments."""

    def __init__(self, container: InputContainer) -> None:
        self.container = container
        self._frames: queue.Queue[tuple[int, av.VideoFrame] | None] = queue.Queue(maxsize=2)
        self._is_over = threading.Event()
        # A daemon: one that sleeps in a driver for ever must not keep the program alive.
        self._thread = threading.Thread(target=self._read, name="tpvideo-camera", daemon=True)
        self._thread.start()

    def frames(self, is_over: Callable[[], bool]) -> Iterator[tuple[int, av.VideoFrame]]:
        """Frames as they come, until the device ends, stalls, or `is_over` says so."""
        waited_s = 0.0
        while waited_s < STALLED_S and not is_over():
            try:
                found = self._frames.get(timeout=PATIENCE_S)
            except queue.Empty:
                waited_s += PATIENCE_S
                continue
            if found is None:
                return
            waited_s = 0.0
            yield found

    def close(self) -> None:
        """End the thread and close the device, unless its driver never answers."""
        self._is_over.set()
        self._thread.join(timeout=2.0)
        if self._thread.is_alive():
            log.warning("the camera's driver does not answer; it is left open")
        else:
            self.container.close()

    def _read(self) -> None:
        try:
            for frame in self.container.decode(video=0):
                self._hand_over((now(), frame))
                if self._is_over.is_set():
                    return
        except (av.error.FFmpegError, OSError) as error:
            log.debug("reading ended: %s", error)
        self._hand_over(None)

    def _hand_over(self, item: tuple[int, av.VideoFrame] | None) -> None:
        while not self._is_over.is_set():
            try:
                self._frames.put(item, timeout=PATIENCE_S)
            except queue.Full:
                continue
            return


def open_live(choice: str, wish: Wish | None = None, *, loop: bool = False) -> LiveSource:
    """The live source that a setting names; nothing is opened yet.

    Args:
        choice: auto (the first camera), a number, a camera's name or part of it, /dev/videoN, a
            URL, or a film's path.
        wish: what to ask of a camera.
        loop: play a film again and again.

    Raises:
        InputError: there is no such camera, or no camera at all.
    """
    wish = wish or Wish()
    if choice.lower().startswith(SCHEMES):
        return CameraSource(choice, lambda: av.open(choice, timeout=(10.0, STALLED_S)))
    if choice.startswith("/dev/"):
        return CameraSource(choice, lambda: open_camera(choice, wish))
    if choice != "auto" and not choice.isdecimal() and Path(choice).exists():
        expect_file(Path(choice))
        return PacedFile(choice, loop=loop)
    camera = pick_camera(choice, list_cameras())
    return CameraSource(
        f"{camera.name} ({camera.description})", lambda: open_camera(camera.name, wish)
    )


def pick_camera(choice: str, cameras: list[Camera]) -> Camera:
    """The camera that `auto`, a number from 0, or a part of a name stands for.

    Raises:
        InputError: none, with the names of those there are.
    """
    if choice.isdecimal():
        on_linux = [camera for camera in cameras if camera.name == f"/dev/video{choice}"]
        fitting = on_linux or cameras[int(choice) : int(choice) + 1]
    elif choice == "auto":
        fitting = cameras[:1]
    else:
        wanted = choice.lower()
        fitting = [
            camera
            for camera in cameras
            if wanted in camera.name.lower() or wanted in camera.description.lower()
        ]
    if fitting:
        return fitting[0]
    known = ", ".join(f"{name} ({description})" for name, description in cameras)
    reason = f"there are {known}" if known else "this machine shows none"
    raise InputError(
        f"camera {choice}", f"no such camera: {reason}; a film's path works as a camera too"
    )


def open_camera(name: str, wish: Wish) -> InputContainer:
    """Open a camera of this system: as wished and with MJPEG, else as it likes.

    USB has no room for full rates of raw pictures, so MJPEG is asked for first.

    Raises:
        av.error.FFmpegError: it cannot be opened in any way.
    """
    kind = FORMATS.get(sys.platform, "v4l2")
    device = f"video={name}" if kind == "dshow" else name
    asked = {"video_size": str(wish), "framerate": str(wish.rate)}
    ways = [asked, {}]
    if kind == "v4l2":
        ways.insert(0, asked | {"input_format": "mjpeg"})
    for options in ways[:-1]:
        try:
            return av.open(device, format=kind, options=options)
        except av.error.FFmpegError as error:
            log.debug("%s refuses %s: %s", name, options, error)
    return av.open(device, format=kind, options=ways[-1])
