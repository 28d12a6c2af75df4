"""The bounded queue between two stages."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from parts import DEADLINE_S, Event

from tpvideo.pipeline.channel import Cancelled, Channel, EndOfStream
from tpvideo.pipeline.checkpoint import Checkpoint


class Caller(threading.Thread):
    """Calls something in a thread of its own and keeps what came of it."""

    def __init__(self, call: Callable[[], object]) -> None:
        super().__init__()
        self._call = call
        self._result: object = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._result = self._call()
        except BaseException as error:
            self._error = error

    def result(self) -> object:
        self.join(DEADLINE_S)
        assert not self.is_alive(), "the call is still waiting"
        if self._error is not None:
            raise self._error
        return self._result


def waiting(channel: Channel[int], call: Callable[[], object]) -> Caller:
    """Start a call and return once it waits inside the channel."""
    reached = Event()
    wait = channel._changed.wait

    def tell_and_wait(timeout: float | None = None) -> bool:
        reached.set()  # the lock is held until wait gives it up, so nobody can come between
        return wait(timeout)

    channel._changed.wait = tell_and_wait  # type: ignore[method-assign]
    caller = Caller(call)
    reached.wait()
    return caller


def test_items_leave_in_the_order_they_came() -> None:
    channel: Channel[int] = Channel(3)
    for item in (1, 2, 3):
        channel.put(item)
    assert channel.get_batch(2, 0.0) == [1, 2]
    assert channel.get_batch(2, 0.0) == [3]


@pytest.mark.parametrize("capacity", [0, -1])
def test_a_channel_without_room_is_refused(capacity: int) -> None:
    with pytest.raises(ValueError, match=f"capacity of {capacity}"):
        Channel(capacity)


def test_writer_waits_while_the_channel_is_full() -> None:
    channel: Channel[int] = Channel(1)
    channel.put(1)
    writer = waiting(channel, lambda: channel.put(2))
    assert channel.get_batch(1, 0.0) == [1]
    writer.result()
    assert channel.get_batch(1, 0.0) == [2]
    assert channel.high_water == 1


def test_reader_waits_for_the_first_item_whatever_the_linger() -> None:
    channel: Channel[int] = Channel(1)
    reader = waiting(channel, lambda: channel.get_batch(1, 0.0))
    channel.put(7)
    assert reader.result() == [7]


def test_batch_larger_than_the_capacity_fills() -> None:
    channel: Channel[int] = Channel(2)
    reader = Caller(lambda: channel.get_batch(5, None))
    for item in range(5):
        channel.put(item)
    assert reader.result() == [0, 1, 2, 3, 4]
    assert channel.high_water <= 2


def test_without_linger_a_batch_takes_what_is_there() -> None:
    channel: Channel[int] = Channel(4)
    channel.put(1)
    channel.put(2)
    assert channel.get_batch(4, 0.0) == [1, 2]


def test_linger_ends_the_wait_for_a_full_batch() -> None:
    channel: Channel[int] = Channel(4)
    channel.put(1)
    started_s = time.monotonic()
    assert channel.get_batch(4, 0.05) == [1]
    assert time.monotonic() - started_s >= 0.05


def test_linger_takes_what_arrives_meanwhile() -> None:
    channel: Channel[int] = Channel(4)
    channel.put(1)
    reader = waiting(channel, lambda: channel.get_batch(2, DEADLINE_S))
    channel.put(2)
    assert reader.result() == [1, 2]


def test_closed_channel_gives_what_is_left_then_ends() -> None:
    channel: Channel[int] = Channel(2)
    channel.put(1)
    channel.close()
    assert channel.get_batch(5, None) == [1]
    with pytest.raises(EndOfStream):
        channel.get_batch(1, None)


def test_closing_wakes_a_reader_that_waits_for_a_full_batch() -> None:
    channel: Channel[int] = Channel(2)
    channel.put(1)
    reader = waiting(channel, lambda: channel.get_batch(2, None))
    channel.close()
    assert reader.result() == [1]


def test_putting_into_a_closed_channel_is_a_bug() -> None:
    channel: Channel[int] = Channel(1)
    channel.close()
    with pytest.raises(RuntimeError, match="closed"):
        channel.put(1)


def test_cancelling_wakes_a_waiting_writer() -> None:
    channel: Channel[int] = Channel(1)
    channel.put(1)
    writer = waiting(channel, lambda: channel.put(2))
    channel.cancel()
    with pytest.raises(Cancelled):
        writer.result()


def test_cancelling_wakes_a_waiting_reader() -> None:
    channel: Channel[int] = Channel(2)
    channel.put(1)
    reader = waiting(channel, lambda: channel.get_batch(2, None))
    channel.cancel()
    with pytest.raises(Cancelled):
        reader.result()


def test_cancelled_channel_gives_nothing_even_if_closed() -> None:
    channel: Channel[int] = Channel(2)
    channel.put(1)
    channel.close()
    channel.cancel()
    with pytest.raises(Cancelled):
        channel.get_batch(1, None)


def test_a_stage_cannot_swallow_a_cancellation() -> None:
    assert not issubclass(Cancelled, Exception)


def test_live_channel_drops_the_oldest_and_counts_it() -> None:
    channel: Channel[int] = Channel(2, drop_oldest=True)
    for item in range(5):
        channel.put(item)
    assert channel.get_batch(5, 0.0) == [3, 4]
    assert channel.dropped == 3


def test_a_checkpoint_is_never_in_a_batch_with_others() -> None:
    channel = Channel[int | Checkpoint](9)
    marks = [Checkpoint(3), Checkpoint(4)]
    for item in (0, 1, 2, marks[0], 3, marks[1], 4, 5):
        channel.put(item)
    batches = [channel.get_batch(2, None) for _ in range(6)]
    assert batches == [[0, 1], [2], [marks[0]], [3], [marks[1]], [4, 5]]
