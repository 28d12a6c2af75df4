"""Worker processes: results come back, the dead are replaced, nobody is left behind."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from batches import DEADLY, clip, dies, no_weights, photo, small, task, tiny

from tpvideo.pipeline.batch.manifest import Manifest
from tpvideo.pipeline.batch.pool import Pool, StartFailure
from tpvideo.pipeline.batch.run import Batch
from tpvideo.pipeline.batch.storage import LocalFolder
from tpvideo.pipeline.batch.table import Tally
from tpvideo.pipeline.batch.task import Outcome, Progress
from tpvideo.pipeline.batch.work import Job

DEADLINE_S = 240.0


@pytest.fixture(autouse=True)
def no_process_left() -> Iterator[None]:
    yield
    assert multiprocessing.active_children() == []


def until(pool: Pool, wanted: Callable[[Progress | Outcome], bool]) -> list[Progress | Outcome]:
    """The events up to the first one that is wanted."""
    seen: list[Progress | Outcome] = []
    deadline_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline_s:
        for event in pool.events(1.0):
            seen.append(event)
            if wanted(event):
                return seen
    raise AssertionError(f"no such event in {DEADLINE_S} s: {seen}")


def is_outcome(event: Progress | Outcome) -> bool:
    return isinstance(event, Outcome)


def job(tmp_path: Path) -> Job:
    return Job(small(), str(tmp_path / "out"), tiny)


def test_a_crash_costs_no_other_file_and_its_own_is_tried_again_alone(tmp_path: Path) -> None:
    sources = [photo(tmp_path / f"{n}.png", DEADLY if n == 1 else (90, 90, 90)) for n in range(4)]
    tasks = [task(source, f"{source.stem}_.png") for source in sources]
    environment = {"TEST_ANTIDOTE": str(tmp_path / "antidote"), "OMP_NUM_THREADS": "1"}
    with (
        LocalFolder(tmp_path / "out").held() as folder,
        Pool(job(tmp_path), [environment]) as pool,
    ):
        outcomes = Batch(pool, Tally(4, 0), Manifest(folder, "d1")).run(tasks, {})
    assert {outcome.state for outcome in outcomes} == {"done"}
    assert [outcome.attempts for outcome in outcomes] == [1, 1, 1, 2]
    assert outcomes[-1].task == tasks[1]
    assert pool.replaced == 1
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == [
        "0_.png", "1_.png", "2_.png", "3_.png",
    ]  # fmt: skip


def test_a_task_is_dropped_without_ending_its_worker(tmp_path: Path) -> None:
    source = clip(tmp_path / "a.mp4", 400)
    with Pool(job(tmp_path), [{"OMP_NUM_THREADS": "1"}]) as pool:
        pool.submit(task(source, "a.mp4"))
        until(pool, lambda event: isinstance(event, Progress))
        pool.abort()
        (outcome,) = filter(is_outcome, until(pool, is_outcome))
        assert isinstance(outcome, Outcome)
        assert outcome.state == "interrupted"
        pool.submit(task(photo(tmp_path / "b.png"), "b_.png"))
        (outcome,) = filter(is_outcome, until(pool, is_outcome))
        assert isinstance(outcome, Outcome)
        assert outcome.state == "done"
    assert pool.replaced == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["b_.png"]


@pytest.mark.slow
def test_a_worker_that_holds_too_much_is_replaced_between_tasks(tmp_path: Path) -> None:
    with Pool(job(tmp_path), [{}], memory_bytes=1) as pool:
        pool.submit(task(photo(tmp_path / "a.png"), "a_.png"))
        until(pool, is_outcome)
        assert (pool.replaced, pool.free) == (1, 1)


@pytest.mark.slow
def test_closing_ends_a_worker_in_the_middle_of_a_file(tmp_path: Path) -> None:
    with Pool(job(tmp_path), [{}]) as pool:
        pool.submit(task(clip(tmp_path / "a.mp4", 400), "a.mp4"))
        until(pool, lambda event: isinstance(event, Progress))
    assert list((tmp_path / "out").iterdir()) == []


def test_weights_that_are_missing_end_the_batch_at_once(tmp_path: Path) -> None:
    broken = Job(small(), str(tmp_path / "out"), no_weights)
    with Pool(broken, [{}]) as pool, pytest.raises(StartFailure, match="nosuchmodel"):
        pool.submit(task(tmp_path / "a.png", "a.png"))
        until(pool, is_outcome)


@pytest.mark.slow
def test_workers_that_always_die_while_starting_end_the_batch(tmp_path: Path) -> None:
    broken = Job(small(), str(tmp_path / "out"), dies)
    with Pool(broken, [{}]) as pool, pytest.raises(StartFailure, match="SIGKILL"):
        until(pool, is_outcome)
