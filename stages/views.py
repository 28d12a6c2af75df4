"""Several new viewpoints in one pass: one inversion, a rendering for each, a file for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from tpvideo.pipeline.checkpoint import State
from tpvideo.pipeline.frame import Inverted, Rendered, StreamInfo, Views
from tpvideo.pipeline.stage import Sink, Stage
from tpvideo.stages.render import NovelView


class SeveralViews(Stage[Inverted, Views]):
    """Every frame as each of some cameras sees it.

    Args:
        views: one stage for each camera; alike but for where they look from, so that their
            pictures have one size.
    """

    def __init__(self, views: Sequence[NovelView]) -> None:
        self.views = tuple(views)
        self.batch = min(view.batch for view in views)

    @property
    def name(self) -> str:
        """The word in tables and messages."""
        return "render"

    def open(self, info: StreamInfo) -> StreamInfo:
        """Open every view; what follows sees the size of one picture."""
        described, *_ = [view.open(info) for view in self.views]
        return described

    def process(self, items: Sequence[Inverted]) -> Iterator[Views]:
        """1..batch packets in, as many out."""
        drawn = zip(*(view.process(items) for view in self.views), strict=True)
        for item, pictures in zip(items, drawn, strict=True):
            yield Views(item.stamp, item.rgb, pictures)

    def state(self) -> State:
        """What each view remembers."""
        return {str(number): view.state() for number, view in enumerate(self.views)}

    def restore(self, state: State) -> None:
        """Let each view remember."""
        for number, view in enumerate(self.views):
            view.restore(state[str(number)])

    def flush(self) -> tuple[()]:
        """Nothing is held; raises NoFaceError where no frame showed a face."""
        for view in self.views:
            view.flush()
        return ()


class EachView:
    """A sink for each view: the n-th picture of every frame goes to the n-th sink.

    Each target becomes whole on its own; when one of them cannot be finished, those before it
    are there already.
    """

    def __init__(self, sinks: Sequence[Sink[Rendered]]) -> None:
        self.sinks = tuple(sinks)
        self._opened = ExitStack()

    def open(self, info: StreamInfo) -> None:
        """Open every sink; when one refuses, those before it are closed again."""
        with ExitStack() as opened:
            for sink in self.sinks:
                opened.callback(sink.close)
                sink.open(info)
            self._opened = opened.pop_all()

    def consume(self, item: Views) -> None:
        """Hand each sink its picture."""
        for sink, picture in zip(self.sinks, item.pictures, strict=True):
            sink.consume(picture)

    def finish(self) -> None:
        """Let every target appear under its name."""
        for sink in self.sinks:
            sink.finish()

    def close(self) -> None:
        """Close every sink, also when one of them fails at it."""
        self._opened.close()
