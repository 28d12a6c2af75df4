"""One task after the other in one process, with the networks loaded once."""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tpvideo.pipeline.batch.observing import kept_notices, resident_bytes, told
from tpvideo.pipeline.batch.remote import fetched, is_remote, publish, remove
from tpvideo.pipeline.batch.storage import LocalFolder, mark_of
from tpvideo.pipeline.batch.task import Made, Outcome, Progress, Target, Task
from tpvideo.pipeline.config import Settings
from tpvideo.pipeline.errors import (
    ConfigError,
    InputError,
    MissingExtraError,
    NoFaceError,
    ResumeError,
    StageError,
    in_one_line,
)
from tpvideo.pipeline.runner import Pipeline

if TYPE_CHECKING:
    from tpvideo.pipeline.app import Networks
    from tpvideo.pipeline.batch.poster import PosterSink

log = logging.getLogger(__name__)

FINAL = (ConfigError, InputError, NoFaceError, MissingExtraError)
"""Errors that another attempt will not mend."""

Load = Callable[[Settings], "Networks"]
"""Reads the networks that settings name; a function that another process can import."""


def load_networks(settings: Settings) -> Networks:
    """The networks that the settings name, on the device that they choose."""
    from tpvideo.pipeline import app

    return app.load_networks(settings, app.pick_machine(settings))


@dataclass(frozen=True, slots=True)
class Job:
    """What all tasks of a batch have in common; goes to every worker."""

    settings: Settings
    out: str
    """The output folder: a path or a URL."""
    load: Load = load_networks
    split_s: float | None = None
    """Films at least twice as long are rendered in parts of at least this length."""


