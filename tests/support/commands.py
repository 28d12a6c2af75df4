"""Runs the command `tpvideo` in this process, with a small network in place of the default one."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import pytest
from tiny import tiny_network

from tpvideo.pipeline import app, cli
from tpvideo.stages.facefinder import FaceFinder
from tpvideo.weights import store

SMALL = ("--size", "64", "--device", "cpu", "--precision", "float32", "--progress", "none")
"""Options that keep a run short."""


@dataclass(frozen=True)
class Ended:
    """How the command ended."""

    code: int
    said: str
    complaint: str


@dataclass
class Command:
    """The command line, its networks loaded once."""

    capsys: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str | Path) -> Ended:
        """Run it to its exit."""
        with pytest.raises(SystemExit) as caught:
            cli.main([str(argument) for argument in arguments])
        written = self.capsys.readouterr()
        return Ended(int(caught.value.code or 0), written.out, written.err)

    def render(self, source: Path, target: Path, *more: str | Path) -> Ended:
        """A run with small settings and the small network, but the real matting and face."""
        return self(*SMALL, *more, "-o", target, "--", source)


def small_networks() -> app.Networks:
    """A network of random weights, and the face networks that are shipped."""
    return app.Networks(tiny_network(), FaceFinder.load(store.find("face")))


def quiet_decoders() -> None:
    """FFmpeg's own lines about damaged files are no concern of a test."""
    logging.getLogger("libav").setLevel(logging.CRITICAL)
