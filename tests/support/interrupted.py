"""A small run in a process of its own that ends itself, with a signal, at a given moment.

`python interrupted.py SOURCE TARGET [--at WHERE] [--signal NAME] [--settings JSON]`: WHERE is
a frame ("30", before it is written), "join" (in the middle of it) or "keep" (one more segment is on
the disk, the ledger not yet). Prints how many frames there were and came, or the error in one line.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from synthetic import write_clip

from tpvideo.pipeline.metrics import Report

SUPPORT = Path(__file__).parent
SEGMENT_FRAMES = 10
SETTINGS: dict[str, Any] = {"size": 64, "device": "cpu", "batch_size": 3, "precision": "float32"}
LOST = range(14, 23)
"""Frames of `film` without a face: a segment ends among them."""


def film(path: Path, frames: int = 45) -> Path:
    """A bright spot that wanders through noise, on a clock that stutters, with sound."""
    random = np.random.default_rng(7)
    rows, columns = np.mgrid[0:64, 0:96]
    pictures = []
    for number in range(frames):
        x, y = 48 + 18 * np.sin(number / 5), 32 + 6 * np.cos(number / 3)
        spot = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 80) * (number not in LOST)
        noise = random.integers(0, 40, (64, 96, 3))
        pictures.append((60 + noise + 150 * spot[..., None]).clip(0, 255).astype(np.uint8))
    pts = np.cumsum(random.integers(20, 90, frames)).tolist()
    clock = Fraction(1, 1000)
    return write_clip(path, pictures, pts=pts, time_base=clock, sound=[(0.0, 1.5)])


def run(source: Path, target: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """This file as a program, to its end."""
    command = [sys.executable, __file__, str(source), str(target), *options]
    environment = os.environ | {"PYTHONPATH": str(SUPPORT)}
    return subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--at", default="")
    parser.add_argument("--signal", default="SIGKILL")
    parser.add_argument("--settings", type=json.loads, default={})
    asked = parser.parse_args()
    number = getattr(signal, asked.signal)
    _end_itself(asked.at, number)
    from tpvideo.pipeline.errors import TpvideoError

    try:
        report = render(asked.source, asked.target, **asked.settings)
    except TpvideoError as error:
        sys.exit(str(error))
    print(report.earlier_frames, report.frames)


def render(source: Path, target: Path, **settings: Any) -> Report:
    """The same run in this process, to its end."""
    import torch
    from tiny import tiny_network

    from tpvideo.pipeline import app, runner
    from tpvideo.pipeline.config import Settings

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "CHECKPOINT_FRAMES", (SEGMENT_FRAMES, SEGMENT_FRAMES))
        torch.manual_seed(3)
        networks = app.Networks(tiny_network(), BrightSpot())
        chosen = Settings(**{**SETTINGS, **settings})
        return app.assemble(source, target, chosen, networks).run()


def _end_itself(where: str, number: int) -> None:
    from tpvideo.pipeline.runner import Pipeline
    from tpvideo.stages.ledger import Ledger
    from tpvideo.stages.movie import MovieWriter

    cancelled = threading.Event()
    cancel = Pipeline._cancel

    def noticed(self: Pipeline) -> None:
        cancel(self)
        cancelled.set()

    def end() -> None:
        os.kill(os.getpid(), number)
        assert cancelled.wait(200), "the signal did nothing"

    Pipeline._cancel = noticed  # type: ignore[method-assign]
    consume, packets = MovieWriter.consume, MovieWriter._video_packets

    def counted(self: MovieWriter, item: Any) -> None:
        if str(item.stamp.index) == where:
            end()
        consume(self, item)

    def half(self: MovieWriter, *arguments: Any) -> Iterator[Any]:
        for place, packet in enumerate(packets(self, *arguments)):
            if place == 15:
                end()
            yield packet

    MovieWriter.consume = counted  # type: ignore[method-assign]
    if where == "join":
        MovieWriter._video_packets = half  # type: ignore[method-assign]
    if where == "keep":
        write = Ledger._write_times

        def second(self: Ledger, count: int) -> None:
            if count:
                end()
            write(self, count)

        Ledger._write_times = second  # type: ignore[method-assign]


class BrightSpot:
    """Takes what is bright for a face, a little differently for each picture."""

    def find(self, rgb: NDArray[np.uint8]) -> list[Any]:
        face = self.read(rgb, None)
        return [face.box()] if face.score > 0.5 else []

    def read(self, rgb: NDArray[np.uint8], box: Any) -> Any:
        from faces import known_face

        bright = (rgb.astype(float).mean(axis=2) - 120).clip(0)
        if bright.sum() < 500:
            return known_face(48, 32, 40, score=0.1)
        rows, columns = np.mgrid[0 : rgb.shape[0], 0 : rgb.shape[1]]
        x, y = (columns * bright).sum() / bright.sum(), (rows * bright).sum() / bright.sum()
        jitter = float(rgb[:8].mean() % 1)
        return known_face(x + jitter, y, 40 + 4 * jitter, yaw=0.3 * jitter, roll=jitter - 0.5)


if __name__ == "__main__":
    main()
