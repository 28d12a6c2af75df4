"""Which sources a batch has, and that no result leaves the output folder."""

from __future__ import annotations

import io
import os
from pathlib import Path, PurePosixPath

import pytest

from tpvideo.pipeline.batch import plan
from tpvideo.pipeline.config import Settings
from tpvideo.pipeline.errors import ConfigError, InputError


@pytest.fixture
def clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree of empty files; the test runs beside it."""
    monkeypatch.chdir(tmp_path)
    names = "b.mp4 a.MOV me.jpg notes.txt .hidden.mp4 sub/c.mp4 sub/deep/d.webm sub/.trash/e.mp4"
    for name in names.split():
        path = tmp_path / "clips" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "clips"


def found(
    *inputs: str, listed: tuple[str, ...] = (), recursive: bool = False, out: str = "out"
) -> list[str]:
    sources = plan.find_sources(inputs, listed, out, recursive=recursive)
    return [source.below.as_posix() for source in sources]


def names(
    *below: str, template: str | None = None, yaws: tuple[float, ...] = (-0.3,), **settings: float
) -> list[str]:
    sources = [plan.Source(path, PurePosixPath(path)) for path in below]
    chosen = Settings(**settings)  # type: ignore[arg-type]
    tasks = plan.tasks(sources, chosen, yaws, template)
    return [target.name for task in tasks for target in task.targets]


# --- sources --------------------------------------------------------------------------------


@pytest.mark.usefixtures("clips")
def test_a_folder_gives_its_videos_and_photographs() -> None:
    assert found("clips") == ["a.MOV", "b.mp4", "me.jpg"]


@pytest.mark.usefixtures("clips")
def test_recursive_keeps_the_tree_and_leaves_hidden_folders_out() -> None:
    assert found("clips", recursive=True) == [
        "a.MOV", "b.mp4", "me.jpg", "sub/c.mp4", "sub/deep/d.webm",
    ]  # fmt: skip


@pytest.mark.usefixtures("clips")
def test_a_pattern_keeps_the_tree_below_its_plain_part() -> None:
    assert found("clips/**/*.mp4") == ["b.mp4", "sub/c.mp4"]


def test_a_file_with_brackets_in_its_name_is_a_file(clips: Path) -> None:
    (clips / "take [1].mp4").touch()
    assert found("clips/take [1].mp4") == ["take [1].mp4"]


@pytest.mark.usefixtures("clips")
def test_files_named_one_by_one_keep_the_tree_below_their_common_folder() -> None:
    assert found("clips/b.mp4", "clips/sub/c.mp4") == ["b.mp4", "sub/c.mp4"]
    assert found("clips/../clips/sub/c.mp4") == ["c.mp4"]


@pytest.mark.usefixtures("clips")
def test_a_source_found_twice_is_rendered_once() -> None:
    assert found("clips", "clips/b.mp4") == ["a.MOV", "b.mp4", "me.jpg"]


@pytest.mark.usefixtures("clips")
def test_what_an_earlier_run_wrote_below_the_sources_is_no_source(clips: Path) -> None:
    (clips / "out").mkdir()
    (clips / "out" / "b_yaw0.mp4").touch()
    assert found("clips", recursive=True, out="clips/out")[:2] == ["a.MOV", "b.mp4"]
    assert "out/b_yaw0.mp4" not in found("clips", recursive=True, out="clips/out")


@pytest.mark.usefixtures("clips")
def test_results_do_not_go_among_the_sources() -> None:
    with pytest.raises(ConfigError, match="choose another -o"):
        found("clips", out="clips/../clips")


@pytest.mark.usefixtures("clips")
def test_an_empty_folder_is_said_to_be_empty() -> None:
    Path("none").mkdir()
    with pytest.raises(InputError, match="no video or photograph in it; --recursive"):
        found("none")


@pytest.mark.usefixtures("clips")
def test_a_missing_file_is_left_for_its_turn() -> None:
    assert found("gone.mp4") == ["gone.mp4"]


def test_a_folder_that_links_to_itself_is_not_followed_for_ever(clips: Path) -> None:
    (clips / "sub" / "loop").symlink_to(clips, target_is_directory=True)
    assert len(found("clips", recursive=True)) == 5


def test_a_list_holds_a_name_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "# takes\n\nclips/b.mp4\n- odd name.mp4\n"
    (tmp_path / "list.txt").write_text(text)
    assert plan.read_list(str(tmp_path / "list.txt")) == ["clips/b.mp4", "- odd name.mp4"]
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    assert plan.read_list("-") == ["clips/b.mp4", "- odd name.mp4"]


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00bad"])
def test_a_list_that_cannot_be_read_says_why(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "list.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"list\.txt"):
        plan.read_list(str(path))


# --- names ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("below", "template", "name"),
    [
        ("sub/talk.mov", None, "sub/talk_yaw-0.3.mov"),
        ("me.JPEG", None, "me_yaw-0.3.jpg"),
        ("wave.gif", None, "wave_yaw-0.3.mp4"),
        ("talk.mp4", "{stem}-{number:03}.{ext}.mkv", "talk-001.mp4.mkv"),
        ("sub/talk.mp4", "yaw{yaw:+.2f}/{stem}{suffix}", "sub/yaw-0.30/talk.mp4"),
        ("100%.png", None, "100__yaw-0.3.png"),
    ],
)
def test_a_result_is_named_by_the_template(below: str, template: str | None, name: str) -> None:
    assert names(below, template=template) == [name]


def test_every_angle_has_a_name_of_its_own() -> None:
    assert names("a.mp4", yaws=(-0.3, 0.0, 0.3), pitch_rad=0.1) == [
        "a_yaw-0.3_pitch0.1.mp4", "a_yaw0_pitch0.1.mp4", "a_yaw0.3_pitch0.1.mp4",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("below", "template"),
    [
        ("a.mp4", "../{stem}{suffix}"),
        ("a.mp4", "/tmp/{stem}{suffix}"),
        ("a.mp4", "x/../../{stem}{suffix}"),
        ("...mp4", "{stem}/x{suffix}"),  # its stem is ..
        ("../a.mp4", None),
        ("/etc/a.mp4", None),
    ],
)
def test_no_name_leads_out_of_the_output_folder(below: str, template: str | None) -> None:
    with pytest.raises(ConfigError, match="outside the output folder"):
        names(below, template=template)


@pytest.mark.parametrize(
    "template", ["", ".", "{stem}/", "batch.jsonl", "index.html", ".batch.lock"]
)
def test_names_of_folders_and_of_the_batch_itself_are_refused(template: str) -> None:
    with pytest.raises(ConfigError):
        plan.safe_name(
            plan.Source("a.mp4", PurePosixPath("a.mp4")), template, Settings(), 0.0, number=1
        )


@pytest.mark.parametrize(
    "template", ["{stem.__class__}", "{0}", "{}", "{stem!r}", "{yaw:{pitch}}", "{stem", "{home}"]
)
def test_a_template_holds_the_known_fields_only(template: str) -> None:
    with pytest.raises(ConfigError, match="--name"):
        names("a.mp4", template=template)


def test_a_field_in_a_form_it_does_not_have_is_a_wrong_setting() -> None:
    with pytest.raises(ConfigError, match="cannot be filled in"):
        names("a.mp4", template="{stem:d}{suffix}")


def test_two_sources_with_one_result_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"a\.mp4 and a\.avi would both become a_yaw-0\.3\.mp4"):
        names("a.mp4", "a.avi")


def test_two_angles_with_one_result_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"two angles of a\.mp4 .*put \{yaw\}"):
        names("a.mp4", template="{stem}{suffix}", yaws=(0.0, 0.3))


def test_the_output_folder_may_be_reached_through_a_link(clips: Path) -> None:
    os.symlink(clips / "sub", "results")
    assert found("clips", recursive=True, out="results") == ["a.MOV", "b.mp4", "me.jpg"]
