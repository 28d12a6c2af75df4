"""Writing a clip: H.264 pictures and AAC sound in MP4."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame

from tpvideo.pipeline.errors import OutputError
from tpvideo.weights.training.heads.kernel import F32, U8

_AUDIO_BLOCK = 1024


class Movie:
    """An MP4 being written beside its place; it appears under its name when it is whole.

    Raises:
        OutputError: the file cannot be written.
    """

    def __init__(
        self,
        path: Path,
        width_px: int,
        height_px: int,
        rate: int,
        crf: int,
        sound: F32 | None = None,
        sample_rate: int = 48_000,
    ) -> None:
        """`sound` is [n] mono samples, -1 to 1; None for a silent clip."""
        self.path, self.partial = path, path.with_suffix(".part")
        self.rate, self.sample_rate = rate, sample_rate
        self.sound, self.spoken = sound, 0
        self.frames = 0
        try:
            self.partial.touch()  # libav would notice a bad place with the first picture only
            options = {"movflags": "+faststart"}
            self.container = av.open(str(self.partial), "w", format="mp4", options=options)
        except OSError as error:
            raise OutputError(path, f"{error.strerror}; choose another folder") from error
        self.video = self.container.add_stream("libx264", rate=rate)
        self.video.width, self.video.height = width_px, height_px
        self.video.pix_fmt = "yuv420p"
        self.video.options = {"crf": str(crf), "preset": "slow"}
        context = self.video.codec_context
        context.color_range = 1  # MPEG
        context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709
        if sound is not None:
            self.audio = self.container.add_stream("aac", rate=sample_rate, layout="mono")
            self.audio.bit_rate = 96_000

    def __enter__(self) -> Movie:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self._finish()
        else:
            self.container.close()
            self.partial.unlink(missing_ok=True)

    def show(self, rgb: U8) -> None:
        """Add a picture [H, W, 3] and the sound until its end."""
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=1, dst_color_range=1)
        frame.pts, frame.time_base = self.frames, Fraction(1, self.rate)
        self.container.mux(self.video.encode(frame))
        self.frames += 1
        self._speak(self.frames * self.sample_rate // self.rate)

    def _speak(self, until: int) -> None:
        if self.sound is None:
            return
        while self.spoken < min(until, len(self.sound)):
            block = self.sound[self.spoken : self.spoken + _AUDIO_BLOCK]
            frame = AudioFrame.from_ndarray(block[None], format="fltp", layout="mono")
            frame.sample_rate = self.sample_rate
            frame.pts, frame.time_base = self.spoken, Fraction(1, self.sample_rate)
            self.container.mux(self.audio.encode(frame))
            self.spoken += len(block)

    def _finish(self) -> None:
        self.container.mux(self.video.encode(None))
        if self.sound is not None:
            self.container.mux(self.audio.encode(None))
        self.container.close()
        os.replace(self.partial, self.path)
