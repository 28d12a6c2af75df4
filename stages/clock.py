"""Makes frame times rise strictly, whatever the file says."""

from __future__ import annotations

from fractions import Fraction

RESTART_S = 1
"""A jump back by more than this is a clock that started again, as in joined recordings."""


class Clock:
    """Repairs presentation times one by one, in the order of presentation.

    A missing time follows its predecessor by one frame. A repeated or slightly backward one is put
    half a frame after its predecessor, so that the next sound time is not pushed aside. A clock
    that starts again is continued from where it stopped.
    """

    def __init__(self, time_base: Fraction, rate: Fraction) -> None:
        """Seconds per tick, and nominal frames per second."""
        self.repaired = 0
        self._step = max(1, round(1 / (rate * time_base))) if rate > 0 else 1
        self._restart = max(self._step + 1, int(RESTART_S / time_base))
        self._shift = 0
        self._last: int | None = None

    def repair(self, pts: int | None) -> int:
        """The time to use for the next frame, in ticks; later than all before."""
        if self._last is None:
            self.repaired += pts is None
            self._last = pts or 0
            return self._last
        if pts is None:
            time = self._last + self._step
        else:
            time = pts + self._shift
            if time <= self._last - self._restart:
                self._shift += self._last + self._step - time
                time = self._last + self._step
            elif time <= self._last:
                time = self._last + max(1, self._step // 2)
        self.repaired += pts is None or time != pts
        self._last = time
        return time
