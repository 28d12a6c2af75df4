"""A live session without a camera, on the smallest network."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
from faces import known_face
from tiny import tiny_network

from tpvideo.pipeline.app import Networks
from tpvideo.pipeline.config import Settings
from tpvideo.pipeline.frame import Decoded, Image, Stamp, StreamInfo
from tpvideo.pipeline.live.controls import Controls
from tpvideo.pipeline.live.page import output
from tpvideo.pipeline.live.session import Session, Wanted
from tpvideo.pipeline.live.view import Shown
from tpvideo.pipeline.metrics import Report
from tpvideo.stages.facefinder import FaceBox, FaceReading
from tpvideo.stages.live import TIME_BASE, LiveSource, now

DEADLINE_S = 240.0
INFO = StreamInfo(64, 64, Fraction(25), TIME_BASE, frames=None)


class Someone:
    """Sees one face in every picture, unless its first pixel is black."""

    def __init__(self) -> None:
        self.face = known_face(48.0, 32.0, 50.0)

    def find(self, rgb: Image) -> list[FaceBox]:
        return [self.face.box()] if rgb[0, 0, 0] else []

    def read(self, rgb: Image, box: FaceBox) -> FaceReading:
        return self.face if rgb[0, 0, 0] else replace(self.face, score=0.0)


class Pictures(LiveSource):
    """A camera that gives a grey picture whenever it is asked, for as long as it is wanted."""

    def __init__(self, most: int | None = None) -> None:
        super().__init__()
        self._most = most
        self._next = threading.Event()
        self.state = "a grey wall"

    def open(self) -> StreamInfo:
        return INFO

    def __iter__(self) -> Iterator[Decoded]:
        index = 0
        while not self.is_over() and index != self._most:
            rgb = np.random.default_rng(index).integers(90, 130, (64, 96, 3), dtype=np.uint8)
            yield Decoded(Stamp(index, now()), rgb)
            index += 1
            self._wait(0.02)

    def close(self) -> None: ...


def networks() -> Networks:
    """The smallest there are."""
    return Networks(tiny_network(), Someone())


def settings(**changes: Any) -> Settings:
    return Settings(**{"matting": "none", "size": 64, "device": "cpu", **changes})


def session(
    wanted: Wanted,
    *,
    source: LiveSource | None = None,
    on_ready: Callable[[str], object] = lambda url: None,
    **knobs: Any,
) -> Session:
    """A session of the smallest network; without a source, it goes on until it is stopped."""
    return Session(
        source or Pictures(), settings(), Controls(**knobs), wanted, networks(), on_ready
    )


@contextmanager
def running(wanted: Wanted, **options: Any) -> Iterator[tuple[Session, str]]:
    """A session that runs in a thread, and its page's address; stopped and judged at the end."""
    urls: list[str] = []
    ready = threading.Event()
    reports: list[Report] = []

    def tell(url: str) -> None:
        urls.append(url)
        ready.set()

    made = session(wanted, on_ready=tell, **options)
    output.FIGURES_S = 0.05  # so that nobody waits for half a second
    thread = threading.Thread(target=lambda: reports.append(made.run()))
    thread.start()
    try:
        assert ready.wait(DEADLINE_S), "the page did not come"
        yield made, urls[0]
    finally:
        made.pipeline.stop()
        thread.join(DEADLINE_S)
    assert reports, "the session failed"


def shown(index: int, pts: int | None = None, level: int = 100, side: int = 64) -> Shown:
    """A plain picture as the last stage gives it."""
    rgb = np.full((side, side, 3), level, np.uint8)
    return Shown(Stamp(index, now() if pts is None else pts), rgb, rgb[: side // 2], has_face=True)
