"""How much arithmetic compiled loops stand for, which torch's own counter does not see."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_counts: ContextVar[list[int] | None] = ContextVar("counts", default=None)


@contextmanager
def tallied() -> Iterator[list[int]]:
    """Inside, what this thread calls; the list gets an entry for each call: multiplications and
    additions of the convolution in its plain form, however it is computed."""
    counts: list[int] = []
    token = _counts.set(counts)
    try:
        yield counts
    finally:
        _counts.reset(token)


def note(operations: int) -> None:
    """A call that stands for so many."""
    counts = _counts.get()
    if counts is not None:
        counts.append(operations)
