"""What an earlier run's lines say of the results that lie there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from batches import small, task

from tpvideo.pipeline.batch.manifest import NAME, Manifest, settings_digest
from tpvideo.pipeline.batch.storage import LocalFolder, mark_of
from tpvideo.pipeline.batch.task import Made, Outcome, Task
from tpvideo.pipeline.errors import OutputError


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[LocalFolder]:
    with LocalFolder(tmp_path / "out").held() as folder:
        yield folder


@pytest.fixture
def made(tmp_path: Path, folder: LocalFolder) -> Task:
    """A source and its result, with their line in the manifest."""
    source = tmp_path / "a.mp4"
    source.write_text("source")
    wanted = task(source, "a_yaw0.3.mp4")
    folder.path_for("a_yaw0.3.mp4").write_text("result")
    add(folder, wanted)
    return wanted


def add(folder: LocalFolder, wanted: Task) -> None:
    marks = [
        (target, mark_of(folder.root / target.name, with_hash=True)) for target in wanted.targets
    ]
    things = tuple(Made(target, mark) for target, mark in marks if mark)
    source = mark_of(wanted.source, with_hash=True)
    Manifest(folder, "d1").add(Outcome(wanted, "done", made=things, source=source))


def verdict(folder: LocalFolder, wanted: Task, digest: str = "d1") -> tuple[str, str]:
    manifest = Manifest(folder, digest)
    manifest.read()
    return manifest.judge(wanted, mark_of(wanted.source), wanted.targets[0])


def test_an_untouched_result_is_good(folder: LocalFolder, made: Task) -> None:
    assert verdict(folder, made) == ("good", "")


def test_a_result_that_is_not_there_is_wanted(folder: LocalFolder, made: Task) -> None:
    (folder.root / "a_yaw0.3.mp4").unlink()
    assert verdict(folder, made)[0] == "wanted"


def test_a_new_time_without_a_new_content_changes_nothing(folder: LocalFolder, made: Task) -> None:
    os.utime(folder.root / "a_yaw0.3.mp4", (1, 1))
    os.utime(made.source, (1, 1))
    assert verdict(folder, made) == ("good", "")


@pytest.mark.parametrize("content", ["RESULT", "another length"])
def test_a_changed_result_is_in_the_way(folder: LocalFolder, made: Task, content: str) -> None:
    (folder.root / "a_yaw0.3.mp4").write_text(content)
    kind, why = verdict(folder, made)
    assert kind == "refused"
    assert "was changed after it was made; pass --overwrite" in why


def test_other_settings_are_named(folder: LocalFolder, made: Task) -> None:
    assert "made with other settings" in verdict(folder, made, digest="d2")[1]


def test_another_angle_under_the_same_name_is_another_result(
    folder: LocalFolder, made: Task
) -> None:
    other = task(made.source, "a_yaw0.3.mp4", yaw_rad=0.1)
    assert "made with other settings" in verdict(folder, other)[1]


def test_a_changed_source_is_named(folder: LocalFolder, made: Task) -> None:
    Path(made.source).write_text("SOURCE")
    assert "made of an earlier a.mp4" in verdict(folder, made)[1]


def test_a_file_that_no_batch_made_is_in_the_way(folder: LocalFolder, tmp_path: Path) -> None:
    (folder.root / "mine.mp4").write_text("mine")
    assert "no batch made it" in verdict(folder, task(tmp_path / "x", "mine.mp4"))[1]


def test_what_a_run_that_was_cut_off_had_promised_is_made_anew(
    folder: LocalFolder, tmp_path: Path
) -> None:
    wanted = task(tmp_path / "a.mp4", "a.mp4", "b.mp4")
    (folder.root / "b.mp4").write_text("mine, and there before")
    Manifest(folder, "d1").promise([wanted], {})
    (folder.root / "a.mp4").write_text("finished, but its line was never written")
    manifest = Manifest(folder, "d1")
    manifest.read()
    kinds = [manifest.judge(wanted, None, target)[0] for target in wanted.targets]
    assert kinds == ["wanted", "refused"]


def test_a_promise_ends_with_the_line_that_keeps_it(folder: LocalFolder, tmp_path: Path) -> None:
    source = tmp_path / "a.mp4"
    source.write_text("source")
    wanted = task(source, "a.mp4")
    Manifest(folder, "d1").promise([wanted], {})
    (folder.root / "a.mp4").write_text("result")
    add(folder, wanted)
    (folder.root / "a.mp4").write_text("edited by hand")
    assert verdict(folder, wanted)[0] == "refused"


def test_a_line_that_was_cut_short_is_left_out_and_ended(folder: LocalFolder, made: Task) -> None:
    folder.close()
    path = folder.root / NAME
    path.write_text(path.read_text() + '{"source": "b.mp4", "outc')
    assert verdict(folder, made) == ("good", "")
    add(folder, made)
    folder.close()
    *_, cut, last = path.read_text().splitlines()
    assert cut == '{"source": "b.mp4", "outc'
    assert json.loads(last)["outcome"] == "done"


def test_two_batches_do_not_share_a_folder(folder: LocalFolder) -> None:
    other = LocalFolder(folder.root)
    with pytest.raises(OutputError, match="another batch is at work"), other.held():
        pass


def test_only_what_changes_the_pictures_is_in_the_digest() -> None:
    weights = {"model": "aa"}
    usual = settings_digest(small(), weights)
    assert settings_digest(small(queue=9, batch_size=4, yaw_rad=0.5), weights) == usual
    assert settings_digest(small(background="white"), weights) != usual
    assert settings_digest(small(), {"model": "bb"}) != usual


# --- nothing leaves the folder --------------------------------------------------------------


def test_a_link_to_another_place_is_not_written_through(
    folder: LocalFolder, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (folder.root / "sub").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    for name in ("sub/a.mp4", "sub/deeper/a.mp4"):
        with pytest.raises(OutputError, match="a link leads out"):
            folder.path_for(name)
    assert not any((tmp_path / "elsewhere").iterdir())


def test_a_link_within_the_folder_is_followed(folder: LocalFolder) -> None:
    (folder.root / "real").mkdir()
    (folder.root / "sub").symlink_to("real", target_is_directory=True)
    assert folder.path_for("sub/a.mp4") == folder.root / "sub" / "a.mp4"


def test_a_link_in_the_place_of_the_unfinished_file_is_refused(
    folder: LocalFolder, tmp_path: Path
) -> None:
    for hidden, name in ((".a.mp4.part", "a.mp4"), (".a.part.png", "a.png")):
        (folder.root / hidden).symlink_to(tmp_path / "victim")
        with pytest.raises(OutputError, match="unfinished"):
            folder.path_for(name)


def test_a_folder_with_the_name_of_a_result_is_refused(folder: LocalFolder) -> None:
    (folder.root / "a.mp4").mkdir()
    with pytest.raises(OutputError, match="a folder has this name"):
        folder.path_for("a.mp4")


def test_a_file_in_the_place_of_a_folder_is_refused(folder: LocalFolder) -> None:
    (folder.root / "sub").touch()
    with pytest.raises(OutputError):
        folder.path_for("sub/a.mp4")


def test_an_outcome_without_a_poster_is_what_the_line_holds(folder: LocalFolder) -> None:
    wanted = task("odd\nname.mp4", "o.mp4")
    Manifest(folder, "d1").add(replace(Outcome(wanted, "failed", "why"), poster=b"jpeg"))
    folder.close()
    (line,) = (folder.root / NAME).read_text().splitlines()
    assert json.loads(line)["source"] == "odd\nname.mp4"
    assert "poster" not in json.loads(line)
