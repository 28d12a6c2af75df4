"""One pass, several viewpoints: the same pictures as one run for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import pytest
import torch
from tiny import random_face, tiny_network

from tpvideo.pipeline.errors import NoFaceError, OutputError
from tpvideo.pipeline.frame import Inverted, Posed, Rendered, Stamp, StreamInfo, Views
from tpvideo.stages.invert import Inversion
from tpvideo.stages.render import NovelView
from tpvideo.stages.views import EachView, SeveralViews

YAWS = (-0.3, 0.0, 0.3)
INFO = StreamInfo(64, 64, Fraction(25), Fraction(1, 25), 3)


@dataclass
class Shelf:
    """A sink that keeps what it gets, and remembers what was asked of it."""

    refuses: bool = False
    items: list[Rendered] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)

    def open(self, info: StreamInfo) -> None:
        self.calls.append(f"open {info.width}x{info.height}")
        if self.refuses:
            raise OutputError("b.mp4", "no room")

    def consume(self, item: Rendered) -> None:
        self.items.append(item)

    def finish(self) -> None:
        self.calls.append("finish")

    def close(self) -> None:
        self.calls.append("close")


def heads(*, with_gap: bool = False) -> tuple[list[Inverted], Sequence[NovelView]]:
    """Three inverted frames, the middle one without a face if asked for, and two views."""
    torch.manual_seed(5)
    network = tiny_network()
    faces = [random_face(seed) for seed in range(3)]
    rgb = np.full((64, 64, 3), 90, np.uint8)
    posed = [
        Posed(Stamp(i, i), rgb, None if with_gap and i == 1 else face)
        for i, face in enumerate(faces)
    ]
    views = [NovelView(network, yaw_rad=yaw, size=64, batch=2) for yaw in YAWS]
    return list(Inversion(network).process(posed)), views


def test_each_view_is_what_a_run_of_its_own_draws() -> None:
    items, views = heads(with_gap=True)
    alone = []
    for view in views:
        view.open(INFO)
        alone.append([picture.rgb for picture in view.process(items)])
    several = SeveralViews(views)
    info = several.open(INFO)
    together = list(several.process(items))
    assert (several.batch, info.width, info.height) == (2, 64, 64)
    assert [item.stamp.index for item in together] == [0, 1, 2]
    for number in range(len(YAWS)):
        drawn = [item.pictures[number].rgb for item in together]
        assert all(np.array_equal(a, b) for a, b in zip(drawn, alone[number], strict=True))
    assert not np.array_equal(alone[0][0], alone[2][0])


def test_a_source_without_a_face_fails_as_with_one_view() -> None:
    _, views = heads()
    several = SeveralViews(views)
    several.open(INFO)
    nobody = Inverted(Stamp(0, 0), np.zeros((64, 64, 3), np.uint8), None, None)
    assert len(list(several.process([nobody]))) == 1
    with pytest.raises(NoFaceError, match="no face in any of 1 frames"):
        several.flush()


def test_each_sink_gets_its_own_picture() -> None:
    shelves = [Shelf(), Shelf()]
    sink = EachView(shelves)
    sink.open(INFO)
    rgb = np.zeros((4, 4, 3), np.uint8)
    pair = Rendered(Stamp(0, 0), rgb), Rendered(Stamp(0, 0), rgb + 1)
    sink.consume(Views(Stamp(0, 0), rgb, pair))
    sink.finish()
    sink.close()
    assert [shelf.items for shelf in shelves] == [[pair[0]], [pair[1]]]
    assert [shelf.calls for shelf in shelves] == [["open 64x64", "finish", "close"]] * 2


def test_when_one_target_refuses_the_others_are_closed() -> None:
    shelves = [Shelf(), Shelf(refuses=True), Shelf()]
    sink = EachView(shelves)
    with pytest.raises(OutputError, match="no room"):
        sink.open(INFO)
    assert [shelf.calls[1:] for shelf in shelves] == [["close"], ["close"], []]
