"""Stages that work on several batches at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

import pytest
from parts import DEADLINE_S, Collect, Event, Numbers

from tpvideo.pipeline import read, runner
from tpvideo.pipeline.checkpoint import Checkpoint, State
from tpvideo.pipeline.errors import StageError
from tpvideo.pipeline.stage import LanedStage


class Sums(LanedStage[int, list[int], list[int], int]):
    """Adds to every number how many came before it, in three steps that it keeps a record of."""

    def __init__(self, lanes: int, act: Callable[[Sequence[int]], object] = len) -> None:
        self.lanes = lanes
        self.batch = 2
        self.begun: list[int] = []
        self.ended: list[int] = []
        self._act = act

    def prepare(self, items: Sequence[int]) -> list[int]:
        before = len(self.begun)
        self.begun += items
        return [number + before + place for place, number in enumerate(items)]

    def work(self, job: list[int]) -> list[int]:
        self._act(job)
        return job

    def finish(self, items: Sequence[int], made: list[int]) -> Iterator[int]:
        for number, result in zip(items, made, strict=True):
            self.ended.append(number)
            yield result

    def state(self) -> State:
        return {"begun": len(self.begun), "ended": len(self.ended)}


def test_batches_keep_their_order_though_the_first_take_longest() -> None:
    later_ones_are_done = Event()

    def hold_the_first(job: Sequence[int]) -> None:
        if job[0] == 0:
            later_ones_are_done.wait()
        elif job[0] >= 4:
            later_ones_are_done.set()

    stage, sink = Sums(3, hold_the_first), Collect()
    report = read(Numbers(20)).then(stage).into(sink, capacity=8).run()
    assert sink.items == [2 * number for number in range(20)]
    assert stage.begun == stage.ended == list(range(20))
    assert report.timings[1].frames == 20 and report.timings[1].batch == 2.0


def test_as_many_batches_as_lanes_are_in_work_at_once_and_no_more() -> None:
    all_lanes = threading.Barrier(3, timeout=DEADLINE_S)
    at_work, most = [0], [0]
    lock = threading.Lock()

    def meet(_: Sequence[int]) -> None:
        with lock:
            at_work[0] += 1
            most[0] = max(most[0], at_work[0])
        all_lanes.wait()
        with lock:
            at_work[0] -= 1

    read(Numbers(24)).then(Sums(3, meet)).into(Collect(), capacity=8).run()
    assert most == [3]


def test_live_input_has_one_lane() -> None:
    names = set[str]()
    stage = Sums(3, lambda _: names.add(threading.current_thread().name))
    read(Numbers(6)).then(stage).into(Collect(), live=True, capacity=8).run()
    assert names == {"tpvideo-sums"}


def test_a_checkpoint_sees_the_batches_before_it_and_none_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runner, "CHECKPOINT_FRAMES", (5, 5))
    kept: list[Checkpoint] = []

    class Keeping(Collect):
        def keep(self, checkpoint: Checkpoint, /) -> None:
            kept.append(checkpoint)

    read(Numbers(30)).then(Sums(3)).into(Keeping(), capacity=8, checkpoints=True).run()
    assert [checkpoint.frames for checkpoint in kept] == [5, 10, 15, 20, 25, 30]
    assert [checkpoint.states[0]["stage"] for checkpoint in kept] == [
        {"begun": frames, "ended": frames} for frames in (5, 10, 15, 20, 25, 30)
    ]


def test_a_failure_in_one_lane_ends_all_and_names_itself() -> None:
    others_wait = Event()

    def fail(job: Sequence[int]) -> None:
        if job[0] == 8:
            others_wait.wait()
            raise ValueError("eight")
        if job[0] > 8:
            others_wait.set()

    sink = Collect()
    with pytest.raises(StageError, match="sums failed on frames 4-5: eight") as failure:
        read(Numbers(10**9)).then(Sums(2, fail)).into(sink, capacity=8).run()
    assert isinstance(failure.value.__cause__, ValueError)
    assert sink.items == [0, 2, 4, 6][: len(sink.items)] and "finish" not in sink.calls
    assert not [t for t in threading.enumerate() if t.name.startswith("tpvideo-")]


def test_a_failure_elsewhere_ends_every_lane() -> None:
    def refuse(number: int) -> None:
        if number >= 10:
            raise OSError("disk full")

    with pytest.raises(StageError, match="disk full"):
        read(Numbers(10**9)).then(Sums(3)).into(Collect(before=refuse)).run()
    assert not [t for t in threading.enumerate() if t.name.startswith("tpvideo-")]


def test_a_failure_is_told_while_another_lane_waits_for_a_source_that_hangs() -> None:
    is_hanging = Event()

    class Hanging(Numbers):
        def __init__(self) -> None:
            super().__init__(100, self.hang)
            self.is_over = Event()

        def hang(self, number: int) -> None:
            if number == 2:
                is_hanging.set()
                self.is_over.wait()

        def interrupt(self) -> None:
            self.is_over.set()

    def fail(_: Sequence[int]) -> None:
        is_hanging.wait()
        raise ValueError("first batch")

    with pytest.raises(StageError, match="frames 0-1: first batch"):
        read(Hanging()).then(Sums(2, fail)).into(Collect()).run()
