"""Flow chains stages whose types fit; Pipeline runs the chain, one thread for each stage.

`read(source).then(matting).then(face).into(sink).run()` returns a Report.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Generic, TypeVar

from tpvideo.pipeline.channel import Cancelled, Channel
from tpvideo.pipeline.checkpoint import Checkpoint
from tpvideo.pipeline.errors import ResumeError, StageError, StallError
from tpvideo.pipeline.frame import StreamInfo
from tpvideo.pipeline.lanes import LanedWorker
from tpvideo.pipeline.losses import Losses
from tpvideo.pipeline.metrics import Report
from tpvideo.pipeline.signals import answered
from tpvideo.pipeline.stage import Interruptible, LanedStage, Sink, Source, Stage
from tpvideo.pipeline.worker import (
    SINK_NAME,
    SOURCE_NAME,
    SinkWorker,
    SourceWorker,
    StageWorker,
    Worker,
    remind,
)

CHECKPOINT_S = 8
"""Length of the source between two checkpoints, seconds."""
CHECKPOINT_FRAMES = (25, 500)
"""Fewest and most frames between two, whatever the rate."""

POLL_S = 0.5
"""How often a waiting run looks whether its source still delivers."""
GRACE_S = 3.0
"""How long a source that hangs may take to end when the run is over."""

log = logging.getLogger(__name__)

NO_LOSSES = Losses()
"""Of a part that cannot lose anything."""

A = TypeVar("A")
B = TypeVar("B")


def read(source: Source[A]) -> Flow[A]:
    """Begin a chain."""
    return Flow(source)


@dataclass(frozen=True)
class Flow(Generic[A]):
    """A chain that yields items of type A; a type checker refuses a stage that takes another."""

    source: Source[Any]
    stages: tuple[Stage[Any, Any], ...] = ()

    def then(self, stage: Stage[A, B]) -> Flow[B]:
        """The chain with one more stage."""
        return Flow(self.source, (*self.stages, stage))

    def into(
        self,
        sink: Sink[A],
        *,
        capacity: int = 4,
        live: bool = False,
        in_flight: int | None = None,
        checkpoints: bool = False,
        resume: Checkpoint | None = None,
        stall_timeout_s: float | None = None,
    ) -> Pipeline:
        """End the chain; see Pipeline for the settings."""
        return Pipeline(
            self.source,
            self.stages,
            sink,
            capacity=capacity,
            live=live,
            in_flight=in_flight,
            checkpoints=checkpoints,
            resume=resume,
            stall_timeout_s=stall_timeout_s,
        )


class Pipeline:
    """Runs a source, stages and a sink, once.

    Every stage has a thread named tpvideo-<stage>, one with lanes as many, and waits when the
    channel after it is full. In memory are at most the sum of the capacities and one batch for
    each thread, whatever the length of the video.
    """

    def __init__(
        self,
        source: Source[Any],
        stages: Sequence[Stage[Any, Any]],
        sink: Sink[Any],
        *,
        capacity: int = 4,
        live: bool = False,
        in_flight: int | None = None,
        checkpoints: bool = False,
        resume: Checkpoint | None = None,
        stall_timeout_s: float | None = None,
    ) -> None:
        """
        Args:
            source, stages, sink: the chain, in order; Flow builds it with its types checked.
            capacity: most items waiting between two stages, at least 1.
            live: the input does not wait: the first channel drops its oldest frame instead of
                blocking, and no stage waits for a full batch unless its linger_s says so.
            in_flight: most items between the first channel and the end of the sink, where every
                stage gives one item for one: a slow stage then leaves no queues before it, and
                the frames wait, and are dropped, in the first channel. None is no limit.
            checkpoints: every few seconds of the source, hand a sink that is a Keeper what a
                later run needs to go on from there. Not for live input.
            resume: go on from here; the source and the sink were told already.
            stall_timeout_s: a source that is asked for a frame and gives none for so long fails
                the run; None waits for ever.
        """
        self._source = source
        self._stages = tuple(stages)
        self._sink = sink
        self.channels: tuple[Channel[Any], ...] = tuple(
            Channel(capacity, drop_oldest=live and position == 0)
            for position in range(len(self._stages) + 1)
        )
        """From the source's output to the sink's input."""
        self._admitted = Channel[None](in_flight) if in_flight and self._stages else None
        self._sets_checkpoints = checkpoints and not live
        self._resume = resume
        self._stall_timeout_s = stall_timeout_s
        self._reader = SourceWorker(source, self.channels[0], lambda: self._is_stop_asked)
        self._reader.begin = resume
        between = zip(self._stages, self.channels[:-1], self.channels[1:], strict=True)
        self._workers: tuple[Worker, ...] = (
            self._reader,
            *(
                _stage_worker(
                    stage,
                    inbox,
                    outbox,
                    live=live,
                    admitted=self._admitted if inbox is self.channels[0] else None,
                )
                for stage, inbox, outbox in between
            ),
            SinkWorker(sink, self.channels[-1], self._admitted),
        )
        self.info: StreamInfo | None = None
        """What the source says of the stream; None until it is open."""
        self._failures: list[StageError] = []
        self._lock = threading.Lock()
        self._started_s: float | None = None
        self._ended_s: float | None = None
        # Plain flags, not Events: a signal handler sets them and must not wait for a lock.
        self._is_stop_asked = False
        self._is_cancelled = False
        self._aborted_by: BaseException | None = None
        self._is_source_stuck = False

    def run(self) -> Report:
        """Open everything, pass every frame through, finish the sink, close everything.

        Parts open front to back and close back to front, always, in the calling thread. In the
        main thread the first Ctrl-C is a `stop` and the second an `abort`, as are SIGTERM and
        SIGHUP, unless the program has a handler of its own.

        Returns:
            The account of the run, once the last frame is written.

        Raises:
            StageError: the first failure of a stage, its cause chained, later ones as notes; a
                StallError where the source gave no frame any more.
            KeyboardInterrupt: the run was aborted; the sink has not finished.
            Terminated: the same, by SIGTERM or SIGHUP.
            Exception: what a part raised while opening, as it is.
        """
        if self._started_s is not None:
            raise RuntimeError("a pipeline runs once; build another one")
        self._started_s = time.perf_counter()
        with ExitStack() as opened:
            self._open(opened)
            with answered(self.stop, self.abort, self._abort):
                self._run_threads()
                self._raise_failures()
                _finish(self._sink)
        return self.report()

    def stop(self) -> None:
        """Read no further than the frame being read; what was read is finished and written.

        From any thread. Asked before the run, it still reads one frame.
        """
        self._is_stop_asked = True

    @property
    def is_stopping(self) -> bool:
        """No more is to be read: a stop was asked for, or the run failed; a source that waits
        for long looks here. What was read may still be on its way."""
        return self._is_stop_asked

    def abort(self) -> None:
        """Drop everything now; `run` raises KeyboardInterrupt. From any thread."""
        self._abort(KeyboardInterrupt())

    def report(self) -> Report:
        """The account so far. From any thread, at any moment."""
        ended_s = self._ended_s or time.perf_counter()
        return Report(
            tuple(worker.timing for worker in self._workers),
            elapsed_s=ended_s - (self._started_s or ended_s),
            dropped=self.channels[0].dropped,
            is_stopped=self._reader.is_stopped,
            earlier_frames=self._resume.written if self._resume else 0,
            losses=tuple(
                replace(loss, stage=name)
                for name, part in self._parts()
                for loss in getattr(part, "losses", NO_LOSSES).found
            ),
            warnings=tuple(
                notice for _, part in self._parts() for notice in getattr(part, "notices", ())
            ),
            gauges=tuple(
                reading
                for _, part in self._parts()
                if (gauge := getattr(part, "gauge", None)) and (reading := gauge.read())
            ),
            time_base=self.info.time_base if self.info else None,
            zero_pts=self._reader.zero_pts,
        )

    def _parts(self) -> Iterator[tuple[str, object]]:
        yield SOURCE_NAME, self._source
        yield from ((stage.name, stage) for stage in self._stages)
        yield SINK_NAME, self._sink

    def _open(self, opened: ExitStack) -> None:
        opened.push(_closing(SOURCE_NAME, self._close_source))
        info = self.info = self._source.open()
        if self._sets_checkpoints:
            fewest, most = CHECKPOINT_FRAMES
            self._reader.checkpoint_every = min(max(round(CHECKPOINT_S * info.rate), fewest), most)
        for stage in self._stages:
            opened.push(_closing(stage.name, stage.close))
            info = stage.open(info)
        self._restore()
        opened.push(_closing(SINK_NAME, self._sink.close))
        self._sink.open(info)

    def _close_source(self) -> None:
        if not self._is_source_stuck:  # what a thread still reads must not be taken from it
            self._source.close()

    def _restore(self) -> None:
        """Let every stage remember what it did when the checkpoint was set."""
        if self._resume is None:
            return
        try:
            for stage, state in zip(self._stages, self._resume.states, strict=True):
                remind(stage, state)
        except (KeyError, TypeError, ValueError) as error:
            reason = "what the stages remember of earlier frames is damaged"
            raise ResumeError("the interrupted run", reason) from error

    def _run_threads(self) -> None:
        """Return when every thread has ended, however it ended."""
        self._started_s = time.perf_counter()
        threads: list[threading.Thread] = []
        try:
            for worker in self._workers:
                name = f"tpvideo-{worker.name}"
                thread = threading.Thread(target=self._guard, name=name, args=(worker,))
                thread.daemon = worker is self._reader  # one stuck in the system lets us exit
                threads.append(thread)
                thread.start()
            self._join(threads)
        except BaseException:  # a foreign signal handler's, or no more threads to be had
            self._cancel()
            self._join(threads)
            raise
        finally:
            self._ended_s = time.perf_counter()

    def _guard(self, worker: Worker) -> None:
        """Run in the worker's thread: whatever it raises, even SystemExit, ends the run."""
        try:
            worker.work()
        except Cancelled:
            pass
        except BaseException as cause:
            self._fail(worker, cause)

    def _join(self, threads: Sequence[threading.Thread]) -> None:
        """Wait for the threads, and for a source that hangs only so long."""
        reader, *others = threads
        while running := [thread for thread in others if thread.is_alive()]:
            # One endless join cannot be interrupted on Windows; Ctrl-C would wait for the end.
            running[-1].join(POLL_S)
            self._expect_frames()
        if self._is_cancelled and reader.is_alive() and isinstance(self._source, Interruptible):
            self._source.interrupt()
        if reader.is_alive():
            reader.join(GRACE_S)  # its channel is closed or cancelled: it ends, or hangs
        self._is_source_stuck = reader.is_alive()
        if self._is_source_stuck:
            log.warning("the source hangs in the system; its thread is left behind")

    def _expect_frames(self) -> None:
        """Fail a run whose source gives no frame any more."""
        limit_s, waited_s = self._stall_timeout_s, self._reader.clock.busy_for_s()
        if limit_s is not None and waited_s > limit_s and not self._is_cancelled:
            self._fail(self._reader, StallError(limit_s))

    def _fail(self, worker: Worker, cause: BaseException) -> None:
        failure = StageError(worker.name, worker.frames, cause)
        failure.__cause__ = cause
        with self._lock:
            self._failures.append(failure)
        self._cancel()

    def _abort(self, cause: BaseException) -> None:
        self._aborted_by = self._aborted_by or cause
        self._cancel()

    def _cancel(self) -> None:
        self._is_cancelled = True
        self._is_stop_asked = True
        for channel in self.channels:
            channel.cancel()
        if self._admitted is not None:
            self._admitted.cancel()

    def _raise_failures(self) -> None:
        if self._failures:
            first, *later = self._failures
            for failure in later:
                first.add_note(f"then {failure}")
            raise first
        if self._aborted_by is not None:
            raise self._aborted_by


def _stage_worker(
    stage: Stage[Any, Any],
    inbox: Channel[Any],
    outbox: Channel[Any],
    *,
    live: bool,
    admitted: Channel[None] | None,
) -> Worker:
    if isinstance(stage, LanedStage) and stage.lanes > 1 and not live:
        return LanedWorker(stage, inbox, outbox)
    return StageWorker(stage, inbox, outbox, live=live, admitted=admitted)


def _finish(sink: Sink[Any]) -> None:
    try:
        sink.finish()
    except Exception as cause:
        raise StageError(SINK_NAME, None, cause) from cause


def _closing(
    name: str, close: Callable[[], None]
) -> Callable[[type[BaseException] | None, BaseException | None, TracebackType | None], None]:
    """What an ExitStack calls to close a part; a failure of close never hides an earlier one."""

    def leave(
        _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        try:
            close()
        except Exception as cause:
            if error is None:
                raise StageError(name, None, cause) from cause
            error.add_note(f"then {StageError(name, None, cause)}")

    return leave
