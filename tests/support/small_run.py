"""The command line with the smallest networks, so that whole runs take little.

As a program it is `tpvideo` with those networks, for tests that end it; it says "frames are
written" once some are:

    python tests/support/small_run.py clip.mp4 -o out.mp4
"""

from __future__ import annotations

import sys

import torch
from faces import known_face
from tiny import tiny_network

from tpvideo.pipeline import app
from tpvideo.pipeline.frame import Image, Rendered
from tpvideo.stages.facefinder import FaceBox, FaceReading
from tpvideo.stages.movie import MovieWriter

OPTIONS = ("--matting", "none", "--size", "64", "--device", "cpu", "--precision", "float32")
"""What keeps a run short, besides the networks."""


class OneFace:
    """Sees one face, in the middle of every picture of 96 x 64 pixels."""

    def __init__(self) -> None:
        self.face = known_face(48.0, 32.0, 50.0)

    def find(self, rgb: Image) -> list[FaceBox]:
        return [self.face.box()]

    def read(self, rgb: Image, box: FaceBox) -> FaceReading:
        return self.face


def small_networks(*_: object) -> app.Networks:
    """Networks as load_networks gives them, always the same ones."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return app.Networks(tiny_network(), OneFace())


def tell_when_frames_are_written() -> None:
    """Let the writer say on standard error that the third frame came."""
    consume = MovieWriter.consume

    def telling(self: MovieWriter, item: Rendered) -> None:
        consume(self, item)
        if item.stamp.index == 2:
            print("frames are written", file=sys.stderr, flush=True)

    MovieWriter.consume = telling  # type: ignore[method-assign]


if __name__ == "__main__":
    from tpvideo.pipeline import cli

    app.load_networks = small_networks
    tell_when_frames_are_written()
    cli.main([*sys.argv[1:], *OPTIONS])
