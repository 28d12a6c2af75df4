"""From capture to show: how long each picture took, and what is done when it is too long."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass

import numpy as np

from tpvideo.pipeline.live.controls import Panel
from tpvideo.pipeline.live.presets import cheaper

log = logging.getLogger(__name__)

RECENT = 200
"""How many of the newest latencies the moving figures are over."""

RATE_S = 3.0
FEW = 4
"""How far back the moving frame rate looks: in time, and at least in pictures."""

STOPPED_S = 10.0
"""After so long without a picture there is no rate."""

SHARES = (0.5, 0.95, 0.99)
STEP_S = 0.002
LONGEST_S = 60.0
"""The whole session's latencies are counted in steps of STEP_S, so that memory stays flat."""


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Latencies in seconds that half, 95 % and 99 % of the pictures keep."""

    p50_s: float
    p95_s: float
    p99_s: float
    pictures: int

    def __str__(self) -> str:
        values = (self.p50_s, self.p95_s, self.p99_s)
        return " / ".join(f"{value * 1000:.0f}" for value in values) + " ms"


class Meter:
    """Latencies and rate of the pictures that reached one output; from any thread."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._lock = threading.Lock()
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        with self._lock:
            self._recent: deque[float] = deque(maxlen=RECENT)
            self._shown_at: deque[float] = deque(maxlen=1000)
            self._counts = np.zeros(round(LONGEST_S / STEP_S) + 1, np.int64)

    def add(self, latency_s: float) -> None:
        """Note a picture that was shown just now."""
        with self._lock:
            self._recent.append(latency_s)
            self._shown_at.append(time.monotonic())
            step = min(max(round(latency_s / STEP_S), 0), len(self._counts) - 1)
            self._counts[step] += 1

    def recent(self) -> Quantiles | None:
        """Over the newest RECENT pictures; None before the first."""
        with self._lock:
            values = np.array(self._recent)
        if not len(values):
            return None
        p50, p95, p99 = np.quantile(values, SHARES).tolist()
        return Quantiles(p50, p95, p99, len(values))

    def all(self) -> Quantiles | None:
        """Over the whole session, to STEP_S; None before the first."""
        with self._lock:
            counts = self._counts.copy()
        total = int(counts.sum())
        if not total:
            return None
        p50, p95, p99 = np.searchsorted(np.cumsum(counts), np.array(SHARES) * total).tolist()
        return Quantiles(p50 * STEP_S, p95 * STEP_S, p99 * STEP_S, total)

    def rate(self) -> float:
        """Pictures a second over the last RATE_S, or over the last FEW where they are fewer; 0
        when none came for STOPPED_S."""
        with self._lock:
            times = list(self._shown_at)
        now_s = time.monotonic()
        if len(times) < 2 or times[-1] < now_s - STOPPED_S:
            return 0.0
        recent = [moment for moment in times if moment >= now_s - RATE_S]
        span = recent if len(recent) >= FEW else times[-FEW:]
        return (len(span) - 1) / (span[-1] - span[0])


class Budget:
    """Lowers the preset, step by step, while pictures come too late.

    Args:
        most_s: the latency that 95 % of the pictures are to keep; None allows any.
        panel: where the preset is turned down.
    """

    PICTURES = 20
    """How many pictures are judged at a time, none of them from before a change."""

    def __init__(self, most_s: float | None, panel: Panel) -> None:
        self.most_s = most_s
        self.said = ""
        """The last thing that was done, for people."""
        self._panel = panel
        self._has_given_up = False
        self._late: list[float] = []
        self._preset = panel.controls.preset

    def note(self, latency_s: float) -> None:
        """Judge one more picture."""
        if self.most_s is None:
            return
        preset = self._panel.controls.preset
        if preset != self._preset:  # somebody turned the knob: what was measured is of the past
            self._late, self._preset = [], preset
        self._late.append(latency_s)
        if len(self._late) < self.PICTURES:
            return
        p95_s = float(np.quantile(self._late, 0.95, method="inverted_cdf"))
        self._late = []
        if p95_s > self.most_s:
            self._lower(preset, p95_s, self.most_s)

    def _lower(self, preset: str, p95_s: float, most_s: float) -> None:
        missed = f"latency {p95_s * 1000:.0f} ms is over the {most_s * 1000:.0f} ms allowed"
        lower = cheaper(preset)
        if lower is not None:
            self._panel.turn(preset=lower)
            self.said = f"{missed}: preset {preset} becomes {lower}"
            log.warning("%s", self.said)
        elif not self._has_given_up:
            self._has_given_up = True
            self.said = f"{missed}, and no preset is cheaper than {preset}"
            log.warning("%s", self.said)
