"""Runs the command `tpvideo` in this process, with a small network in place of the default one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tiny import tiny_network

from tpvideo.pipeline import app, cli
from tpvideo.pipeline.frame import Decoded, Image, StreamInfo
from tpvideo.pipeline.record import Record
from tpvideo.stages.decode import FileSource
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


@dataclass
class Seen:
    """What the decoder of a run handed on."""

    infos: list[StreamInfo] = field(default_factory=list)
    pictures: list[Image] = field(default_factory=list)


def watch(monkeypatch: pytest.MonkeyPatch, networks: app.Networks) -> Seen:
    """Put these networks in place of the program's, and look over the decoder's shoulder."""
    seen = Seen()

    class Watched(FileSource):
        def open(self) -> StreamInfo:
            seen.infos.append(super().open())
            return seen.infos[-1]

        def __iter__(self) -> Iterator[Decoded]:
            for frame in super().__iter__():
                seen.pictures.append(frame.rgb)
                yield frame

    monkeypatch.setattr(app, "FileSource", Watched)
    monkeypatch.setattr(app, "load_networks", lambda settings, machine: networks)
    return seen


def expect_refusal(ended: Ended, record: Record, folder: Path) -> None:
    """One line, and nothing on the disk but the report, which says the same."""
    assert ended.code == 1
    assert ended.complaint.count("\n") == 1, ended.complaint
    assert ended.complaint.startswith("tpvideo: error: ")
    assert record.error is not None and record.error in ended.complaint
    assert [path.name for path in folder.iterdir()] == ["report.json"]
