"""Handing out, retrying, stopping: what becomes of every file, whatever happens to some."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from batches import FakeWorkers, done, failed, task

from tpvideo.pipeline.batch import run
from tpvideo.pipeline.batch.manifest import Manifest
from tpvideo.pipeline.batch.run import Batch, examine, exit_code
from tpvideo.pipeline.batch.storage import LocalFolder, mark_of
from tpvideo.pipeline.batch.table import Tally
from tpvideo.pipeline.batch.task import Made, Outcome, Part, Task

TASKS = [task(f"{letter}.mp4", f"{letter}_yaw0.3.mp4") for letter in "abcd"]


@pytest.fixture
def manifest(tmp_path: Path) -> Iterator[Manifest]:
    with LocalFolder(tmp_path / "out").held() as folder:
        yield Manifest(folder, "d1")


def states(outcomes: list[Outcome]) -> dict[str, str]:
    return {outcome.task.source[0]: outcome.state for outcome in outcomes}


def carried_out(
    manifest: Manifest, workers: FakeWorkers, tasks: list[Task] = TASKS, **how: int
) -> list[Outcome]:
    return Batch(workers, Tally(len(tasks), 40), manifest, **how).run(tasks, {})  # type: ignore[arg-type]


def test_a_bad_file_does_not_keep_the_others_from_being_made(manifest: Manifest) -> None:
    workers = FakeWorkers({"b.mp4": [failed(TASKS[1])]})
    outcomes = carried_out(manifest, workers)
    assert states(outcomes) == {"a": "done", "b": "failed", "c": "done", "d": "done"}
    assert max(workers.together) == 1  # beside it, at most one other of two


def test_what_is_at_fault_itself_is_not_tried_again(manifest: Manifest) -> None:
    workers = FakeWorkers({"a.mp4": [failed(TASKS[0])]})
    carried_out(manifest, workers, retries=3)
    assert workers.given.count("a.mp4") == 1


def test_a_passing_failure_is_tried_again_so_many_times(manifest: Manifest) -> None:
    a, b = (failed(task, "disk full", is_worth_retrying=True) for task in TASKS[:2])
    workers = FakeWorkers({"a.mp4": [a, a], "b.mp4": [b] * 9})
    outcomes = carried_out(manifest, workers, TASKS[:2], retries=2)
    assert states(outcomes) == {"a": "done", "b": "failed"}
    assert {outcome.task.source: outcome.attempts for outcome in outcomes} == {
        "a.mp4": 3,
        "b.mp4": 3,
    }


def test_a_file_that_brought_a_worker_down_is_tried_once_more_alone(manifest: Manifest) -> None:
    crash = failed(TASKS[0], "the worker died", is_crash=True)
    workers = FakeWorkers({"a.mp4": [crash]})
    outcomes = carried_out(manifest, workers)
    assert states(outcomes) == dict.fromkeys("abcd", "done")
    assert workers.given == ["a.mp4", "b.mp4", "c.mp4", "d.mp4", "a.mp4"]
    assert workers.together[-1] == 0


def test_a_file_that_always_kills_its_worker_ends_as_failed(manifest: Manifest) -> None:
    crash = failed(TASKS[0], "the worker died", is_crash=True)
    outcomes = carried_out(manifest, FakeWorkers({"a.mp4": [crash] * 9}))
    assert states(outcomes)["a"] == "failed"
    assert outcomes[-1].attempts == 2


def test_fail_fast_drops_the_rest(manifest: Manifest) -> None:
    workers = FakeWorkers({"a.mp4": [failed(TASKS[0])]})
    outcomes = carried_out(manifest, workers, fail_fast=True)
    assert states(outcomes) == {
        "a": "failed",
        "b": "interrupted",
        "c": "unstarted",
        "d": "unstarted",
    }
    assert workers.is_aborted


class Presses(FakeWorkers):
    """Presses Ctrl-C so many times when the first file is asked about."""

    batch: Batch
    times = 1

    def events(self, timeout_s: float):  # type: ignore[no-untyped-def]
        for _ in range(self.times):
            self.batch.stop()
        self.times = 0
        if self.batch.is_aborting and not self.is_aborted:
            return  # the order to drop everything comes first
        yield from super().events(timeout_s)


@pytest.mark.parametrize(("times", "under_way"), [(1, "done"), (2, "interrupted")])
def test_ctrl_c_finishes_what_is_under_way_and_twice_drops_it(
    manifest: Manifest, times: int, under_way: str
) -> None:
    workers = Presses()
    workers.batch = Batch(workers, Tally(4, 40), manifest)
    workers.times = times
    outcomes = workers.batch.run(TASKS, {})
    assert states(outcomes) == {
        "a": under_way,
        "b": under_way,
        "c": "unstarted",
        "d": "unstarted",
    }


def test_only_the_results_that_are_missing_are_made(manifest: Manifest, tmp_path: Path) -> None:
    source = tmp_path / "a.mp4"
    source.write_text("0123456789")
    wanted = task(source, "a1.mp4", "a2.mp4")
    manifest.folder.write("a1.mp4", b"result")
    mark, made_of = mark_of(tmp_path / "out" / "a1.mp4"), mark_of(source)
    assert mark and made_of
    things = (Made(wanted.targets[0], mark),)
    manifest.add(Outcome(wanted, "done", made=things, source=made_of))
    manifest.read()
    plan = examine([wanted], manifest, overwrite=False)
    assert [target.name for target in plan.wanted[0].targets] == ["a2.mp4"]
    manifest.folder.write("a2.mp4", b"not ours")
    plan = examine([wanted], manifest, overwrite=False)
    assert [outcome.state for outcome in plan.settled] == ["failed"]
    plan = examine([wanted], manifest, overwrite=True)
    assert [target.name for target in plan.wanted[0].targets] == ["a2.mp4"]


class Slow(FakeWorkers):
    """Takes an hour for the last file, by the clock it sets."""

    clock_s = 0.0

    def events(self, timeout_s: float):  # type: ignore[no-untyped-def]
        if self.under_way and self.under_way[0].source == "slow.mp4" and self.clock_s < 3600:
            self.clock_s = 3600.0
            return
        yield from super().events(timeout_s)


def test_a_file_that_takes_far_longer_than_its_length_is_named_once(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, float]] = []
    workers = Slow(at_once=1)
    monkeypatch.setattr(run.time, "monotonic", lambda: workers.clock_s)
    tally = Tally(6, 60)
    monkeypatch.setattr(tally, "slow", lambda task, spent, usual: told.append((task.source, usual)))
    tasks = [task(f"{number}.mp4", f"{number}_.mp4") for number in range(5)]
    Batch(workers, tally, manifest).run([*tasks, task("slow.mp4", "s.mp4")], {})
    assert told == [("slow.mp4", 1.5)]


def in_parts(whole: Task, count: int = 3) -> list[Task]:
    edges = [Fraction(number) for number in range(count)]
    parts = [Part(number, count, edge, None, Fraction(0)) for number, edge in enumerate(edges)]
    return [replace(whole, part=part) for part in parts]


def test_a_long_film_is_joined_once_when_all_its_parts_are_there(manifest: Manifest) -> None:
    whole = TASKS[0]
    workers = FakeWorkers({"a.mp4": [Outcome(whole, "split", parts=tuple(in_parts(whole)))]})
    outcomes = carried_out(manifest, workers)
    assert states(outcomes) == dict.fromkeys("abcd", "done")
    assert workers.given.count("a.mp4") == 5  # found to be long, three parts, joined
    assert [outcome.task for outcome in outcomes if outcome.task.source == "a.mp4"] == [whole]


def test_a_film_with_a_bad_part_fails_once_and_is_not_joined(manifest: Manifest) -> None:
    whole = TASKS[0]
    parts = in_parts(whole)
    bad = failed(parts[0], "its middle is damaged")
    workers = FakeWorkers({"a.mp4": [Outcome(whole, "split", parts=tuple(parts)), bad]})
    outcomes = carried_out(manifest, workers)
    assert states(outcomes) == {"a": "failed", "b": "done", "c": "done", "d": "done"}
    assert len(outcomes) == 4
    assert workers.given.count("a.mp4") < 5


@pytest.mark.parametrize(
    ("outcomes", "is_interrupted", "code"),
    [
        ([done(TASKS[0])], False, 0),
        ([done(TASKS[0]), Outcome(TASKS[1], "good")], False, 0),
        ([done(TASKS[0]), failed(TASKS[1])], False, 3),
        ([Outcome(TASKS[0], "good"), failed(TASKS[1])], False, 3),
        ([failed(TASKS[0]), failed(TASKS[1])], False, 1),
        ([done(TASKS[0])], True, 130),
    ],
)
def test_the_exit_code_tells_all_some_or_none(
    outcomes: list[Outcome], is_interrupted: bool, code: int
) -> None:
    assert exit_code(outcomes, is_interrupted=is_interrupted) == code
