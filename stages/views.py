"""Several new viewpoints in one pass: one inversion, a rendering for each, a file for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack

from tpvideo.pipeline.checkpoint import Checkpoint, State
from tpvideo.pipeline.errors import ResumeError
from tpvideo.pipeline.frame import Inverted, Rendered, StreamInfo, Views
from tpvideo.pipeline.losses import Losses
from tpvideo.pipeline.stage import Keeper, Sink, Stage
from tpvideo.stages.encode import FileSink


class SeveralViews(Stage[Inverted, Views]):
    """Every frame as each of some cameras sees it.

    Args:
        views: one stage for each camera; alike but for where they look from, so that their
            pictures have one size.
    """

    def __init__(self, views: Sequence[Stage[Inverted, Rendered]]) -> None:
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

    @property
    def notices(self) -> list[str]:
        """What had to be done differently from what was asked, each line once."""
        lines = (line for sink in self.sinks for line in getattr(sink, "notices", ()))
        return list(dict.fromkeys(lines))

    @property
    def losses(self) -> Losses:
        """What could not be taken along: every sink loses the same."""
        losses: Losses = getattr(self.sinks[0], "losses", None) or Losses()
        return losses

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

    def keep(self, checkpoint: Checkpoint) -> None:
        """Let every target's frames so far, and the checkpoint, survive the end of the process."""
        for sink in self.sinks:
            if isinstance(sink, Keeper):
                sink.keep(checkpoint)

    def finish(self) -> None:
        """Let every target appear under its name."""
        for sink in self.sinks:
            sink.finish()

    def close(self) -> None:
        """Close every sink, also when one of them fails at it."""
        self._opened.close()


class EachFile(EachView):
    """A file for each view, which an interrupted run can be continued with."""

    def __init__(self, sinks: Sequence[FileSink]) -> None:
        super().__init__(sinks)
        self.files = tuple(sinks)

    def recover(self, keys: Sequence[Mapping[str, str]]) -> Checkpoint | None:
        """Ask, before open, where to go on; None is from the beginning.

        Args:
            keys: for each file, everything that decides what it becomes; see FileSink.

        Raises:
            ResumeError: an interrupted run had other keys, left something damaged, or had kept
                more of one file than of another.
        """
        pairs = zip(self.files, keys, strict=True)
        first, *others = [file.recover(key) for file, key in pairs]
        frames = 0 if first is None else first.frames
        if any((other.frames if other else 0) != frames for other in others):
            reason = "the interrupted run had kept more of one view than of another"
            raise ResumeError(self.files[0].target, reason)
        return first
