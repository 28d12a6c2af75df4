"""Running a chain of stages: order, memory, failures, stopping."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import pytest
from parts import INFO, Add, Collect, Event, Later, Numbers, fail_at, waiting_at_a_channel

from tpvideo.pipeline import Pipeline, Stage, Stamp, StreamInfo, read, runner
from tpvideo.pipeline.checkpoint import Checkpoint, State
from tpvideo.pipeline.errors import InputError, ResumeError, StageError

ENDLESS = 10**9


@dataclass
class Stamped:
    stamp: Stamp


class StampedNumbers:
    """Yields items stamped with every second number, as after dropped frames."""

    def __init__(self, count: int) -> None:
        self._count = count

    def open(self) -> StreamInfo:
        return INFO

    def __iter__(self) -> Iterator[Stamped]:
        for number in range(self._count):
            yield Stamped(Stamp(index=2 * number, pts=number))

    def close(self) -> None: ...


class Do(Stage[int, int]):
    """Calls a function with every batch."""

    def __init__(self, act: Callable[[Sequence[int]], object], batch: int = 1) -> None:
        self._act = act
        self.batch = batch

    def process(self, items: Sequence[int]) -> Iterable[int]:
        self._act(items)
        return items


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


# --- order, batches, memory -----------------------------------------------------------------


def test_order_is_kept_through_batches_and_a_stage_that_hands_on_late() -> None:
    sink = Collect()
    report = read(Numbers(200)).then(Add(batch=8)).then(Later()).then(Add()).into(sink).run()
    assert sink.items == [number + 200 for number in range(200)]
    assert sink.calls == ["open", "finish", "close"]
    assert report.frames == 200
    assert not report.is_stopped


def test_batches_are_full_but_for_the_tail_even_beyond_the_capacity() -> None:
    add = Add(batch=8)
    read(Numbers(20)).then(add).into(Collect(), capacity=2).run()
    assert add.sizes == [8, 8, 4]


def test_linger_hands_over_what_there_is() -> None:
    first_is_through = Event()
    add = Add(batch=64, linger_s=0.001)

    def wait_for_the_first(number: int) -> None:
        if number == 1:
            first_is_through.wait()

    sink = Collect(before=lambda item: first_is_through.set())
    read(Numbers(2, before=wait_for_the_first)).then(add).into(sink).run()
    assert add.sizes == [1, 1]


def test_a_slow_sink_bounds_how_far_the_source_reads_ahead() -> None:
    read_so_far = [0]
    ahead: list[int] = []

    def read_one(number: int) -> None:
        read_so_far[0] = number + 1

    sink = Collect(before=lambda item: ahead.append(read_so_far[0] - len(sink.items)))
    pipeline = read(Numbers(300, before=read_one)).then(Add()).then(Add()).into(sink, capacity=2)
    pipeline.run()
    # Three channels of 2, and one frame in the hands of each of the four threads.
    assert max(ahead) <= 3 * 2 + 4
    assert all(channel.high_water <= 2 for channel in pipeline.channels)


def test_a_stage_may_yield_lazily_and_what_it_yielded_is_written_at_once() -> None:
    written = Event()

    class Twice(Stage[int, int]):
        def process(self, items: Sequence[int]) -> Iterator[int]:
            for item in items:
                yield item
                written.wait()  # only the sink, with the first copy, lets the second one follow
                yield item

    sink = Collect(before=lambda item: written.set())
    read(Numbers(1)).then(Twice()).into(sink).run()
    assert sink.items == [0, 0]


def test_stages_see_the_stream_as_the_ones_before_changed_it() -> None:
    class Square(Stage[int, int]):
        def open(self, info: StreamInfo) -> StreamInfo:
            return StreamInfo(8, 8, info.rate, info.time_base, info.frames)

        def process(self, items: Sequence[int]) -> Iterable[int]:
            return items

    sink = Collect()
    read(Numbers(1)).then(Square()).into(sink).run()
    assert sink.info is not None
    assert (sink.info.width, sink.info.rate) == (8, INFO.rate)


def test_threads_carry_the_names_of_their_stages() -> None:
    names: list[str] = []
    look = Do(lambda items: names.extend(thread.name for thread in threading.enumerate()))
    read(Numbers(1)).then(look).into(Collect()).run()
    assert "tpvideo-do" in names


def test_a_pipeline_runs_once() -> None:
    pipeline = read(Numbers(1)).into(Collect())
    pipeline.run()
    with pytest.raises(RuntimeError, match="once"):
        pipeline.run()


def test_a_chain_with_the_stages_swapped_is_a_type_error() -> None:
    class Text(Stage[int, str]):
        def process(self, items: Sequence[int]) -> Iterable[str]:
            return map(str, items)

    flow = read(Numbers(1)).then(Text())
    # mypy runs over this file and reports an ignore that is not needed, so this line is the test.
    swapped = flow.then(Add())  # type: ignore[arg-type]
    assert len(swapped.stages) == 2


# --- the account ----------------------------------------------------------------------------


def test_report_names_every_stage_and_counts_its_batches() -> None:
    report = read(Numbers(12)).then(Add(batch=4)).into(Collect()).run()
    assert [timing.stage for timing in report.timings] == ["decode", "add", "encode"]
    assert [timing.frames for timing in report.timings] == [12, 12, 12]
    assert [timing.batch for timing in report.timings] == [1.0, 4.0, 1.0]
    assert report.elapsed_s > 0


def test_report_says_who_waited_for_whom(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first frame takes the stage five seconds, all of which its neighbours wait."""
    now_s = [1.0]
    monkeypatch.setattr("tpvideo.pipeline.metrics.time.perf_counter", lambda: now_s[0])

    def hold(items: Sequence[int]) -> None:
        if items[0] == 0:
            decode_waits.wait()
            encode_waits.wait()
            now_s[0] = 6.0

    pipeline = read(Numbers(20)).then(Do(hold)).into(Collect(), capacity=1)
    decode_waits = waiting_at_a_channel(pipeline, "decode")
    encode_waits = waiting_at_a_channel(pipeline, "encode")
    report = pipeline.run()
    assert report.bottleneck == "do"
    decode, stage, encode = report.timings
    assert (decode.blocked_s, stage.busy_s, encode.starved_s) == (5.0, 5.0, 5.0)
    assert (decode.busy_s, stage.starved_s, stage.blocked_s, encode.busy_s) == (0, 0, 0, 0)


