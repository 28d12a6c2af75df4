"""Faults in the middle of a run: one line, the documented exit code, and nothing left behind."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import pytest
import small_run
import torch
from films import pass_through
from parts import DEADLINE_S, INFO, Add, Collect, Event, Numbers, fail_at, waiting_at_a_channel
from small_run import OPTIONS, small_networks
from synthetic import numbered, write_clip

from tpvideo.pipeline import Pipeline, app, cli, read, runner
from tpvideo.pipeline.errors import OutputError, StageError, StallError
from tpvideo.pipeline.exits import FAILED
from tpvideo.pipeline.frame import StreamInfo
from tpvideo.pipeline.signals import Terminated
from tpvideo.pipeline.stage import LanedStage
from tpvideo.stages.decode import FileSource
from tpvideo.stages.face import FaceCrop
from tpvideo.stages.invert import Inversion
from tpvideo.stages.matting import NoMatting
from tpvideo.stages.movie import MovieWriter
from tpvideo.stages.render import NovelView
from tpvideo.stages.segment import SegmentWriter
from tpvideo.weights import store

FRAMES = 9
LAST = FRAMES - 1
END_S = 240.0


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Nine frames of 96 x 64 with a tone, alone in a folder."""
    return write_clip(tmp_path / "talk.mp4", FRAMES, sound=[(0.0, 0.3)])


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """The command with the smallest networks: (exit code, standard error)."""
    monkeypatch.setattr(app, "load_networks", small_networks)

    def run(*arguments: object) -> tuple[int, str]:
        with pytest.raises(SystemExit) as caught:
            cli.main([*map(str, arguments), *OPTIONS, "--progress", "none"])
        return int(caught.value.code or 0), capsys.readouterr().err

    return run


def expect_one_line(code_and_said: tuple[int, str], *words: str) -> None:
    code, said = code_and_said
    assert code == FAILED
    assert said.startswith("tpvideo: error: ")
    assert said.count("\n") == 1
    assert [word for word in words if word not in said] == []


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- a stage raises -------------------------------------------------------------------------


def failing_source(number: int) -> Callable[[FileSource], Iterator[Any]]:
    whole = FileSource.__iter__

    def frames(self: FileSource) -> Iterator[Any]:
        for frame in whole(self):
            if frame.stamp.index == number:
                raise ValueError("injected")
            yield frame

    return frames


def failing(step: Callable[..., Any], number: int) -> Callable[..., Any]:
    """A step of a stage, `process` or `finish`, that does not survive a frame."""

    def failing_step(self: Any, items: Sequence[Any], *made: Any) -> Any:
        if any(item.stamp.index == number for item in items):
            raise ValueError("injected")
        return step(self, items, *made)

    return failing_step


def failing_sink(number: int) -> Callable[[MovieWriter, Any], None]:
    whole = MovieWriter.consume

    def consume(self: MovieWriter, item: Any) -> None:
        if item.stamp.index == number:
            raise ValueError("injected")
        whole(self, item)

    return consume


