"""What can be changed while a live session runs, and how a change reaches the stages."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

from tpvideo.pipeline.config import MOST_PITCH_RAD, MOST_YAW_RAD, Settings
from tpvideo.pipeline.errors import ConfigError
from tpvideo.pipeline.frame import StreamInfo
from tpvideo.pipeline.live.presets import PRESETS
from tpvideo.pipeline.stage import Stage

In = TypeVar("In")
Out = TypeVar("Out")

ZOOMS = (0.7, 2.0)
RANGES = {
    "yaw_rad": (-MOST_YAW_RAD, MOST_YAW_RAD),
    "pitch_rad": (-MOST_PITCH_RAD, MOST_PITCH_RAD),
    "zoom": ZOOMS,
}
"""Least and most of the knobs that are turned in steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Controls:
    """One setting of all the knobs, checked at birth."""

    yaw_rad: float = 0.0
    pitch_rad: float = 0.0
    zoom: float = 1.0
    """Length of the new camera's lens; 1 frames the head as the source's crop does."""
    smooth: float = 0.5
    background: str = "black"
    mirror: bool = False
    """Flip the finished picture, as a mirror shows it."""
    preset: str = "balanced"

    def __post_init__(self) -> None:
        for name in ("yaw_rad", "pitch_rad", "zoom", "smooth"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ConfigError(f"{name} must be a number, got {value!r}")
        if not isinstance(self.mirror, bool):
            raise ConfigError(f"mirror must be true or false, got {self.mirror!r}")
        if not isinstance(self.background, str) or self.background == "transparent":
            raise ConfigError(f"a live background must be visible, got {self.background!r}")
        Settings(  # the same ranges as everywhere
            yaw_rad=self.yaw_rad,
            pitch_rad=self.pitch_rad,
            smooth=self.smooth,
            background=self.background,
        )
        if not ZOOMS[0] <= self.zoom <= ZOOMS[1]:
            raise ConfigError(f"zoom must be {ZOOMS[0]} to {ZOOMS[1]}, got {self.zoom:g}")
        if self.preset not in PRESETS:
            raise ConfigError(f"preset must be {' or '.join(PRESETS)}, got {self.preset!r}")


class Panel:
    """The knobs of a session: anybody may turn them, from any thread, and be told of turns."""

    def __init__(self, controls: Controls) -> None:
        self._controls = controls
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], None]] = []

    @property
    def controls(self) -> Controls:
        """How the knobs stand; a whole value, never half of a change."""
        return self._controls

    def turn(self, **changes: Any) -> Controls:
        """Change some knobs.

        Raises:
            ConfigError: there is no such knob, or a value is out of range; nothing has changed.
        """
        unknown = changes.keys() - asdict(self._controls).keys()
        if unknown:
            raise ConfigError(f"there is no knob called {sorted(unknown)[0]}")
        with self._lock:
            self._controls = replace(self._controls, **changes)
        for tell in self._listeners:
            tell()
        return self._controls

    def on_turn(self, tell: Callable[[], None]) -> None:
        """Call `tell` after every change, in the thread that made it."""
        self._listeners.append(tell)


class Steered(Stage[In, Out]):
    """A stage whose settings follow the panel, between one batch and the next.

    Args:
        stage: what does the work.
        panel: the knobs.
        steer: puts the knobs' values into the stage; called in the stage's own thread.
    """

    def __init__(
        self, stage: Stage[In, Out], panel: Panel, steer: Callable[[Controls], None]
    ) -> None:
        self._stage = stage
        self._panel = panel
        self._steer = steer
        self._seen: Controls | None = None
        self.batch = stage.batch
        self.linger_s = stage.linger_s

    @property
    def name(self) -> str:
        """The stage's own."""
        return self._stage.name

    def open(self, info: StreamInfo) -> StreamInfo:
        """As the stage does."""
        return self._stage.open(info)

    def process(self, items: Sequence[In]) -> Iterable[Out]:
        """As the stage does, once it knows how the knobs stand."""
        controls = self._panel.controls
        if controls is not self._seen:
            self._steer(controls)
            self._seen = controls
        return self._stage.process(items)

    def flush(self) -> Iterable[Out]:
        """As the stage does."""
        return self._stage.flush()

    def close(self) -> None:
        """As the stage does."""
        self._stage.close()
