"""Sources and results in a store: fsspec's own in memory stands for all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import fsspec
import pytest
from batches import done, photo, small, task, tiny
from films import frame_times, sound_packets
from synthetic import write_clip

from tpvideo.pipeline.batch import plan, remote
from tpvideo.pipeline.batch.manifest import NAME, Manifest
from tpvideo.pipeline.batch.remote import RemoteFolder
from tpvideo.pipeline.batch.run import examine
from tpvideo.pipeline.batch.work import Job, Workbench
from tpvideo.pipeline.config import Settings
from tpvideo.pipeline.errors import ConfigError, InputError, MissingExtraError, OutputError


@pytest.fixture
def store() -> Iterator[fsspec.AbstractFileSystem]:
    """An empty store called memory://."""
    files = fsspec.filesystem("memory")
    files.store.clear()
    files.pseudo_dirs[:] = [""]
    yield files
    files.store.clear()


def put(store: fsspec.AbstractFileSystem, path: Path, name: str) -> str:
    store.pipe_file(name, path.read_bytes())
    return f"memory:/{name}" if name.startswith("/") else f"memory://{name}"


def test_folders_patterns_and_files_are_found(store: fsspec.AbstractFileSystem) -> None:
    for name in ("a.mp4", "b.png", "notes.txt", "sub/c.mp4", "sub/.d.mp4"):
        store.pipe_file(f"/in/{name}", b"x")

    def below(*inputs: str, recursive: bool = False) -> list[str]:
        found = plan.find_sources(inputs, [], "memory://out", recursive=recursive)
        return [source.below.as_posix() for source in found]

    assert below("memory://in") == ["a.mp4", "b.png"]
    assert below("memory://in", recursive=True) == ["a.mp4", "b.png", "sub/c.mp4"]
    assert below("memory://in/**/*.mp4") == ["a.mp4", "sub/c.mp4"]
    assert below("memory://in/sub/c.mp4") == ["c.mp4"]
    with pytest.raises(ConfigError, match="choose another -o"):
        plan.find_sources(["memory://in"], [], "memory://in/", recursive=False)


def test_a_film_from_a_store_and_back_is_the_one_of_this_machine(
    store: fsspec.AbstractFileSystem, tmp_path: Path
) -> None:
    source = write_clip(tmp_path / "a.mp4", 3, sound=[(0.0, 0.1)])
    url = put(store, source, "/in/a.mp4")
    here = Workbench(Job(small(), str(tmp_path / "out"), tiny)).run(task(source, "a_.mp4"))
    there = Workbench(Job(small(), "memory://out", tiny)).run(task(url, "sub/a_.mp4"))
    assert (here.state, there.state) == ("done", "done"), there.reason
    assert here.made[0].mark.sha256 == there.made[0].mark.sha256
    assert store.cat_file("/out/sub/a_.mp4") == (tmp_path / "out" / "a_.mp4").read_bytes()
    assert store.find("/out") == ["/out/sub/a_.mp4"]  # nothing unfinished stays


def test_a_bad_source_is_named_by_its_url(store: fsspec.AbstractFileSystem) -> None:
    store.pipe_file("/in/bad.mp4", b"junk")
    bench = Workbench(Job(small(), "memory://out", tiny))
    outcome = bench.run(task("memory://in/bad.mp4", "bad_.mp4"))
    assert (outcome.state, outcome.kind) == ("failed", "InputError")
    assert outcome.reason.startswith("cannot read memory://in/bad.mp4: not a video")
    missing = bench.run(task("memory://in/gone.mp4", "gone_.mp4"))
    assert (missing.kind, missing.is_worth_retrying) == ("InputError", False)
    assert "cannot read memory://in/gone.mp4" in missing.reason
    assert store.find("/out") == []


def test_parts_meet_in_the_store(store: fsspec.AbstractFileSystem, tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", 24, options={"g": "8"}, sound=[(0.0, 0.9)])
    url = put(store, source, "/in/a.mp4")
    bench = Workbench(Job(small(), "memory://out", tiny, split_s=0.25))
    wanted = task(url, "a_.mp4")
    parts = bench.run(wanted).parts
    assert len(parts) == 3
    assert [bench.run(part).state for part in parts] == ["done"] * 3
    joined = bench.run(replace(wanted, joins=3))
    assert (joined.state, joined.frames) == ("done", 24), joined.reason
    (tmp_path / "back.mp4").write_bytes(store.cat_file("/out/a_.mp4"))
    assert frame_times(tmp_path / "back.mp4") == frame_times(source)
    assert sound_packets(tmp_path / "back.mp4") == sound_packets(source)
    assert store.find("/out") == ["/out/a_.mp4"]


def test_a_later_run_reads_what_an_earlier_one_left_in_pieces(
    store: fsspec.AbstractFileSystem, tmp_path: Path
) -> None:
    put(store, photo(tmp_path / "me.png"), "/in/me.png")
    sources = plan.find_sources(["memory://in"], [], "memory://out", recursive=False)
    tasks = plan.tasks(sources, Settings(), [0.3], None)
    outcome = Workbench(Job(small(), "memory://out", tiny)).run(tasks[0])
    first = RemoteFolder("memory://out")
    Manifest(first, "d1").promise([], {})  # the first line is written at once
    Manifest(first, "d1").add(outcome)
    first._write_parts()  # and then the program is killed
    assert [name for name in store.find("/out") if NAME in name] != [f"/out/{NAME}"]

    second = RemoteFolder("memory://out")
    manifest = Manifest(second, "d1")
    manifest.read()
    todo = examine(tasks, manifest, overwrite=False)
    assert [each.state for each in todo.settled] == ["good"]
    manifest.add(done(task("x.png", "x_.png")))
    second.close()
    assert store.find("/out") == [f"/out/{NAME}", "/out/me_yaw0.3.png"]
    assert store.cat_file(f"/out/{NAME}").count(b"\n") == 3

    store.pipe_file("/in/me.png", b"another photograph")
    changed = plan.tasks(
        plan.find_sources(["memory://in"], [], "memory://out", recursive=False),
        Settings(), [0.3], None,
    )  # fmt: skip
    third = Manifest(RemoteFolder("memory://out"), "d1")
    third.read()
    (refused,) = examine(changed, third, overwrite=False).settled
    assert "made of an earlier me.png" in refused.reason


def test_a_store_that_fails_is_an_error_of_ours(
    store: fsspec.AbstractFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("access denied\nby policy")

    monkeypatch.setattr(type(store), "put_file", refuse)
    with pytest.raises(OutputError, match="cannot write memory://out/a: access denied by policy"):
        remote.publish(photo(tmp_path / "a.png"), "memory://out/a")
    monkeypatch.setattr(type(store), "isdir", refuse)
    with pytest.raises(InputError, match="cannot read memory://in: access denied"):
        list(remote.find("memory://in", recursive=False))


def test_a_kind_of_store_that_is_not_known_or_not_installed_is_named() -> None:
    with pytest.raises(InputError, match="no store of the kind nosuch"):
        remote.file_system("nosuch://in")
    with pytest.raises(MissingExtraError, match=r"pip install 'tpvideo\[cluster\]'"):
        remote.file_system("gs://in")