def test_report_can_be_read_while_the_run_goes_on() -> None:
    seen: list[int] = []
    sink = Collect(before=lambda item: seen.append(pipeline.report().frames))
    pipeline = read(Numbers(5)).into(sink)
    assert pipeline.report().elapsed_s == 0.0
    pipeline.run()
    assert seen == [0, 1, 2, 3, 4]


# --- failures -------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["decode", "do", "encode"])
def test_failure_anywhere_stops_everything_and_names_stage_and_frame(where: str) -> None:
    def fails(stage: str) -> Callable[[int], None]:
        return fail_at(50 if stage == where else -1, OSError("out of luck"))

    source = Numbers(ENDLESS, before=fails("decode"))
    stage = Do(lambda items: fails("do")(items[0]))
    sink = Collect(before=fails("encode"))
    with pytest.raises(StageError, match=f"^{where} failed on frame 50: out of luck$") as caught:
        read(source).then(stage).into(sink, capacity=2).run()
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.frames == range(50, 51)
    assert source.calls == ["open", "close"]
    assert sink.calls == ["open", "close"]


def test_failure_in_a_batch_names_all_its_frames() -> None:
    stage = Do(lambda items: fail_at(17, ValueError("boom"))(items[1]), batch=8)
    with pytest.raises(StageError, match="do failed on frames 16-23: boom"):
        read(Numbers(100)).then(stage).into(Collect()).run()


def test_failure_names_frames_by_their_stamps() -> None:
    class Broken(Stage[Stamped, int]):
        batch = 3

        def process(self, items: Sequence[Stamped]) -> Iterable[int]:
            raise ValueError("boom")

    with pytest.raises(StageError, match="broken failed on frames 0-4: boom"):
        read(StampedNumbers(9)).then(Broken()).into(Collect()).run()


