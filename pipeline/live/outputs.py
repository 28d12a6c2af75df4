"""Where live pictures go: any number of outputs at once, none of which can stop the others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from tpvideo.pipeline.errors import TpvideoError
from tpvideo.pipeline.frame import StreamInfo
from tpvideo.pipeline.live.latency import Budget, Meter
from tpvideo.pipeline.live.view import Shown
from tpvideo.stages.live import age_s

log = logging.getLogger(__name__)


class Closed(TpvideoError):
    """Somebody has closed an output on purpose."""


class Output(Protocol):
    """One place where live pictures go; a sink whose `consume` returns once the picture is out."""

    name: str
    """For tables and messages."""

    def open(self, info: StreamInfo) -> None:
        """Make ready; raises TpvideoError where that cannot be."""

    def consume(self, item: Shown, /) -> None:
        """Take one picture.

        Raises:
            Closed: nobody wants more of them.
            TpvideoError: there is no place for pictures any more.
        """

    def finish(self) -> None:
        """The stream has ended well."""

    def close(self) -> None:
        """Let go of everything; always called."""


class FanOut:
    """A sink that hands each picture to every output, and measures the time since its capture.

    An output that fails is left out from then on, with a warning. When none is left the run ends:
    well where the last was closed on purpose, else with its failure.

    Args:
        outputs: at least one.
        budget: judges each picture's latency.
        meter: gets each picture's latency.
    """

    def __init__(self, outputs: Sequence[Output], budget: Budget, meter: Meter) -> None:
        self.outputs = list(outputs)
        self.stop: Callable[[], object] = lambda: None
        """Ends the run; whoever makes the pipeline puts its `stop` here."""
        self._budget = budget
        self._meter = meter
        self._open: list[Output] = []

    def open(self, info: StreamInfo) -> None:
        """Open every output; the first that cannot be opened refuses the run."""
        for output in self.outputs:
            self._open.append(output)  # also closed where opening it failed half way
            output.open(info)

    def consume(self, item: Shown) -> None:
        """Show one picture everywhere."""
        for output in tuple(self._open):
            try:
                output.consume(item)
            except TpvideoError as error:
                self._leave_out(output, error)
        latency_s = age_s(item.stamp.pts)
        self._meter.add(latency_s)
        self._budget.note(latency_s)

    def finish(self) -> None:
        """Finish all; what one of them cannot finish does not keep the others from it."""
        failures = []
        for output in self._open:
            try:
                output.finish()
            except TpvideoError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def close(self) -> None:
        """Close all."""
        while self._open:
            self._open.pop().close()

    def _leave_out(self, output: Output, error: TpvideoError) -> None:
        self._open.remove(output)
        output.close()
        if self._open:
            log.warning("%s is left out from here on: %s", output.name, error)
        elif isinstance(error, Closed):
            self.stop()
        else:
            raise error
