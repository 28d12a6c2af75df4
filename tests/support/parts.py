"""Small sources, stages and sinks for testing the runner, and waits that have a deadline."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction

from tpvideo.pipeline import Pipeline, Stage, StreamInfo

INFO = StreamInfo(width=4, height=2, rate=Fraction(25), time_base=Fraction(1, 25), frames=None)
DEADLINE_S = 240.0
"""After so long nothing more will come: a busy machine may take a minute for a second's work."""


class Event(threading.Event):
    """An event whose wait fails at a deadline, so that a broken test ends."""

    def wait(self, timeout: float | None = DEADLINE_S) -> bool:
        assert super().wait(timeout), "waited in vain"
        return True


class Numbers:
    """Yields 0, 1, 2, ... and calls `before(number)` ahead of each."""

    def __init__(self, count: int, before: Callable[[int], object] = lambda number: None) -> None:
        self._count = count
        self._before = before
        self.calls: list[str] = []

    def open(self) -> StreamInfo:
        self.calls.append("open")
        return INFO

    def __iter__(self) -> Iterator[int]:
        for number in range(self._count):
            self._before(number)
            yield number

    def close(self) -> None:
        self.calls.append("close")


class Collect:
    """Keeps what it is given and calls `before(number)` ahead of each."""

    def __init__(self, before: Callable[[int], object] = lambda number: None) -> None:
        self._before = before
        self.items: list[int] = []
        self.calls: list[str] = []
        self.info: StreamInfo | None = None

    def open(self, info: StreamInfo) -> None:
        self.info = info
        self.calls.append("open")

    def consume(self, item: int, /) -> None:
        self._before(item)
        self.items.append(item)

    def finish(self) -> None:
        self.calls.append("finish")

    def close(self) -> None:
        self.calls.append("close")


class Add(Stage[int, int]):
    """Adds 100 to every number and remembers the sizes of its batches."""

    def __init__(self, batch: int = 1, linger_s: float | None = None) -> None:
        self.batch = batch
        self.linger_s = linger_s
        self.sizes: list[int] = []
        self.calls: list[str] = []

    def open(self, info: StreamInfo) -> StreamInfo:
        self.calls.append("open")
        return info

    def process(self, items: Sequence[int]) -> Iterable[int]:
        self.sizes.append(len(items))
        return [item + 100 for item in items]

    def close(self) -> None:
        self.calls.append("close")


class Later(Stage[int, int]):
    """Hands each number on when the next one arrives, the last one at the end."""

    def __init__(self) -> None:
        self._held: list[int] = []

    def process(self, items: Sequence[int]) -> Iterator[int]:
        for item in items:
            yield from self._held
            self._held = [item]

    def flush(self) -> Iterator[int]:
        yield from self._held


def waiting_at_a_channel(pipeline: Pipeline, stage: str) -> Event:
    """Set once this stage's thread waits for an item or for room, which it then does for good:
    the channel's lock is held until then, so nothing can come between."""
    waits = Event()

    def telling(wait: Callable[[float | None], bool]) -> Callable[..., bool]:
        def tell_and_wait(timeout: float | None = None) -> bool:
            if threading.current_thread().name == f"tpvideo-{stage}":
                waits.set()
            return wait(timeout)

        return tell_and_wait

    for channel in pipeline.channels:
        channel._changed.wait = telling(channel._changed.wait)  # type: ignore[method-assign]
    return waits


def fail_at(number: int, error: BaseException) -> Callable[[int], None]:
    """A `before` that raises the error ahead of one number."""

    def before(current: int) -> None:
        if current == number:
            raise error

    return before