def test_failure_at_the_end_of_the_stream_names_no_frame() -> None:
    class Unfinished(Later):
        def flush(self) -> Iterator[int]:
            raise ValueError("nothing was held")

    sink = Collect()
    with pytest.raises(StageError, match=r"^unfinished failed: nothing was held$"):
        read(Numbers(5)).then(Unfinished()).into(sink).run()
    assert "finish" not in sink.calls


def test_failure_in_finish_is_the_sinks_and_closes_it() -> None:
    class Full(Collect):
        def finish(self) -> None:
            raise OSError("disk full")

    sink = Full()
    with pytest.raises(StageError, match=r"^encode failed: disk full$"):
        read(Numbers(5)).into(sink).run()
    assert sink.calls == ["open", "close"]


def test_failure_while_opening_is_raised_as_it_is_and_closes_what_was_open() -> None:
    class Missing(Add):
        def open(self, info: StreamInfo) -> StreamInfo:
            raise InputError("talk.mp4", "no such file")

    source, first, sink = Numbers(5), Add(), Collect()
    with pytest.raises(InputError, match="no such file"):
        read(source).then(first).then(Missing()).into(sink).run()
    assert source.calls == first.calls == ["open", "close"]
    assert sink.calls == []


def test_failure_while_closing_fails_the_run_and_closes_the_others() -> None:
    class Stuck(Add):
        def close(self) -> None:
            raise OSError("stuck")

    source = Numbers(5)
    with pytest.raises(StageError, match=r"^stuck failed: stuck$"):
        read(source).then(Stuck()).into(Collect()).run()
    assert source.calls == ["open", "close"]


def test_later_failures_are_notes_of_the_first() -> None:
    first_failed = Event()

    class Stuck(Collect):
        def close(self) -> None:
            raise OSError("stuck")

    def fail_second(number: int) -> None:
        first_failed.wait()
        raise OSError("second")

    class First(Stage[int, int]):
        def process(self, items: Sequence[int]) -> Iterable[int]:
            pipeline.channels[0].cancel = tell  # type: ignore[method-assign]
            raise ValueError("first")

    def tell() -> None:
        first_failed.set()

    pipeline = (
        read(Numbers(2, before=lambda n: fail_second(n) if n else None)).then(First()).into(Stuck())
    )
    with pytest.raises(StageError, match="first failed on frame 0: first") as caught:
        pipeline.run()
    assert caught.value.__notes__ == [
        "then decode failed on frame 1: second",
        "then encode failed: stuck",
    ]


def test_even_a_system_exit_in_a_stage_ends_the_run() -> None:
    def quit_all(items: Sequence[int]) -> None:
        raise SystemExit(3)

    with pytest.raises(StageError, match="do failed on frame 0: 3") as caught:
        read(Numbers(ENDLESS)).then(Do(quit_all)).into(Collect(), capacity=1).run()
    assert isinstance(caught.value.__cause__, SystemExit)


# --- stopping -------------------------------------------------------------------------------


def test_stop_finishes_what_was_read() -> None:
    def stop_at_ten(number: int) -> None:
        if number == 10:
            pipeline.stop()

    sink = Collect()
    pipeline = (
        read(Numbers(ENDLESS, before=stop_at_ten)).then(Add(batch=4)).then(Later()).into(sink)
    )
    report = pipeline.run()
    assert sink.items == [number + 100 for number in range(11)]
    assert sink.calls == ["open", "finish", "close"]
    assert report.is_stopped


def test_abort_from_another_thread_finishes_nothing() -> None:
    def abort_at_ten(item: int) -> None:
        if item == 110:
            pipeline.abort()

    sink = Collect(before=abort_at_ten)
    pipeline = read(Numbers(ENDLESS)).then(Add()).into(sink)
    with pytest.raises(KeyboardInterrupt):
        pipeline.run()
    assert sink.calls == ["open", "close"]


def test_first_ctrl_c_finishes_a_shorter_result() -> None:
    sink = Collect(before=lambda item: press_ctrl_c() if item == 110 else None)
    report = read(Numbers(ENDLESS)).then(Add()).into(sink).run()
    assert sink.items == [number + 100 for number in range(len(sink.items))]
    assert len(sink.items) > 10
    assert sink.calls == ["open", "finish", "close"]
    assert report.is_stopped


