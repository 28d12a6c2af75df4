"""Live sound: a microphone, or the sound of the film that plays as the camera."""

from __future__ import annotations

import logging
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer

from tpvideo.pipeline.errors import InputError
from tpvideo.stages.captured_sound import GAP_S, RATE, Samples
from tpvideo.stages.live import PATIENCE_S, TIME_BASE, now
from tpvideo.stages.media import open_media

log = logging.getLogger(__name__)

FORMATS = {"linux": "alsa", "darwin": "avfoundation", "win32": "dshow"}
"""FFmpeg's name of the system's microphones."""

DEFAULTS = {"linux": "default", "darwin": ":default"}
"""The system's own choice; DirectShow has none that can be named."""

CLOSE_S = 2.0

Listener = Callable[[int, Samples], object]
"""Takes the moment of the first sample, in ticks of live.TIME_BASE, and samples [N, 2] at RATE."""


class LiveSound(ABC):
    """Sound that comes by itself, from `open` to `close`, in a thread of its own."""

    def __init__(self) -> None:
        self._listeners: tuple[Listener, ...] = ()
        self._is_over = threading.Event()
        # A daemon: one that sleeps in a driver for ever must not keep the program alive.
        self._thread = threading.Thread(target=self._read, name="tpvideo-sound", daemon=True)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Tell somebody all that is heard from now on; returns what ends that."""
        self._listeners = (*self._listeners, listener)

        def leave() -> None:
            self._listeners = tuple(other for other in self._listeners if other is not listener)

        return leave

    def open(self) -> None:
        """Begin to listen.

        Raises:
            InputError: there is no such microphone.
        """
        self._thread.start()

    def close(self) -> None:
        """Listen no more."""
        self._is_over.set()
        if self._thread.is_alive():
            self._thread.join(CLOSE_S)

    @abstractmethod
    def _read(self) -> None:
        """In the thread, until self._is_over is set."""

    def _tell(self, moment: int, frame: av.AudioFrame) -> None:
        samples = frame.to_ndarray().reshape(-1, 2).astype(np.int16, copy=False)
        for listener in self._listeners:
            listener(moment, samples)


class Microphone(LiveSound):
    """A microphone of this machine.

    Args:
        name: FFmpeg's name of the device; None is the system's own choice.
        open_device: opens it.
    """

    def __init__(
        self, name: str | None = None, open_device: Callable[[], InputContainer] | None = None
    ) -> None:
        super().__init__()
        self.name = name or DEFAULTS.get(sys.platform, "")
        self._open_device = open_device or (lambda: open_microphone(self.name))
        self._container: InputContainer | None = None

    def open(self) -> None:
        """See LiveSound."""
        try:
            self._container = self._open_device()
        except (av.error.FFmpegError, OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise InputError(f"the microphone {self.name}", reason) from error
        super().open()

    def close(self) -> None:
        """See LiveSound; a driver that never answers keeps its device."""
        super().close()
        if self._container is not None and not self._thread.is_alive():
            self._container.close()
            self._container = None

    def _read(self) -> None:
        assert self._container is not None
        resampler = _resampler()
        due: int | None = None  # when the next sample is to be, by the count of those before
        try:
            for frame in self._container.decode(audio=0):
                for piece in resampler.resample(frame):
                    length = round(piece.samples / (RATE * TIME_BASE))
                    heard = now() - length
                    if due is None or abs(heard - due) > GAP_S / TIME_BASE:
                        due = heard
                    self._tell(due, piece)
                    due += length
                if self._is_over.is_set():
                    return
        except (av.error.FFmpegError, OSError) as error:
            log.warning("the microphone %s gives no more sound: %s", self.name, error)


class FilmSound(LiveSound):
    """The first sound track of a film, heard as the film plays; silence where it has none.

    Args:
        path: of the film.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._begun: tuple[int, Fraction] | None = None
        self._is_begun = threading.Event()

    def begin(self, moment: int, film_s: Fraction) -> None:
        """The film shows, at a moment, its picture of film_s (seconds on its own clock)."""
        self._begun = (moment, film_s)
        self._is_begun.set()

    def close(self) -> None:
        """See LiveSound."""
        self._is_over.set()
        self._is_begun.set()
        super().close()

    def _read(self) -> None:
        while not self._is_over.is_set():
            self._is_begun.wait()
            self._is_begun.clear()
            if self._begun is not None:
                self._play(*self._begun)

    def _play(self, begun: int, film_s: Fraction) -> None:
        """From the film's first sound until its end, its next beginning, or `close`."""
        with open_media(self.path) as film:
            if not film.streams.audio:
                return
            resampler = _resampler()
            for frame in film.decode(audio=0):
                heard_s = Fraction(frame.pts or 0) * (frame.time_base or 1)
                moment = begun + round((heard_s - film_s) / TIME_BASE)
                for piece in resampler.resample(frame):
                    length = round(piece.samples / (RATE * TIME_BASE))
                    if not self._wait_until(moment + length):
                        return
                    self._tell(moment, piece)
                    moment += length

    def _wait_until(self, moment: int) -> bool:
        """Wait for a moment; False when the film is over or begins again before it comes."""
        while (left_s := float((moment - now()) * TIME_BASE)) > 0:
            if self._is_over.wait(min(left_s, PATIENCE_S)) or self._is_begun.is_set():
                return False
        return not self._is_over.is_set()


def open_microphone(name: str) -> InputContainer:
    """Open a microphone of this system.

    Raises:
        av.error.FFmpegError: it cannot be opened.
    """
    kind = FORMATS.get(sys.platform, "alsa")
    device = {
        "avfoundation": name if name.startswith(":") else f":{name}",
        "dshow": f"audio={name}",
    }
    return av.open(device.get(kind, name), format=kind)


def _resampler() -> av.AudioResampler:
    return av.AudioResampler(format="s16", layout="stereo", rate=RATE)
