"""What is passed between the parts of a batch: one task for each source, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

State = Literal["done", "failed", "good", "interrupted", "unstarted", "split"]
"""good: there from an earlier run; interrupted: dropped while under way; unstarted: never begun;
split: found to be long, and cut into the outcome's parts."""


@dataclass(frozen=True, slots=True)
class Target:
    """One result of a source."""

    name: str
    """Below the output folder, with forward slashes; see plan.safe_name."""
    yaw_rad: float


@dataclass(frozen=True, slots=True)
class Mark:
    """What tells a file from another one of the same name."""

    bytes: int
    token: str
    """Modification time in nanoseconds, or the store's own tag of a version."""
    sha256: str = ""
    """Of the content; empty where it was not read."""


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a film that is rendered apart; seconds are from the source's start."""

    number: int
    of: int
    begin_s: Fraction
    end_s: Fraction | None
    """None is the source's end."""
    warm_s: Fraction
    """How much earlier to begin, so that what remembers earlier frames has settled."""


@dataclass(frozen=True, slots=True)
class Task:
    """A source and the results that are wanted of it."""

    source: str
    """A path or a URL."""
    targets: tuple[Target, ...]
    label: str
    """How people see it: the source below the folder it was found in."""
    bytes: int = 0
    """Length of the source, for estimates; 0 where unknown."""
    listed: Mark | None = None
    """What a store said of the source; None for a file, which can be asked at any time."""
    part: Part | None = None
    """Only this stretch of it."""
    joins: int = 0
    """So many parts lie ready and are to be joined."""

    @property
    def key(self) -> str:
        """What tells it from every other task of a batch."""
        part = "" if self.part is None else f"#{self.part.number}"
        return f"{self.source}{part}{'#' if self.joins else ''}"


@dataclass(frozen=True, slots=True)
class Made:
    """A result that was written, and how to know it again."""

    target: Target
    mark: Mark


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a task."""

    task: Task
    state: State
    reason: str = ""
    """One line; empty when all went well."""
    kind: str = ""
    """Name of the error's class."""
    made: tuple[Made, ...] = ()
    source: Mark | None = None
    frames: int = 0
    elapsed_s: float = 0.0
    cpu_s: float = 0.0
    """Seconds of processor time, all threads of the worker together."""
    bottleneck: str = ""
    notices: tuple[str, ...] = ()
    poster: bytes = b""
    """JPEG: a frame of the source and the same frame of each result, side by side."""
    worker: str = ""
    attempts: int = 1
    resident_bytes: int = 0
    """Memory the worker held after it."""
    is_worth_retrying: bool = False
    """Another attempt may end differently: the fault is not in the source or the settings."""
    is_crash: bool = False
    """The worker died."""
    parts: tuple[Task, ...] = ()
    """What a task was split into."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a task is; sent a few times a second."""

    task: Task
    frames: int = 0
    of: int | None = None
    elapsed_s: float = 0.0
    worker: str = field(default="", compare=False)

    @property
    def rate(self) -> float:
        """Frames a second so far."""
        return self.frames / self.elapsed_s if self.elapsed_s else 0.0
