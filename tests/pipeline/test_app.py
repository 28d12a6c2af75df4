"""Settings become a run that reads a file and writes another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from faces import known_face
from numpy.typing import NDArray
from PIL import Image as Pillow
from tiny import tiny_network

import tpvideo
from tpvideo.pipeline import app
from tpvideo.pipeline.config import Settings
from tpvideo.pipeline.errors import (
    ConfigError,
    InputError,
    NoFaceError,
    OutputError,
    StageError,
    WeightsError,
)
from tpvideo.pipeline.frame import Image
from tpvideo.stages.facefinder import FaceBox, FaceReading

FRAMES = 9


def small(**changes: Any) -> Settings:
    """Settings that keep a run short."""
    return Settings(**{"matting": "none", "size": 64, "device": "cpu", **changes})


class OneFace:
    """Sees one face in every picture, or none."""

    def __init__(self, *, is_there: bool = True) -> None:
        self.faces = [known_face(48.0, 32.0, 50.0)] if is_there else []

    def find(self, rgb: Image) -> list[FaceBox]:
        return [face.box() for face in self.faces]

    def read(self, rgb: Image, box: FaceBox) -> FaceReading:
        return self.faces[0]


def networks(*, is_there: bool = True) -> app.Networks:
    return app.Networks(tiny_network(), OneFace(is_there=is_there))


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Nine grey frames of 96 x 64 with a tone."""
    path = tmp_path / "talk.mp4"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        audio = container.add_stream("aac", rate=8000)
        for number in range(FRAMES):
            grey: NDArray[np.uint8] = np.full((64, 96, 3), 20 * number, np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(grey)))
        tone = np.sin(np.arange(2880) / 3, dtype=np.float32)[None]
        sound = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
        sound.sample_rate = 8000
        container.mux(audio.encode(sound))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
    return path


def pictures_of(path: Path) -> list[Image]:
    with av.open(str(path)) as container:
        return [
            frame.to_ndarray(format="rgb24").astype(np.uint8) for frame in container.decode(video=0)
        ]


