"""A film as a camera."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from tpvideo.pipeline.errors import InputError
from tpvideo.pipeline.frame import Decoded, Stamp, StreamInfo
from tpvideo.stages.decode import FileSource
from tpvideo.stages.live import TIME_BASE, LiveSource, age_s, now


class PacedFile(LiveSource):
    """A film as a camera: every picture comes when it is its turn, as long as the film lasts.

    Args:
        path: the film.
        loop: begin again at its end, for ever.
    """

    def __init__(self, path: str | Path, *, loop: bool = False) -> None:
        super().__init__()
        self.path = Path(path)
        self.on_begin: Callable[[int, Fraction], object] = lambda moment, film_s: None
        """Told, whenever the film begins, the moment and the film's own time in seconds."""
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
                if first_pts is None:
                    first_pts = frame.stamp.pts
                    self.on_begin(start, first_pts * self._info.time_base)
                due_s = float((frame.stamp.pts - first_pts) * self._info.time_base)
                if not self._wait(due_s - age_s(start)):
                    return
                yield Decoded(Stamp(index, now()), frame.rgb)
                index += 1
            if not self._loop or not self._wait(float(1 / self._info.rate)):
                return
            self._film.close()
            # PyAV's filter graphs hold themselves and their pictures until cycles are collected,
            # which may take Python minutes.
            gc.collect()
            self._film = FileSource(self.path)
            self._film.open()

    def close(self) -> None:
        """Close the film."""
        self._film.close()