def test_second_ctrl_c_leaves_nothing() -> None:
    stopped, aborted = Event(), Event()

    class Told(Pipeline):
        def stop(self) -> None:
            super().stop()
            stopped.set()

        def abort(self) -> None:
            super().abort()
            aborted.set()

    def press_twice(item: int) -> None:
        if item == 110:
            press_ctrl_c()
            stopped.wait()
            press_ctrl_c()
            aborted.wait()

    sink = Collect(before=press_twice)
    with pytest.raises(KeyboardInterrupt):
        Told(Numbers(ENDLESS), [Add()], sink).run()
    assert sink.calls == ["open", "close"]


def test_ctrl_c_while_finishing_does_not_lose_the_result() -> None:
    class Slow(Collect):
        def finish(self) -> None:
            press_ctrl_c()
            super().finish()

    sink = Slow()
    report = read(Numbers(3)).into(sink).run()
    assert sink.calls == ["open", "finish", "close"]
    assert not report.is_stopped


def test_the_programs_own_interrupt_handler_is_kept_and_leaves_no_thread() -> None:
    class Interrupted(Exception):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupted

    previous = signal.signal(signal.SIGINT, interrupt)
    sink = Collect(before=lambda item: press_ctrl_c() if item == 10 else None)
    try:
        with pytest.raises(Interrupted):
            read(Numbers(ENDLESS)).into(sink).run()
        assert signal.getsignal(signal.SIGINT) is interrupt
    finally:
        signal.signal(signal.SIGINT, previous)
    assert sink.calls == ["open", "close"]


def test_the_usual_ctrl_c_is_back_after_a_run() -> None:
    read(Numbers(1)).into(Collect()).run()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_run_outside_the_main_thread_leaves_signals_alone() -> None:
    sink = Collect()
    thread = threading.Thread(target=read(Numbers(3)).into(sink).run)
    thread.start()
    thread.join()
    assert sink.items == [0, 1, 2]


# --- live -----------------------------------------------------------------------------------


def test_live_input_drops_the_oldest_at_the_first_channel_only() -> None:
    all_were_read = Event()
    sink = Collect()
    hold = Do(lambda items: all_were_read.wait())

    def read_one(number: int) -> None:
        if number == 99:
            all_were_read.set()

    pipeline = read(Numbers(100, before=read_one)).then(hold).into(sink, capacity=2, live=True)
    report = pipeline.run()
    assert report.dropped == 100 - len(sink.items) > 0
    assert [channel.dropped for channel in pipeline.channels[1:]] == [0]
    assert sink.items == sorted(sink.items)
    assert sink.items[-1] == 99


def test_live_stages_do_not_wait_for_a_full_batch() -> None:
    first_is_through = Event()
    add = Add(batch=64)

    def wait_for_the_first(number: int) -> None:
        if number == 1:
            first_is_through.wait()

    sink = Collect(before=lambda item: first_is_through.set())
    source = Numbers(2, before=wait_for_the_first)
    Pipeline(source, [add], sink, live=True).run()
    assert add.sizes == [1, 1]


def test_a_limit_of_frames_in_flight_leaves_no_queue_before_the_slow_stage() -> None:
    """Five stages with room between them: without the limit the slow one would have ten frames
    before it, each older than the next."""
    counts: list[int] = []
    in_flight: set[int] = set()

    def enter(items: Sequence[int]) -> None:
        in_flight.update(items)
        counts.append(len(in_flight))

    sink = Collect(before=in_flight.discard)
    chain = read(Numbers(300)).then(Do(enter)).then(Do(len)).then(Do(len)).then(Do(len))
    report = chain.into(sink, capacity=2, live=True, in_flight=2).run()
    assert max(counts) <= 2
    assert report.dropped == 300 - len(sink.items)
    assert sink.items[-1] == 299


def test_failure_ends_a_run_whose_frames_in_flight_are_at_their_limit() -> None:
    chain = read(Numbers(ENDLESS)).then(Add()).then(Do(fail_in_batch))
    with pytest.raises(StageError, match="broken"):
        chain.into(Collect(), live=True, in_flight=1).run()


