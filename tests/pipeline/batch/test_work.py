"""One source after the other in one process: results, refusals, posters."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from batches import clip, photo, small, task, tiny
from films import frame_times, read_all, sound_packets
from PIL import Image as Pillow
from synthetic import write_clip

from tpvideo.pipeline import app, runner
from tpvideo.pipeline.batch.storage import sha256_of
from tpvideo.pipeline.batch.task import Progress, Target, Task
from tpvideo.pipeline.batch.work import Job, Workbench
from tpvideo.pipeline.checkpoint import Checkpoint
from tpvideo.stages.decode import FileSource
from tpvideo.stages.provenance import read_provenance
from tpvideo.stages.views import EachFile

YAWS = (-0.3, 0.3)


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    return Workbench(Job(small(), str(tmp_path / "out"), tiny), "worker 7")


def test_several_angles_in_one_pass_are_what_single_runs_write(
    bench: Workbench, tmp_path: Path
) -> None:
    source = clip(tmp_path / "a.mp4")
    targets = tuple(Target(f"sub/{yaw}.mp4", yaw) for yaw in YAWS)
    outcome = bench.run(Task(str(source), targets, "a.mp4"))
    assert (outcome.state, outcome.frames, outcome.worker) == ("done", 3, "worker 7")
    for made, yaw in zip(outcome.made, YAWS, strict=True):
        path, alone = tmp_path / "out" / made.target.name, tmp_path / f"{yaw}.mp4"
        app.assemble(source, alone, small(yaw_rad=yaw), tiny(small())).run()
        assert path.read_bytes() == alone.read_bytes()
        assert made.mark.sha256 == sha256_of(path)
    assert outcome.source is not None
    assert outcome.source.sha256 == sha256_of(source)
    assert len({made.mark.sha256 for made in outcome.made}) == 2


def test_the_poster_shows_the_source_beside_its_results(bench: Workbench, tmp_path: Path) -> None:
    outcome = bench.run(task(photo(tmp_path / "me.png", (200, 30, 30)), "turned.png"))
    with Pillow.open(io.BytesIO(outcome.poster)) as poster:
        assert poster.size == (216 + 144, 144)
        assert poster.getpixel((20, 70))[0] > 150  # type: ignore[index]


@pytest.mark.parametrize(
    ("content", "kind", "reason"),
    [
        (b"junk", "InputError", "not a video or picture"),
        (b"", "InputError", "the file is empty"),
        (None, "InputError", "no such file"),
    ],
)
def test_a_bad_source_is_an_outcome_and_the_next_one_works(
    bench: Workbench, tmp_path: Path, content: bytes | None, kind: str, reason: str
) -> None:
    path = tmp_path / "bad.mp4"
    if content is not None:
        path.write_bytes(content)
    outcome = bench.run(task(path, "bad.mp4"))
    assert (outcome.state, outcome.kind, outcome.is_worth_retrying) == ("failed", kind, False)
    assert reason in outcome.reason
    assert "\n" not in outcome.reason
    assert bench.run(task(photo(tmp_path / "me.png"), "me.png")).state == "done"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["me.png"]


def test_a_failure_of_the_machine_is_worth_another_attempt(
    bench: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(app, "assemble_views", fail)
    outcome = bench.run(task(photo(tmp_path / "me.png"), "me.png"))
    assert (outcome.kind, outcome.is_worth_retrying) == ("MemoryError", True)
    assert outcome.reason == "MemoryError: no room"


def test_a_name_that_leads_out_through_a_link_is_an_outcome(
    bench: Workbench, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub").symlink_to(tmp_path, target_is_directory=True)
    outcome = bench.run(task(photo(tmp_path / "me.png"), "sub/turned.png"))
    assert "a link leads out" in outcome.reason
    assert not (tmp_path / "turned.png").exists()


def test_a_task_that_is_dropped_leaves_nothing(bench: Workbench, tmp_path: Path) -> None:
    def drop(_: Progress) -> None:
        bench.abort()

    source = clip(tmp_path / "a.mp4", 200)
    outcome = bench.run(task(source, "a.mp4"), drop)
    assert outcome.state == "interrupted"
    assert list((tmp_path / "out").iterdir()) == []


def test_a_task_that_was_cut_off_goes_on_with_what_is_kept(
    bench: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "CHECKPOINT_FRAMES", (6, 6))
    source = clip(tmp_path / "a.mp4", 12)
    targets = tuple(Target(f"{yaw}.mp4", yaw) for yaw in YAWS)
    undisturbed = bench.run(Task(str(source), targets, "a.mp4"))
    for made in undisturbed.made:
        (tmp_path / "out" / made.target.name).unlink()
    keep = EachFile.keep

    def keep_and_leave(sink: EachFile, checkpoint: Checkpoint) -> None:
        keep(sink, checkpoint)
        bench.abort()

    with monkeypatch.context() as patched:
        patched.setattr(EachFile, "keep", keep_and_leave)
        assert bench.run(Task(str(source), targets, "a.mp4")).state == "interrupted"
    left = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert left == [".-0.3.mp4.part", ".0.3.mp4.part"]
    outcome = bench.run(Task(str(source), targets, "a.mp4"))
    assert [made.mark.sha256 for made in outcome.made] == [
        made.mark.sha256 for made in undisturbed.made
    ]
    assert 0 < outcome.frames <= 10  # two of the first six were kept, four were held back
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["-0.3.mp4", "0.3.mp4"]


def test_what_the_stages_warn_of_is_kept(bench: Workbench, tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", 3, sound=[(0.0, 0.1)])
    outcome = bench.run(task(source, "a.webm"))
    assert outcome.state == "done"
    assert any("encoded anew with libopus" in notice for notice in outcome.notices)
    assert bench.run(task(source, "a.mp4")).notices == ()


def test_a_long_film_in_parts_is_the_whole_one(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", 40, options={"g": "10"}, sound=[(0.0, 1.6)])
    targets = tuple(Target(f"{yaw}.mp4", yaw) for yaw in YAWS)
    wanted = Task(str(source), targets, "a.mp4")
    whole = Workbench(Job(small(crf=0), str(tmp_path / "whole"), tiny)).run(wanted)
    bench = Workbench(Job(small(crf=0), str(tmp_path / "out"), tiny, split_s=0.5))
    split = bench.run(wanted)
    assert (split.state, len(split.parts)) == ("split", 2)
    made = [bench.run(part) for part in reversed(split.parts)]
    assert [outcome.state for outcome in made] == ["done", "done"], made
    joined = bench.run(replace(wanted, joins=2))
    assert (joined.state, joined.frames, whole.frames) == ("done", 40, 40), joined.reason
    for target in targets:
        one, other = tmp_path / "whole" / target.name, tmp_path / "out" / target.name
        assert frame_times(other) == frame_times(one)
        assert sound_packets(other) == sound_packets(one)
        pictures = [
            np.stack([frame.rgb for frame in read_all(FileSource(p))[1]]) for p in (one, other)
        ]
        difference = np.abs(pictures[0].astype(int) - pictures[1])
        assert difference.max() == 0  # at crf 0 the encoder's choices do not show
        assert read_provenance(other) == read_provenance(one)
    names = sorted(path.name for path in (tmp_path / "out").rglob("*"))
    assert names == ["-0.3.mp4", "0.3.mp4"]


def test_a_film_of_less_than_two_parts_and_a_photograph_stay_whole(tmp_path: Path) -> None:
    bench = Workbench(Job(small(), str(tmp_path / "out"), tiny, split_s=1.0))
    film = write_clip(tmp_path / "a.mp4", 30, options={"g": "10"})
    assert bench.run(task(film, "a.mp4")).state == "done"
    assert bench.run(task(photo(tmp_path / "b.png"), "b.png")).state == "done"
    assert bench.run(task(film, "a.mkv", yaw_rad=0.1)).state == "done"