class Workbench:
    """Carries out tasks, one at a time."""

    def __init__(self, job: Job, name: str = "") -> None:
        """Loads the networks.

        Raises:
            WeightsError, ConfigError, MissingExtraError: no task of this batch can be done.
        """
        from tpvideo.pipeline import app

        app.share_cores()
        self.job = job
        self.name = name
        self.networks = job.load(job.settings)
        self._pipeline: Pipeline | None = None
        self._is_abort_asked = False

    def run(self, task: Task, tell: Callable[[Progress], None] = lambda _: None) -> Outcome:
        """Make the results of a source; whatever goes wrong is in the outcome.

        Args:
            task: what to do.
            tell: called a few times a second, in another thread.
        """
        self._is_abort_asked = False
        started_s, cpu_s = time.perf_counter(), time.process_time()
        with kept_notices() as notices:
            outcome = self._attempt(task, tell)
        return replace(
            outcome,
            elapsed_s=time.perf_counter() - started_s,
            cpu_s=time.process_time() - cpu_s,
            notices=(*outcome.notices, *notices),
            worker=self.name,
            resident_bytes=resident_bytes(),
        )

    def abort(self) -> None:
        """Drop the task under way; from any thread."""
        self._is_abort_asked = True
        if self._pipeline is not None:
            self._pipeline.abort()

    def _attempt(self, task: Task, tell: Callable[[Progress], None]) -> Outcome:
        from tpvideo.pipeline.batch import poster

        with ExitStack() as held:
            source = Path(task.source)
            try:
                if is_remote(task.source):
                    source = held.enter_context(fetched(task.source))
                return self._made(task, source, tell)
            except KeyboardInterrupt:
                return Outcome(task, "interrupted")
            except (
                Exception
            ) as error:  # also those of libraries: one bad file must not end the rest
                return Outcome(
                    task,
                    "failed",
                    in_one_line(error).replace(str(source), task.source),
                    kind=type(_cause(error)).__name__,
                    source=task.listed or mark_of(source, with_hash=True),
                    poster=poster.of_source(source),
                    is_worth_retrying=not isinstance(_cause(error), FINAL),
                )
            finally:
                self._pipeline = None

    def _made(self, task: Task, source: Path, tell: Callable[[Progress], None]) -> Outcome:
        """Render into the output folder, or into one of this machine and upload from there."""
        if self.job.split_s and task.part is None and not task.joins:
            from tpvideo.pipeline.batch import parts

            if found := parts.cuts_of(task, source, self.job.settings, self.job.split_s):
                return Outcome(task, "split", parts=tuple(parts.split(task, found)))
        act = self._join if task.joins else self._render_part if task.part else self._render
        if not is_remote(self.job.out):
            return act(task, source, LocalFolder(Path(self.job.out)), tell)
        with tempfile.TemporaryDirectory(prefix="tpvideo-") as name:
            folder = LocalFolder(Path(name))
            outcome = act(task, source, folder, tell)
            made = []
            for each in outcome.made:
                uploaded = publish(folder.root / each.target.name, self._url(each.target))
                made.append(Made(each.target, replace(uploaded, sha256=each.mark.sha256)))
            return replace(outcome, made=tuple(made))

    def _url(self, target: Target) -> str:
        return f"{self.job.out.rstrip('/')}/{target.name}"

    def _render(
        self, task: Task, source: Path, folder: LocalFolder, tell: Callable[[Progress], None]
    ) -> Outcome:
        from tpvideo.pipeline.resume import resumable

        paths = [folder.path_for(target.name) for target in task.targets]
        try:
            sink, pipeline = self._assemble(source, paths, task, resume=True)
        except ResumeError as error:
            log.warning("begun anew: %s", in_one_line(error))
            sink, pipeline = self._assemble(source, paths, task, resume=False)
        self._pipeline = pipeline
        if self._is_abort_asked:
            raise KeyboardInterrupt
        with told(pipeline, task, tell), ExitStack() as kept:
            for path in paths:
                kept.enter_context(resumable(path))
            report = pipeline.run()
        marks = [mark_of(path, with_hash=True) for path in paths]
        made = [
            Made(target, mark) for target, mark in zip(task.targets, marks, strict=True) if mark
        ]
        seen = mark_of(source, with_hash=True)
        if task.listed and seen:
            seen = replace(task.listed, sha256=seen.sha256)
        return Outcome(
            task,
            "done",
            made=tuple(made),
            source=seen,
            frames=report.frames,
            bottleneck=report.bottleneck,
            poster=sink.poster(),
            notices=tuple(f"{loss.count} x {loss.what}" for loss in report.losses),
        )

    def _render_part(
        self, task: Task, source: Path, folder: LocalFolder, tell: Callable[[Progress], None]
    ) -> Outcome:
        from tpvideo.pipeline import app
        from tpvideo.pipeline.batch import parts
        from tpvideo.stages.views import EachView

        part = task.part
        assert part is not None
        begin_s = parts.origin_of(source) + part.begin_s
        settings = parts.part_settings(self.job.settings, part)
        targets = [
            replace(target, name=parts.part_name(target, part.number, suffix))
            for target in task.targets
            for suffix in parts.suffixes(target, settings)
        ]
        paths = [folder.path_for(target.name) for target in targets]
        wholes = [Path(target.name) for target in task.targets]
        sinks = [
            parts.PartSink(path, whole, settings, begin_s)
            for path, whole in zip(paths[::2], wholes, strict=True)
        ]
        yaws = [target.yaw_rad for target in task.targets]
        pipeline = app.assemble_views(source, yaws, EachView(sinks), settings, self.networks)
        self._pipeline = pipeline
        if self._is_abort_asked:
            raise KeyboardInterrupt
        with told(pipeline, task, tell):
            report = pipeline.run()
        made = [
            Made(target, mark)
            for target, path in zip(targets, paths, strict=True)
            if (mark := mark_of(path)) is not None
        ]
        lost = tuple(
            f"part {part.number + 1}: {loss.count} x {loss.what}" for loss in report.losses
        )
        return Outcome(task, "done", made=tuple(made), frames=report.frames, notices=lost)

    def _join(
        self, task: Task, source: Path, folder: LocalFolder, tell: Callable[[Progress], None]
    ) -> Outcome:
        from tpvideo.pipeline import app
        from tpvideo.pipeline.batch import parts

        frames, made = 0, []
        for target in task.targets:
            names = [
                parts.part_name(target, number, suffix)
                for number in range(task.joins)
                for suffix in parts.suffixes(target, self.job.settings)
            ]
            paths = [folder.path_for(name) for name in names]
            if is_remote(self.job.out):
                for name, path in zip(names, paths, strict=True):
                    with fetched(self._url(Target(name, 0.0))) as part:
                        shutil.move(part, path)
            settings = replace(self.job.settings, yaw_rad=target.yaw_rad)
            tags = app.provenance(settings).film_tags() if settings.provenance else {}
            path = folder.path_for(target.name)
            frames = parts.join(paths[::2], source, path, settings, tags)
            if (mark := mark_of(path, with_hash=True)) is not None:
                made.append(Made(target, mark))
            self._forget(names, paths)
        seen = mark_of(source, with_hash=True)
        if task.listed and seen:
            seen = replace(task.listed, sha256=seen.sha256)
        return Outcome(task, "done", made=tuple(made), source=seen, frames=frames)

    def _forget(self, names: Sequence[str], paths: Sequence[Path]) -> None:
        """Remove the parts that were joined."""
        for path in paths:
            path.unlink(missing_ok=True)
        with suppress(OSError):  # not empty: parts of another film
            for folder in paths[0].parents[:2]:
                folder.rmdir()
        if is_remote(self.job.out):
            for name in names:
                remove(self._url(Target(name, 0.0)))

    def _assemble(
        self, source: Path, paths: Sequence[Path], task: Task, *, resume: bool
    ) -> tuple[PosterSink, Pipeline]:
        from tpvideo.pipeline import app
        from tpvideo.pipeline.batch.poster import PosterSink
        from tpvideo.stages.codecs import MOVIE_FORMATS

        files = []
        for path, target in zip(paths, task.targets, strict=True):
            resumes = resume and path.suffix.lower() in MOVIE_FORMATS
            settings = replace(self.job.settings, yaw_rad=target.yaw_rad, resume=resumes)
            files.append(app.file_sink(source, path, settings))
        sink = PosterSink(files)
        yaws = [target.yaw_rad for target in task.targets]
        return sink, app.assemble_views(source, yaws, sink, self.job.settings, self.networks)


def _cause(error: BaseException) -> BaseException:
    """What made a stage fail; other errors speak for themselves."""
    return error.__cause__ or error if isinstance(error, StageError) else error
