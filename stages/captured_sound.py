"""Sound that is taken down while pictures are recorded, on the clock of a live source."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from numpy.typing import NDArray

from tpvideo.stages.live import TIME_BASE
from tpvideo.stages.media import file_url
from tpvideo.stages.sound import BIT_RATE, Sound, Timed

RATE = 48_000
"""Samples a second of all live sound."""

GAP_S = 0.1
"""Silence is left where a piece comes so much later than the end of the last."""

Samples = NDArray[np.int16]


class CapturedSound(Sound):
    """What a microphone gives, beside pictures with the same clock.

    Pieces go to a hidden file as AAC; when the pictures are all there, those from the first
    picture's moment to the last's end are copied beside them.

    Args:
        path: of the hidden file, in a folder that exists.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, None)
        self._path = path
        self._format = "mp4"
        self._lock = threading.Lock()
        self._out: OutputContainer | None = None
        self._stream: AudioStream | None = None
        self._origin: int | None = None  # the moment of the hidden file's first sample
        self._written = 0  # samples since then

    def open(self, container_format: str) -> None:
        """Begin the hidden file."""
        self._format = container_format
        self._out = av.open(file_url(self._path), "w", format="mp4")
        stream = self._out.add_stream("aac", rate=RATE)
        assert isinstance(stream, AudioStream)
        stream.layout, stream.bit_rate = "stereo", BIT_RATE
        self._stream = stream

    def take(self, moment: int, samples: Samples) -> None:
        """Write a piece; from any thread.

        Args:
            moment: of its first sample, in ticks of live.TIME_BASE.
            samples: [N, 2] at RATE.
        """
        with self._lock:
            if self._out is None or self._stream is None or not len(samples):
                return
            if self._origin is None:
                self._origin = moment
            place = round((moment - self._origin) * RATE * TIME_BASE)
            if place - self._written > GAP_S * RATE:  # nothing came for a while
                self._written = place
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(samples.reshape(1, -1)), format="s16", layout="stereo"
            )
            frame.sample_rate = RATE
            frame.pts, frame.time_base = self._written, Fraction(1, RATE)
            self._written += len(samples)
            self._out.mux(self._stream.encode(frame))

    def plan(self, first_s: Fraction, last_s: Fraction, step_s: Fraction) -> Fraction:
        """End the hidden file; keep what was heard while the pictures were taken."""
        self._end()
        if self._origin is None:
            return first_s
        super().open(self._format)
        self._from_s = first_s - self._origin * TIME_BASE
        self._to_s = last_s + step_s - self._origin * TIME_BASE
        return first_s

    def packets(self, zero_s: Fraction) -> Iterator[Timed]:
        """Packets with zero_s, a moment of the live clock, moved to zero."""
        return super().packets(zero_s - (self._origin or 0) * TIME_BASE)

    def close(self) -> None:
        """Remove the hidden file."""
        super().close()
        with suppress(av.error.FFmpegError):  # on a full disk; the file is thrown away
            self._end()
        with suppress(OSError):
            self._path.unlink()

    def _end(self) -> None:
        with self._lock:
            out, self._out = self._out, None
            if out is None:
                return
            if self._origin is not None and self._stream is not None:
                out.mux(self._stream.encode(None))
            self._stream = None
            out.close()
