"""What tests of a batch share: tiny networks for worker processes, small sources, and stand-ins."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from faces import known_face
from PIL import Image as Pillow
from synthetic import write_clip
from tiny import tiny_network

from tpvideo.pipeline.app import Networks
from tpvideo.pipeline.batch.task import Made, Mark, Outcome, Progress, Target, Task
from tpvideo.pipeline.config import Settings
from tpvideo.pipeline.errors import WeightsError
from tpvideo.pipeline.frame import Image
from tpvideo.stages.facefinder import FaceBox, FaceReading

DEADLY = (250, 0, 250)
"""A picture whose middle has this colour kills the process that looks for faces in it."""


class OneFace:
    """Sees one face in every picture; dies of a deadly one while `deadly_until` is no file."""

    def __init__(self, antidote: str | None = None) -> None:
        self.antidote = antidote

    def find(self, rgb: Image) -> list[FaceBox]:
        middle = rgb[rgb.shape[0] // 2, rgb.shape[1] // 2].astype(int)
        is_deadly = self.antidote is not None and np.abs(middle - DEADLY).max() < 16
        if is_deadly and not os.path.exists(str(self.antidote)):
            Path(str(self.antidote)).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return [known_face(48.0, 32.0, 50.0).box()]

    def read(self, rgb: Image, box: FaceBox) -> FaceReading:
        return known_face(48.0, 32.0, 50.0)


def tiny(settings: Settings) -> Networks:
    """Networks that every process builds alike."""
    torch.manual_seed(11)
    return Networks(tiny_network(), OneFace(os.environ.get("TEST_ANTIDOTE")))


def no_weights(settings: Settings) -> Networks:
    """As when a model file is missing."""
    raise WeightsError("no weights named nosuchmodel")


def dies(settings: Settings) -> Networks:
    """As when loading takes more memory than there is."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("still alive")


def small(**changes: object) -> Settings:
    """Settings that keep a run short."""
    wanted = {"matting": "none", "size": 64, "device": "cpu", "overwrite": True, **changes}
    return Settings(**wanted)  # type: ignore[arg-type]


def clip(path: Path, frames: int = 3) -> Path:
    """A numbered clip of 96 x 64."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_clip(path, frames)


def photo(path: Path, colour: tuple[int, int, int] = (90, 90, 90)) -> Path:
    """A photograph of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(np.full((64, 96, 3), colour, np.uint8)).save(path)
    return path


def task(source: Path | str, *names: str, yaw_rad: float = 0.3) -> Task:
    """A task that makes these results."""
    return Task(str(source), tuple(Target(name, yaw_rad) for name in names), Path(source).name, 10)


@dataclass
class FakeWorkers:
    """Carries out tasks at once by a script: the states of a source's attempts, "done" after it."""

    script: dict[str, list[Outcome]] = field(default_factory=dict)
    at_once: int = 2
    given: list[str] = field(default_factory=list)
    together: list[int] = field(default_factory=list)
    """How many were under way when each was given."""
    under_way: list[Task] = field(default_factory=list)
    is_aborted: bool = False

    @property
    def free(self) -> int:
        return self.at_once - len(self.under_way)

    def submit(self, task: Task) -> str:
        assert self.free > 0
        self.together.append(len(self.under_way))
        self.given.append(task.source)
        self.under_way.append(task)
        return "worker 1"

    def events(self, timeout_s: float) -> Iterable[Progress | Outcome]:
        if self.under_way:
            task = self.under_way.pop(0)
            outcomes = self.script.get(task.source, [])
            if self.is_aborted:
                yield Outcome(task, "interrupted")
            else:
                yield Progress(task, 1, 3, 0.5)
                yield outcomes.pop(0) if outcomes else done(task)

    def abort(self) -> None:
        self.is_aborted = True


def done(task: Task) -> Outcome:
    """All went well."""
    made = tuple(Made(target, Mark(3, "1", "ab")) for target in task.targets)
    return Outcome(task, "done", made=made, source=Mark(10, "1", "cd"), frames=3, elapsed_s=1.5)


def failed(task: Task, reason: str = "it is damaged", **more: object) -> Outcome:
    """Something went wrong."""
    return Outcome(task, "failed", reason, kind="InputError", **more)  # type: ignore[arg-type]