def test_a_source_that_waits_can_see_that_the_run_has_failed() -> None:
    """As a camera that is unplugged waits for its return."""
    is_over = Event()

    def wait(number: int) -> None:
        if number == 1:
            while not pipeline.is_stopping:
                is_over.is_set()
            is_over.set()

    pipeline = read(Numbers(ENDLESS, before=wait)).then(Do(fail_in_batch)).into(Collect())
    with pytest.raises(StageError, match="broken"):
        pipeline.run()
    is_over.wait()


def fail_in_batch(items: Sequence[int]) -> None:
    raise ValueError("broken")


# --- checkpoints ----------------------------------------------------------------------------


class Sum(Stage[int, int]):
    """Adds up what came so far."""

    batch = 4

    def __init__(self) -> None:
        self.total = 0
        self.sizes: list[int] = []

    def process(self, items: Sequence[int]) -> Iterator[int]:
        self.sizes.append(len(items))
        for item in items:
            self.total += item
            yield self.total

    def state(self) -> State:
        return {"total": self.total}

    def restore(self, state: State) -> None:
        self.total = state["total"]


class Keeping(Collect):
    """Remembers each checkpoint, and how many items came before it."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[tuple[int, Checkpoint]] = []

    def keep(self, checkpoint: Checkpoint) -> None:
        self.kept.append((len(self.items), checkpoint))


def test_a_checkpoint_holds_what_each_stage_knew_between_two_frames(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runner, "CHECKPOINT_FRAMES", (6, 6))
    sink, stage = Keeping(), Sum()
    report = read(Numbers(15)).then(Add()).then(stage).into(sink, checkpoints=True).run()
    assert [(count, mark.frames) for count, mark in sink.kept] == [(6, 6), (12, 12)]
    for count, mark in sink.kept:
        assert [state["stage"] for state in mark.states] == [{}, {"total": sink.items[count - 1]}]
    assert stage.sizes == [4, 2, 4, 2, 3]  # each begins anew at a checkpoint
    assert report.frames == 15


def test_a_resumed_chain_goes_on_with_what_it_knew() -> None:
    sink = Keeping()
    begin = Checkpoint(6, 0, ({"stage": {"total": 1000}, "losses": None},))
    report = read(Numbers(3)).then(Sum()).into(sink, resume=begin).run()
    assert sink.items == [1000, 1001, 1003]
    assert (report.earlier_frames, report.frames) == (6, 3)


class Late(Stage[int, int]):
    """Hands every number on once two more have come."""

    def __init__(self) -> None:
        self.waiting: list[int] = []

    @property
    def held(self) -> int:
        return len(self.waiting)

    def process(self, items: Sequence[int]) -> list[int]:
        self.waiting += items
        ready, self.waiting = self.waiting[:-2], self.waiting[-2:]
        return ready

    def flush(self) -> list[int]:
        return self.waiting

    def state(self) -> State:
        return {"waiting": list(self.waiting)}

    def restore(self, state: State) -> None:
        self.waiting = list(state["waiting"])


def test_what_a_stage_holds_back_is_in_the_checkpoint_and_not_yet_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runner, "CHECKPOINT_FRAMES", (6, 6))
    sink, again = Keeping(), Keeping()
    read(Numbers(8)).then(Late()).into(sink, checkpoints=True).run()
    assert sink.items == list(range(8))
    ((written, mark),) = sink.kept
    assert (written, mark.written, mark.frames) == (4, 4, 6)
    report = read(Numbers(2)).then(Late()).into(again, resume=mark).run()
    assert again.items == [4, 5, 0, 1]  # what was held, then what is read anew
    assert (report.earlier_frames, report.frames) == (4, 4)


def test_a_state_that_does_not_fit_is_refused() -> None:
    for states in ((), ({"stage": {"other": 1}, "losses": None},), ({},)):
        pipeline = read(Numbers(3)).then(Sum()).into(Keeping(), resume=Checkpoint(6, 0, states))
        with pytest.raises(ResumeError, match="what the stages remember of earlier frames"):
            pipeline.run()


def test_live_input_and_sinks_that_keep_nothing_have_no_checkpoints(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runner, "CHECKPOINT_FRAMES", (2, 2))
    live, plain = Keeping(), Collect()
    read(Numbers(9)).into(live, live=True, capacity=20, checkpoints=True).run()
    assert live.kept == []
    read(Numbers(9)).into(plain, checkpoints=True).run()
    assert plain.items == list(range(9))