@pytest.mark.parametrize("number", [0, FRAMES // 2, LAST])
@pytest.mark.parametrize(
    "where",
    [
        "decode",
        pytest.param("matting", marks=pytest.mark.slow),
        pytest.param("face", marks=pytest.mark.slow),
        "invert",
        pytest.param("render", marks=pytest.mark.slow),
        "encode",
    ],
)
def test_a_stage_that_raises_is_named_with_its_frame_and_leaves_nothing(
    where: str,
    number: int,
    clip: Path,
    run: Callable[..., tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stages = {"matting": NoMatting, "face": FaceCrop, "invert": Inversion, "render": NovelView}
    if where == "decode":
        monkeypatch.setattr(FileSource, "__iter__", failing_source(number))
    elif where == "encode":
        monkeypatch.setattr(MovieWriter, "consume", failing_sink(number))
    else:
        step = "finish" if issubclass(stages[where], LanedStage) else "process"
        monkeypatch.setattr(stages[where], step, failing(getattr(stages[where], step), number))
    name = "nomatting" if where == "matting" else where
    result = run(clip, "-o", clip.with_name("out.mp4"), "--batch-size", 1)
    expect_one_line(result, f"{name} failed on frame {number}: injected")
    assert names(clip.parent) == ["talk.mp4"]


def test_a_sink_that_fails_while_it_opens_leaves_nothing(
    clip: Path, run: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise av.error.OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(SegmentWriter, "_add_stream", refuse)
    expect_one_line(run(clip, "-o", clip.with_name("out.mp4")), "no space left on device")
    assert names(clip.parent) == ["talk.mp4"]


# --- the disk -------------------------------------------------------------------------------

COPY = """
import resource, sys
from pathlib import Path
from films import pass_through
from tpvideo.pipeline.errors import OutputError

size = int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
try:
    pass_through(Path(sys.argv[1]), Path(sys.argv[2]))
except OutputError as error:
    sys.exit(str(error))
"""


def child(
    *arguments: object, code: str | None = None, **more: Any
) -> subprocess.CompletedProcess[str]:
    """A Python process with the tests' helpers."""
    program = [small_run.__file__] if code is None else ["-c", code]
    environment = os.environ | {"PYTHONPATH": str(Path(small_run.__file__).parent)}
    return subprocess.run(
        [sys.executable, *program, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=END_S,
        env=environment,
        **more,
    )


@pytest.mark.skipif(sys.platform == "win32", reason="Windows limits no file sizes")
@pytest.mark.parametrize("room", [0, 700, 3000, 6000])
def test_a_file_that_may_not_grow_fails_the_run_and_leaves_nothing(clip: Path, room: int) -> None:
    ended = child(clip, clip.with_name("out.mp4"), room, code=COPY)
    assert ended.returncode == FAILED, ended.stderr
    assert ended.stderr.startswith(f"cannot write {clip.with_name('out.mp4')}: ")
    assert ended.stderr.count("\n") == 1
    assert names(clip.parent) == ["talk.mp4"]


def test_a_file_that_may_grow_enough_is_whole(clip: Path) -> None:
    """So that the test above fails for the reason it says."""
    ended = child(clip, clip.with_name("out.mp4"), 10_000_000, code=COPY)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert names(clip.parent) == ["out.mp4", "talk.mp4"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 100 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100k", "tpvideo-test", str(disk)]
    mounted = shutil.which("mount") and subprocess.run(mount, capture_output=True, text=True)
    if not mounted or mounted.returncode:
        pytest.skip("a full disk needs the right to mount a tmpfs")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.mark.parametrize("taken_kb", [0, 40, 90, 98])
def test_a_full_disk_is_noticed_wherever_it_fills_up(
    taken_kb: int, small_disk: Path, tmp_path: Path
) -> None:
    source = write_clip(tmp_path / "talk.mp4", 40, sound=[(0.0, 1.6)])
    (small_disk / "other").write_bytes(bytes(1000 * taken_kb))
    with pytest.raises(OutputError, match="no space left on device"):
        pass_through(source, small_disk / "out.mov", codec="prores")
    assert names(small_disk) == ["other"]


def test_a_full_disk_fails_the_run_and_leaves_nothing(
    clip: Path, small_disk: Path, run: Callable[..., tuple[int, str]]
) -> None:
    (small_disk / "other").write_bytes(bytes(96_000))
    target = small_disk / "out.mov"
    result = run(clip, "-o", target, "--codec", "prores")
    expect_one_line(result, f"cannot write {target}", "no space left on device")
    assert names(small_disk) == ["other"]


def test_an_output_folder_that_disappears_fails_the_run(
    clip: Path, run: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = clip.parent / "results"
    folder.mkdir()
    whole = MovieWriter.consume

    def consume(self: MovieWriter, item: Any) -> None:
        if item.stamp.index == FRAMES // 2:
            shutil.rmtree(folder)
        whole(self, item)

    monkeypatch.setattr(MovieWriter, "consume", consume)
    expect_one_line(run(clip, "-o", folder / "out.mp4"), "cannot write", "no such file")
    assert names(clip.parent) == ["talk.mp4"]


# --- the source -----------------------------------------------------------------------------


class Time:
    """The clock by which a run notices a stall; stands still until somebody turns it."""

    def __init__(self) -> None:
        self.now_s = 1.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    """Time that passes when a test says so, and a run that looks at it all the time."""
    time = Time()
    monkeypatch.setattr("tpvideo.pipeline.metrics.time.perf_counter", time)
    monkeypatch.setattr(runner, "POLL_S", 0.01)
    monkeypatch.setattr(runner, "GRACE_S", 0.1)
    return time


class Stalling(Numbers):
    """Gives a few numbers and then nothing for an hour, and until it is let go."""

    def __init__(self, count: int, time: Time) -> None:
        super().__init__(count)
        self.is_let_go = threading.Event()
        self._time = time

    def __iter__(self) -> Iterator[int]:
        yield from super().__iter__()
        self._time.now_s += 3600
        self.is_let_go.wait()


class Interrupted(Stalling):
    """The same, but it can be woken."""

    def interrupt(self) -> None:
        self.is_let_go.set()


def test_a_source_that_stalls_fails_the_run_and_is_woken(
    time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "GRACE_S", DEADLINE_S)  # it ends, sooner or later
    source, sink = Interrupted(3, time), Collect()
    with pytest.raises(StageError, match="decode failed on frame 3: the source gave no fr") as told:
        read(source).then(Add()).into(sink, stall_timeout_s=60).run()
    assert isinstance(told.value.__cause__, StallError)
    assert source.calls == sink.calls == ["open", "close"]


def test_a_source_that_cannot_be_woken_is_left_behind_and_not_closed(
    time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    source, sink = Stalling(3, time), Collect()
    try:
        with pytest.raises(StageError, match=r"no frame for 60 s; .*--stall-timeout"):
            read(source).then(Add()).into(sink, stall_timeout_s=60).run()
        assert source.calls == ["open"]  # a thread reads it still
        assert sink.calls == ["open", "close"]
        assert "its thread is left behind" in caplog.text
    finally:
        source.is_let_go.set()


def test_ctrl_c_twice_ends_a_run_whose_source_stalls(time: Time) -> None:
    source = Stalling(1, time)
    pipeline = read(source).into(Collect(before=lambda _: pipeline.abort()))
    try:
        with pytest.raises(KeyboardInterrupt):
            pipeline.run()
    finally:
        source.is_let_go.set()


def test_a_slow_stage_is_no_stall(time: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour passes while the source waits for room, and the run looks at the time."""
    looked = Event()

    def hold(number: int) -> None:
        if number == 0:
            source_waits.wait()
            time.now_s += 3600
            for _ in range(2):  # the first look may have begun before
                looked.clear()
                looked.wait()

    look = Pipeline._expect_frames

    def telling(pipeline: Pipeline) -> None:
        look(pipeline)
        looked.set()

    monkeypatch.setattr(Pipeline, "_expect_frames", telling)
    pipeline = read(Numbers(20)).into(Collect(before=hold), capacity=1, stall_timeout_s=60)
    source_waits = waiting_at_a_channel(pipeline, "decode")
    assert pipeline.run().frames == 20


def test_a_camera_that_is_unplugged_fails_the_run_or_ends_it(tmp_path: Path) -> None:
    gone = OSError(errno.ENODEV, "No such device")
    source, sink = Numbers(99, before=fail_at(30, gone)), Collect()
    with pytest.raises(StageError, match=r"decode failed on frame 30: .*No such device"):
        read(source).then(Add()).into(sink, live=True).run()
    assert source.calls == sink.calls == ["open", "close"]
    ended = Collect()
    assert read(Numbers(30)).into(ended, live=True).run().frames == len(ended.items)
    assert ended.calls == ["open", "finish", "close"]


# --- weights --------------------------------------------------------------------------------


def test_weights_that_are_cut_short_after_the_check_are_refused(
    clip: Path,
    run: Callable[..., tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    weights = tmp_path / "own.safetensors"
    shutil.copyfile(store.find("default"), weights)
    whole, load = store.tensors, app.load_networks

    def cut_and_read(path: Path) -> dict[str, torch.Tensor]:
        os.truncate(path, path.stat().st_size // 2)
        return whole(path)

    monkeypatch.setattr(store, "tensors", cut_and_read)
    monkeypatch.setattr(app, "load_networks", _REAL_LOAD)
    result = run(clip, "-o", clip.with_name("out.mp4"), "--model", weights)
    expect_one_line(result, f"cannot read {weights} as safetensors")
    assert names(tmp_path) == ["own.safetensors", "talk.mp4"]
    assert load is small_networks


_REAL_LOAD = app.load_networks


def test_weights_that_are_cut_short_after_they_were_read_change_nothing(tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    store.save(path, {"weight": torch.arange(400_000.0)}, {})
    tensors = store.tensors(path)
    os.truncate(path, 1000)
    assert tensors["weight"].sum() == torch.arange(400_000.0).sum()


# --- signals --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip that lasts longer than the tests that end its run."""
    still = numbered(1)
    return write_clip(tmp_path_factory.mktemp("long") / "talk.mp4", [still] * 2000)


class Started:
    """The command in a process of its own, once it has written some frames."""

    def __init__(self, source: Path, folder: Path) -> None:
        target = str(folder / "out.mp4")
        command = [sys.executable, small_run.__file__, str(source), "-o", target]
        environment = os.environ | {"PYTHONPATH": str(Path(small_run.__file__).parent)}
        self.process = subprocess.Popen(
            [*command, "--progress", "none"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            preexec_fn=_heed_hangups,
        )
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if line.startswith("frames are written"):
                break

    def end(self, number: signal.Signals) -> tuple[int, str]:
        """Send the signal; the exit code and what is said after."""
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=END_S)
        return self.process.returncode, said


def _heed_hangups() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup, the program not


POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")


@POSIX
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_that_ends_programs_leaves_nothing_and_its_own_code(
    name: str, long_clip: Path, tmp_path: Path
) -> None:
    number = signal.Signals[name]
    code, said = Started(long_clip, tmp_path).end(number)
    assert code == 128 + number
    assert said == f"tpvideo: ended by {name}; nothing was written\n"
    assert names(tmp_path) == []


@POSIX
def test_ctrl_c_leaves_a_shorter_whole_film(long_clip: Path, tmp_path: Path) -> None:
    code, said = Started(long_clip, tmp_path).end(signal.SIGINT)
    assert (code, said) == (130, "")
    assert names(tmp_path) == ["out.mp4"]
    with av.open(str(tmp_path / "out.mp4")) as film:
        assert 0 < sum(packet.size > 0 for packet in film.demux(video=0)) < 2000


@POSIX
def test_a_killed_run_leaves_only_hidden_files_and_the_next_run_takes_them_away(
    long_clip: Path, tmp_path: Path, run: Callable[..., tuple[int, str]]
) -> None:
    code, _ = Started(long_clip, tmp_path).end(signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert names(tmp_path) == [".out.mp4.part"]
    write_clip(tmp_path / "talk.mp4", FRAMES)
    code, said = run(tmp_path / "talk.mp4", "-o", tmp_path / "out.mp4", "--overwrite")
    assert (code, said) == (0, "")
    assert names(tmp_path) == ["out.mp4", "talk.mp4"]


@POSIX
def test_a_program_started_with_nohup_survives_the_end_of_its_terminal() -> None:
    sink = Collect(before=lambda item: os.kill(os.getpid(), signal.SIGHUP) if item == 3 else None)
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert read(Numbers(9)).into(sink).run().frames == 9
    finally:
        signal.signal(signal.SIGHUP, previous)


@POSIX
def test_a_signal_while_parts_open_closes_what_was_open() -> None:
    class Slow(Collect):
        def open(self, info: StreamInfo) -> None:
            super().open(info)
            signal.raise_signal(signal.SIGTERM)

    from tpvideo.pipeline.signals import endings_raise

    source, sink = Numbers(3), Slow()
    with endings_raise(), pytest.raises(Terminated) as told:
        read(source).into(sink).run()
    assert (told.value.code, told.value.signal) == (128 + signal.SIGTERM, "SIGTERM")
    assert source.calls == sink.calls == ["open", "close"]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert INFO.frames is None