def sound_packets_of(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


# --- whole runs -----------------------------------------------------------------------------


def test_a_clip_becomes_as_many_square_frames_with_its_sound(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    report = app.assemble(clip, target, small(yaw_rad=-0.3, matting="auto"), networks()).run()
    assert report.frames == FRAMES
    assert [timing.stage for timing in report.timings] == [
        "decode", "face", "matting", "invert", "render", "encode",
    ]  # fmt: skip
    pictures = pictures_of(target)
    assert [picture.shape for picture in pictures] == [(64, 64, 3)] * FRAMES
    assert sound_packets_of(target) == sound_packets_of(clip)


def test_a_photograph_becomes_a_photograph(tmp_path: Path) -> None:
    source, target = tmp_path / "me.png", tmp_path / "turned.png"
    Pillow.fromarray(np.full((64, 96, 3), 90, np.uint8)).save(source)
    settings = small(background="transparent")
    assert app.assemble(source, target, settings, networks()).run().frames == 1
    with Pillow.open(target) as picture:
        assert (picture.size, picture.mode) == ((64, 64), "RGBA")


def test_side_by_side_is_twice_as_wide(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    settings = small(layout="side-by-side", background="#ff0000")
    app.assemble(clip, target, settings, networks()).run()
    assert pictures_of(target)[0].shape == (64, 128, 3)


def test_a_batch_does_not_change_the_pictures(clip: Path, tmp_path: Path) -> None:
    results = []
    for batch in (1, 4):
        target = tmp_path / f"{batch}.mkv"
        settings = small(yaw_rad=0.4, batch_size=batch, crf=0, precision="float32")
        app.assemble(clip, target, settings, networks_with(seed=3)).run()
        results.append(np.stack(pictures_of(target)).astype(int))
    assert np.abs(results[0] - results[1]).max() <= 2  # one rounding each way in yuv420p


def networks_with(seed: int) -> app.Networks:
    torch.manual_seed(seed)
    return networks()


def test_a_source_without_any_face_fails_and_leaves_nothing(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    with pytest.raises(StageError) as caught:
        app.assemble(clip, target, small(), networks(is_there=False)).run()
    assert isinstance(caught.value.__cause__, NoFaceError)
    assert [path.name for path in tmp_path.iterdir()] == ["talk.mp4"]


# --- refused before any weights are read ----------------------------------------------------


@pytest.fixture
def no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may be loaded any more."""

    def refuse(*_: object) -> None:
        pytest.fail("weights were loaded before the mistake was found")

    monkeypatch.setattr(app, "load_networks", refuse)


@pytest.mark.usefixtures("no_weights")
def test_a_missing_source_is_refused_first(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        tpvideo.render(tmp_path / "missing.mp4", tmp_path / "out.mp4")


@pytest.mark.usefixtures("no_weights")
def test_an_existing_target_is_refused_first(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "out.mp4").write_text("mine")
    with pytest.raises(OutputError, match="--overwrite"):
        tpvideo.render(clip, tmp_path / "out.mp4")
    assert (tmp_path / "out.mp4").read_text() == "mine"


@pytest.mark.usefixtures("no_weights")
def test_the_source_as_target_is_refused_even_with_overwrite(clip: Path) -> None:
    with pytest.raises(OutputError, match="the source itself"):
        tpvideo.render(clip, clip, overwrite=True)


@pytest.mark.usefixtures("no_weights")
def test_a_target_in_no_folder_is_refused_first(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="there is no folder"):
        tpvideo.render(clip, tmp_path / "nowhere" / "out.mp4")


@pytest.mark.usefixtures("no_weights")
def test_the_default_name_never_replaces_a_file(clip: Path) -> None:
    clip.with_name("talk_yaw-0.3.mp4").touch()
    with pytest.raises(OutputError, match=r"talk_yaw-0\.3\.mp4"):
        tpvideo.render(clip, yaw=-0.3)


def test_a_model_that_is_not_there_is_named(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="nosuchmodel"):
        tpvideo.render(clip, tmp_path / "out.mp4", model="nosuchmodel")


# --- names and machines ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "settings", "name"),
    [
        ("talk.mp4", Settings(yaw_rad=-0.3), "talk_yaw-0.3.mp4"),
        ("talk.mov", Settings(yaw_rad=0.25, pitch_rad=0.1), "talk_yaw0.25_pitch0.1.mov"),
        ("talk.mpg", Settings(), "talk_yaw0.mp4"),
        ("wave.gif", Settings(), "wave_yaw0.mp4"),
        ("me.JPEG", Settings(), "me_yaw0.jpg"),
        ("me.jpg", Settings(background="transparent"), "me_yaw0.png"),
        ("talk.mp4", Settings(background="transparent"), "talk_yaw0.mov"),
        ("talk.webm", Settings(background="transparent"), "talk_yaw0.webm"),
        ("talk.mp4", Settings(yaw_rad=0.29670597), "talk_yaw0.2967.mp4"),
    ],
)
def test_a_result_without_a_name_is_called_after_source_and_angles(
    source: str, settings: Settings, name: str
) -> None:
    assert app.default_target(Path("clips") / source, settings) == Path("clips") / name


def test_a_gpu_that_is_not_there_is_a_wrong_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="no CUDA device"):
        app.pick_machine(Settings(device="cuda"))
    assert app.pick_machine(Settings()).device.type == "cpu"


def test_precision_and_batch_are_what_was_asked_for() -> None:
    machine = app.pick_machine(Settings(device="cpu", precision="bfloat16", batch_size=5))
    assert (machine.dtype, machine.batch) == (torch.bfloat16, 5)


@pytest.mark.parametrize(
    ("has_amx", "has_avx512", "has_numba", "dtype"),
    [
        (False, False, True, torch.float32),
        (False, True, True, torch.float32),
        (False, True, False, torch.bfloat16),
        (True, True, True, torch.bfloat16),
    ],
)
def test_a_cpu_computes_in_bfloat16_where_that_beats_the_compiled_loops_of_float32(
    monkeypatch: pytest.MonkeyPatch,
    has_amx: bool,
    has_avx512: bool,
    has_numba: bool,
    dtype: torch.dtype,
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has_amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has_avx512)
    monkeypatch.setattr(app, "has_kernel", lambda: has_numba)
    assert app.pick_machine(Settings(device="cpu")).dtype == dtype


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_on_a_cpu_the_weights_have_the_precision(precision: str) -> None:
    machine = app.pick_machine(Settings(device="cpu", precision=precision))
    parts = networks()
    assert app.working_machine(machine, parts).dtype == torch.float32
    weight = parts.triplane.get_parameter("decoder.superresolution.block0.conv0.weight")
    assert weight.dtype == getattr(torch, precision)


@pytest.mark.parametrize(
    ("cores", "lanes", "threads"),
    [("1", 1, 1), ("2", 2, 1), ("4", 2, 1), ("8", 4, 1), ("24", 4, 3)],
)
def test_a_small_network_has_a_lane_for_every_two_cores(
    monkeypatch: pytest.MonkeyPatch, cores: str, lanes: int, threads: int
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", cores)
    asked: list[int] = [1]
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    alone = app.Machine(torch.device("cpu"), torch.float32, 1)
    machine = app.busy_machine(alone, tiny_network())
    assert (machine.lanes, asked[-1]) == (lanes, threads)
    assert app.novel_view(Settings(), machine, tiny_network()).lanes == max(1, lanes - 1)


def test_what_lanes_made_of_the_cores_is_undone_for_the_next_source(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else a film could not be resumed by a worker that has done another before."""
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    asked: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    app.share_cores()
    app.busy_machine(app.Machine(torch.device("cpu"), torch.float32, 1), tiny_network())
    app.share_cores()
    assert asked == [8, 1, 8]


def test_a_large_network_and_a_gpu_have_one_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    alone = app.Machine(torch.device("cpu"), torch.float32, 1)
    large = tiny_network()
    large.side = 256
    assert app.busy_machine(alone, large) == alone
    gpu = app.Machine(torch.device("cuda"), torch.bfloat16, 8)
    assert app.busy_machine(gpu, tiny_network()) == gpu


@pytest.mark.parametrize(
    ("choice", "channels", "is_on"),
    [("auto", 4, True), ("auto", 3, False), ("on", 3, True), ("off", 4, False)],
)
def test_the_pictures_of_a_published_network_are_its_own_unless_detail_is_asked_for(
    choice: str, channels: int, is_on: bool
) -> None:
    assert app.takes_detail(choice, tiny_network(image_channels=channels)) is is_on


@pytest.mark.parametrize(
    ("preset", "ours", "published"), [("fast", 8, 8), ("balanced", 4, 1), ("quality", 1, 1)]
)
def test_frames_share_a_look_of_the_first_branch_but_with_published_networks(
    preset: str, ours: int, published: int
) -> None:
    assert app.first_every(preset, tiny_network(image_channels=4)) == ours
    assert app.first_every(preset, tiny_network(image_channels=3)) == published


def test_the_fast_preset_draws_less_and_the_others_do_not() -> None:
    machine = app.Machine(torch.device("cpu"), torch.float32, 1)
    network = tiny_network()
    fast = app.novel_view(Settings(preset="fast"), machine, network)
    assert (fast.volume_side, fast.surface, fast.size) == (12, 1, 256)
    for preset in ("balanced", "quality"):
        view = app.novel_view(Settings(preset=preset), machine, network)
        assert (view.volume_side, view.surface) == (0, 2)
