"""What asks a program to end: Ctrl-C, and the signals of systems (SIGTERM) and terminals (SIGHUP).

Ctrl-C may be pressed twice and therefore first means "finish what was read". Nobody is there to
send the others twice, and who sends them waits a few seconds only: they mean "drop everything".
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

ENDINGS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
"""The signals, besides Ctrl-C, that ask a program to end; Windows knows only the first."""


class Terminated(SystemExit):
    """SIGTERM or SIGHUP ended the run; left alone, the program exits as it would have without us,
    with 128 + the signal's number, but after everything was put away."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.signal = signal.Signals(number).name


def raise_terminated(number: int, _frame: FrameType | None) -> None:
    """A signal handler for a program's main thread: leave by way of an exception."""
    raise Terminated(number)


@contextmanager
def endings_raise() -> Iterator[None]:
    """Inside, SIGTERM and SIGHUP raise Terminated, so that what was begun is put away.

    Those that the program ignores (nohup) or handles in its own way are left alone.
    """
    with _answered(dict.fromkeys(ENDINGS, raise_terminated)):
        yield


@contextmanager
def answered(
    stop: Callable[[], None], abort: Callable[[], None], end: Callable[[Terminated], None]
) -> Iterator[None]:
    """Inside, the first Ctrl-C calls `stop`, the second `abort`, and other signals `end`.

    Nothing is raised, so nothing can arrive between two lines that belong together. Does nothing
    outside the main thread, and for signals that the program ignores or handles in its own way.

    Args:
        stop: finish what was read; called in the main thread between any two lines.
        abort: drop everything, likewise.
        end: drop everything, then raise what it is given.
    """
    presses = iter([stop, abort])

    def press(_number: int, _frame: FrameType | None) -> None:
        next(presses, lambda: None)()

    def leave(number: int, _frame: FrameType | None) -> None:
        end(Terminated(number))

    with _answered({signal.SIGINT: press, **dict.fromkeys(ENDINGS, leave)}):
        yield


@contextmanager
def _answered(handlers: dict[int, Callable[[int, FrameType | None], None]]) -> Iterator[None]:
    usual = (signal.default_int_handler, signal.SIG_DFL, raise_terminated)
    previous: dict[int, Any] = {}
    try:
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                if (found := signal.getsignal(number)) in usual:
                    previous[number] = found
                    signal.signal(number, handler)
        yield
    finally:
        for number, found in previous.items():
            signal.signal(number, found)
