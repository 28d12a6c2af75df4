"""Pictures of a camera or a network stream, which may go away and come back."""

from __future__ import annotations

import logging
import queue
import re
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer

from tpvideo.pipeline.errors import InputError
from tpvideo.pipeline.frame import Decoded, Image, Stamp, StreamInfo
from tpvideo.stages.devices import Wish, list_cameras, open_camera, pick_camera
from tpvideo.stages.live import PATIENCE_S, TIME_BASE, LiveSource, now
from tpvideo.stages.media import expect_file
from tpvideo.stages.paced import PacedFile
from tpvideo.stages.upright import Upright

log = logging.getLogger(__name__)

STALLED_S = 5.0
"""A camera that gives no picture for so long is opened anew."""

CLOSE_S = 2.0
"""How long the driver of a camera that is let go may take to answer."""

RATE_FRAMES = 30
"""The true rate is measured over so many pictures: what a camera promises is often not kept."""

SCHEMES = ("rtsp://", "rtsps://", "rtmp://", "http://", "https://", "udp://", "rtp://", "srt://")


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
            if count == RATE_FRAMES:
                self.measured_rate = count / ((moment - begin) / 1e6)
                size = f"{upright.width}x{upright.height}"
                self.state = f"{self.name}: {size}, measured {self.measured_rate:.3g} fps"
                log.info("%s", self.state)
            yield moment, upright(frame)

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
        self._thread.join(timeout=CLOSE_S)
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
        name = re.sub("//[^/@]*@", "//", choice)  # a password is nobody else's business
        return CameraSource(name, lambda: av.open(choice, timeout=(10.0, STALLED_S)))
    if choice.startswith("/dev/"):
        return CameraSource(choice, lambda: open_camera(choice, wish))
    if choice != "auto" and not choice.isdecimal() and Path(choice).exists():
        expect_file(Path(choice))
        return PacedFile(choice, loop=loop)
    camera = pick_camera(choice, list_cameras())
    return CameraSource(
        f"{camera.name} ({camera.description})", lambda: open_camera(camera.name, wish)
    )
