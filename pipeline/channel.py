"""Channel: the bounded queue between two neighbouring stages."""

from __future__ import annotations

import time
from collections import deque
from threading import Condition
from typing import Generic, TypeVar

from tpvideo.pipeline.checkpoint import Checkpoint

T = TypeVar("T")


class EndOfStream(Exception):
    """The writer closed the channel and everything in it has been read."""


class Cancelled(BaseException):
    """The run is being torn down. A BaseException, so that no stage's own `except` keeps it."""


class Channel(Generic[T]):
    """Hands items from one thread to another, in order, and makes the faster one wait.

    An item may be anything: the end is a state of the channel, never a special item. A Checkpoint
    is never in a batch with others, so that batches are the same whichever one a run begins at.
    """

    def __init__(self, capacity: int, *, drop_oldest: bool = False) -> None:
        """
        Args:
            capacity: most items waiting at any moment, at least 1.
            drop_oldest: a full channel loses its oldest item instead of making the writer wait.

        Raises:
            ValueError: the capacity is below 1.
        """
        if capacity < 1:
            raise ValueError(f"a channel holds at least 1 item, got a capacity of {capacity}")
        self._capacity = capacity
        self._drop_oldest = drop_oldest
        self._items: deque[T] = deque()
        self._changed = Condition()  # reentrant: a signal handler may cancel during a cancel
        self._is_closed = False
        self._is_cancelled = False
        self._dropped = 0
        self._high_water = 0

    @property
    def dropped(self) -> int:
        """Items lost so far because the reader was too slow; 0 without drop_oldest."""
        return self._dropped

    @property
    def high_water(self) -> int:
        """Most items that ever waited at once; at the capacity, the reader was the slower side."""
        return self._high_water

    def put(self, item: T) -> None:
        """Add an item; waits while the channel is full.

        Raises:
            Cancelled: the run is being torn down.
            RuntimeError: the channel was closed, which only a bug can cause.
        """
        with self._changed:
            self._changed.wait_for(self._takes_an_item)
            if self._is_cancelled:
                raise Cancelled
            if self._is_closed:
                raise RuntimeError("an item was put into a closed channel")
            if len(self._items) == self._capacity:
                self._items.popleft()
                self._dropped += 1
            self._items.append(item)
            self._high_water = max(self._high_water, len(self._items))
            self._changed.notify_all()

    def get_batch(self, most: int, linger_s: float | None) -> list[T]:
        """Take 1..most items in order; waits for the first one as long as it takes.

        The batch may be larger than the capacity, for taking items makes room for the writer.

        Args:
            most: size of a full batch, at least 1.
            linger_s: seconds to wait for the batch to fill after its first item; None waits
                until it is full or the channel closed.

        Raises:
            EndOfStream: the channel was closed and is empty.
            Cancelled: the run is being torn down.
        """
        batch: list[T] = []
        with self._changed:
            self._changed.wait_for(self._has_news)
            deadline = None if linger_s is None else time.monotonic() + linger_s
            while True:
                if self._is_cancelled:
                    raise Cancelled
                is_full = self._fill(batch, most)
                self._changed.notify_all()
                if is_full or self._is_closed:
                    break
                left_s = None if deadline is None else deadline - time.monotonic()
                if left_s is not None and left_s <= 0:
                    break
                self._changed.wait(left_s)
        if not batch:
            raise EndOfStream
        return batch

    def _fill(self, batch: list[T], most: int) -> bool:
        """Move what there is into a batch; whether that is all of it."""
        while self._items and len(batch) < most:
            if isinstance(self._items[0], Checkpoint):
                if not batch:
                    batch.append(self._items.popleft())
                return True
            batch.append(self._items.popleft())
        return len(batch) == most

    def close(self) -> None:
        """Say that nothing more follows; what waits can still be read."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def cancel(self) -> None:
        """Throw away what waits, and stop reader and writer with Cancelled."""
        with self._changed:
            self._is_cancelled = True
            self._items.clear()
            self._changed.notify_all()

    def _takes_an_item(self) -> bool:
        has_room = len(self._items) < self._capacity or self._drop_oldest
        return has_room or self._is_closed or self._is_cancelled

    def _has_news(self) -> bool:
        return bool(self._items) or self._is_closed or self._is_cancelled
