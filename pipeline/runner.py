"""Flow chains stages whose types fit; Pipeline runs the chain, one thread for each stage.

`read(source).then(matting).then(face).into(sink).run()` returns a Report.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from types import FrameType, TracebackType
from typing import Any, Generic, TypeVar

from tpvideo.pipeline.channel import Cancelled, Channel
from tpvideo.pipeline.checkpoint import Checkpoint
from tpvideo.pipeline.errors import ResumeError, StageError
from tpvideo.pipeline.frame import StreamInfo
from tpvideo.pipeline.losses import Losses
from tpvideo.pipeline.metrics import Report
from tpvideo.pipeline.stage import Sink, Source, Stage
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
        )


class Pipeline:
    """Runs a source, stages and a sink, once.

    Every stage has a thread named tpvideo-<stage>, and waits when the channel after it is full.
    In memory are at most the sum of the capacities and one batch for each stage, whatever the
    length of the video.
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
        self._reader = SourceWorker(source, self.channels[0], lambda: self._is_stop_asked)
        between = zip(self._stages, self.channels[:-1], self.channels[1:], strict=True)
        self._workers: tuple[Worker, ...] = (
            self._reader,
            *(
                StageWorker(
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
        self._is_abort_asked = False

    def run(self) -> Report:
        """Open everything, pass every frame through, finish the sink, close everything.

        Parts open front to back and close back to front, always, in the calling thread. In the
        main thread the first Ctrl-C is a `stop` and the second an `abort`, unless the program
        has a SIGINT handler of its own.

        Returns:
            The account of the run, once the last frame is written.

        Raises:
            StageError: the first failure of a stage, its cause chained, later ones as notes.
            KeyboardInterrupt: the run was aborted; the sink has not finished.
            Exception: what a part raised while opening, as it is.
        """
        if self._started_s is not None:
            raise RuntimeError("a pipeline runs once; build another one")
        self._started_s = time.perf_counter()
        with ExitStack() as opened:
            self._open(opened)
            with _ctrl_c_calls(self.stop, self.abort):
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
        self._is_abort_asked = True
        self._cancel()

    def report(self) -> Report:
        """The account so far. From any thread, at any moment."""
        ended_s = self._ended_s or time.perf_counter()
        return Report(
            tuple(worker.clock.timing for worker in self._workers),
            elapsed_s=ended_s - (self._started_s or ended_s),
            dropped=self.channels[0].dropped,
            is_stopped=self._reader.is_stopped,
            losses=tuple(
                replace(loss, stage=name)
                for name, part in self._parts()
                for loss in getattr(part, "losses", NO_LOSSES).found
            ),
            warnings=tuple(
                notice for _, part in self._parts() for notice in getattr(part, "notices", ())
            ),
            time_base=self.info.time_base if self.info else None,
            zero_pts=self._reader.zero_pts,
        )

    def _parts(self) -> Iterator[tuple[str, object]]:
        yield SOURCE_NAME, self._source
        yield from ((stage.name, stage) for stage in self._stages)
        yield SINK_NAME, self._sink

    def _open(self, opened: ExitStack) -> None:
        info = self.info = self._source.open()
        opened.push(_closing(SOURCE_NAME, self._source.close))
        if self._sets_checkpoints:
            fewest, most = CHECKPOINT_FRAMES
            self._reader.checkpoint_every = min(max(round(CHECKPOINT_S * info.rate), fewest), most)
        for stage in self._stages:
            info = stage.open(info)
            opened.push(_closing(stage.name, stage.close))
        self._restore()
        self._sink.open(info)
        opened.push(_closing(SINK_NAME, self._sink.close))

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
                threads.append(threading.Thread(target=self._guard, name=name, args=(worker,)))
                threads[-1].start()
            _join(threads)
        except BaseException:  # a foreign signal handler's, or no more threads to be had
            self._cancel()
            _join(threads)
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
            failure = StageError(worker.name, worker.frames, cause)
            failure.__cause__ = cause
            with self._lock:
                self._failures.append(failure)
            self._cancel()

    def _cancel(self) -> None:
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
        if self._is_abort_asked:
            raise KeyboardInterrupt


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


def _join(threads: Sequence[threading.Thread]) -> None:
    for thread in threads:
        # One endless join cannot be interrupted on Windows; Ctrl-C would wait for the run's end.
        while thread.is_alive():
            thread.join(timeout=1.0)


@contextmanager
def _ctrl_c_calls(*answers: Callable[[], None]) -> Iterator[None]:
    """Inside, the first Ctrl-C calls the first answer, and so on; more than answers do nothing.

    No KeyboardInterrupt is raised, so none can arrive between two lines that belong together.
    Does nothing outside the main thread, or where the program handles SIGINT in its own way.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    waiting = list(answers)

    def handle(_number: int, _frame: FrameType | None) -> None:
        if waiting:
            waiting.pop(0)()

    previous = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
