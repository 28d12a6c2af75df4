"""Nothing stays behind for each frame, so that the length of a film does not matter.

`bench/long_run.py` is the same for half an hour of film and the memory that is resident.
"""

from __future__ import annotations

import gc
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from small_run import small_networks
from synthetic import write_clip

from tpvideo.pipeline import app
from tpvideo.pipeline.config import Settings
from tpvideo.stages.face import FaceCrop
from tpvideo.stages.movie import MovieWriter

SEGMENT = 25
"""Frames; the fewest there are, as in films of three a second."""
FIRST, LAST = 2, 6
"""Segments, counted from 0; until the first of them, things are loaded and made once."""
FRAMES = SEGMENT * (LAST + 1)
MOST = 4.0
"""Pieces of memory for each frame: what is made late is about 2 here (0.3 in a film of three times
the length), and a picture that is kept about 5 more."""


@pytest.fixture
def growth(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[], float]]:
    """Renders a film; tells how many of Python's pieces of memory it kept for each frame."""
    blocks: dict[int, list[int]] = {FIRST: [], LAST: []}
    whole = MovieWriter.consume

    def consume(self: MovieWriter, item: Any) -> None:
        whole(self, item)
        segment, place = divmod(item.stamp.index, SEGMENT)
        if segment in blocks and place >= SEGMENT // 2:
            gc.collect()
            blocks[segment].append(sys.getallocatedblocks())

    def run() -> float:
        source = write_clip(tmp_path / "talk.mp4", FRAMES, rate=3)
        settings = Settings(
            matting="none", size=64, detail="off", device="cpu", precision="float32", queue=1
        )
        report = app.assemble(source, tmp_path / "out.mp4", settings, small_networks()).run()
        assert report.frames == FRAMES
        more = statistics.median(blocks[LAST]) - statistics.median(blocks[FIRST])
        return more / (SEGMENT * (LAST - FIRST))

    monkeypatch.setattr(MovieWriter, "consume", consume)
    gc.collect()
    gc.freeze()  # what was there before need not be searched
    yield run
    gc.unfreeze()


def test_no_object_stays_behind_for_each_frame(growth: Callable[[], float]) -> None:
    assert growth() < MOST


@pytest.mark.slow
def test_a_picture_that_stayed_behind_for_each_frame_would_be_noticed(
    growth: Callable[[], float], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, kept = FaceCrop.process, []

    def process(self: FaceCrop, items: Sequence[Any]) -> list[Any]:
        kept.extend(item.rgb for item in items)
        return whole(self, items)

    monkeypatch.setattr(FaceCrop, "process", process)
    assert growth() > MOST
