"""Whole live sessions on the smallest network, and the command that starts them."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from films import frame_times
from livekit import Pictures, networks, session, settings
from synthetic import write_clip

from tpvideo.pipeline.errors import ConfigError, MissingExtraError
from tpvideo.pipeline.live import command
from tpvideo.pipeline.live.controls import Controls
from tpvideo.pipeline.live.latency import Budget
from tpvideo.pipeline.live.session import Session, Wanted
from tpvideo.pipeline.live.wishes import parse_delay, parse_size
from tpvideo.stages.paced import PacedFile
from tpvideo.weights import directions
from tpvideo.weights.directions import Direction, Directions


def test_a_recorded_session_keeps_the_moments_at_which_its_frames_were_taken(
    tmp_path: Path,
) -> None:
    target = tmp_path / "call.mp4"
    taken: list[int] = []

    class Watched(Pictures):
        def __iter__(self) -> Any:
            for frame in super().__iter__():
                taken.append(frame.stamp.pts)
                yield frame

    made = session(Wanted(record=target), source=Watched(40))
    report = made.run()
    times = frame_times(target)
    assert len(times) == report.frames > 1
    assert times[0] == 0
    gaps = {Fraction(b - a, 1_000_000) for a in taken for b in taken if b >= a}
    assert set(times) <= gaps  # to the microsecond, whichever frames were dropped


def test_a_slow_session_drops_frames_at_its_beginning_only_and_counts_them(
    tmp_path: Path,
) -> None:
    made = session(Wanted(record=tmp_path / "call.mp4"), source=Pictures(120))
    report = made.run()
    assert report.frames + report.dropped == 120
    assert [channel.dropped for channel in made.pipeline.channels[1:]] == [0] * 4
    assert [timing.stage for timing in report.timings] == [
        "camera", "nomatting", "face", "invert", "render", "show",
    ]  # fmt: skip
    assert report.bottleneck != "camera"  # that it waits for its next frame is no work
    assert "p50 / p95 / p99" in made.account(report)


def test_a_film_as_camera_ends_the_session_when_it_ends(tmp_path: Path) -> None:
    source = PacedFile(write_clip(tmp_path / "talk.mp4", 6))
    report = session(Wanted(record=tmp_path / "out.mp4"), source=source).run()
    assert 1 <= report.frames <= 6
    assert not report.is_stopped
    assert (tmp_path / "out.mp4").exists()


def test_faces_are_edited_live_as_well(tmp_path: Path) -> None:
    """The directions are said to be of the model that the settings name."""
    path = tmp_path / "found.safetensors"
    smile = Direction("latents", torch.ones(6, 16), "by hand", (0, 5))
    directions.write(path, Directions(directions.generator_of("default"), "tiny", {"smile": smile}))
    wanted = settings(edit=(("smile", 1.5),), directions=str(path))
    source = PacedFile(write_clip(tmp_path / "talk.mp4", 6))
    made = Session(
        source, wanted, Controls(), Wanted(record=tmp_path / "out.mp4"), networks(), print
    )
    assert "edit" in [timing.stage for timing in made.run().timings]


@pytest.mark.parametrize(("preset", "every"), [("quality", 1), ("fast", 8)])
def test_the_preset_says_how_often_the_first_branch_looks(
    preset: str, every: int, tmp_path: Path
) -> None:
    parts, looks = networks(), list[int]()
    parts.triplane.psp_encoder.register_forward_hook(lambda *_: looks.append(1))
    controls = Controls(preset=preset)
    wanted = Wanted(record=tmp_path / "out.mp4")
    report = Session(Pictures(20), settings(), controls, wanted, parts, print).run()
    inverted = next(timing.frames for timing in report.timings if timing.stage == "invert")
    assert len(looks) == 1 + -(-inverted // every)  # once to warm up


def test_a_session_can_be_given_a_time(tmp_path: Path) -> None:
    made = session(Wanted(record=tmp_path / "out.mp4", seconds=0.3))
    report = made.run()
    assert report.frames >= 1
    assert report.elapsed_s >= 0.3


def test_a_tight_budget_ends_at_the_cheapest_preset(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Budget, "PICTURES", 3)

    class UntilGivenUp(Pictures):
        def __iter__(self) -> Any:
            for frame in super().__iter__():
                if "cheaper" in made.budget.said:
                    return
                yield frame

    wanted = Wanted(page=True, port=0, max_latency_s=1e-4)
    made = session(wanted, source=UntilGivenUp(), preset="quality")
    made.run()
    assert made.panel.controls.preset == "fast"
    assert "preset quality becomes balanced" in caplog.text
    assert "no preset is cheaper" in made.figures()["notice"]


def test_a_session_without_outputs_is_refused() -> None:
    with pytest.raises(ConfigError, match="no output"):
        session(Wanted())


def test_without_aiohttp_the_page_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    for name in [name for name in sys.modules if name.startswith("tpvideo.pipeline.live.page.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingExtraError, match=r"tpvideo\[live\]"):
        session(Wanted(page=True))


def test_a_lost_face_never_fails_a_live_session() -> None:
    with pytest.raises(ConfigError, match="on-lost"):
        Session(Pictures(), settings(on_lost="fail"), Controls(), Wanted(page=True, port=0))


def test_keys_in_the_window_turn_knobs_as_far_as_they_go() -> None:
    made = session(Wanted(page=True, port=0))
    for key in ("Left", "Left", "Up", "m", "plus", "a"):
        made._press(key)
    controls = made.panel.controls
    assert controls.yaw_rad == pytest.approx(-0.1)
    assert (controls.pitch_rad, controls.zoom) == pytest.approx((0.05, 1.05))
    assert controls.mirror
    for _ in range(100):
        made._press("Left")
    assert made.panel.controls.yaw_rad == pytest.approx(-1.2)
    made._press("0")
    assert made.panel.controls.yaw_rad == 0


# --- the command ------------------------------------------------------------------------------


def test_the_page_is_what_you_get_when_you_ask_for_nothing() -> None:
    nothing = dict.fromkeys(("page", "page_camera", "window", "virtual_cam", "record"))
    assert command.wants_page(nothing)
    assert command.wants_page(nothing | {"page_camera": True, "record": "out.mp4"})
    assert command.wants_page(nothing | {"page": True, "window": True})
    assert not command.wants_page(nothing | {"virtual_cam": "auto"})


def test_options_reach_the_session(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "talk.mp4", 3)
    made: list[dict[str, Any]] = []

    def note(options: dict[str, Any]) -> None:
        made.append(options)
        raise ConfigError("that will do")

    monkeypatch.setattr(command, "make_session", note)
    arguments = f"--camera {clip} --yaw -17deg --max-latency 150ms --camera-size 640x480 --mirror"
    CliRunner().invoke(command.live, [*arguments.split(), "--virtual-cam"])
    (options,) = made
    assert options["yaw_rad"] == pytest.approx(-0.2967, abs=1e-4)
    assert options["max_latency_s"] == pytest.approx(0.15)
    assert options["camera_size"] == (640, 480)
    assert (options["mirror"], options["virtual_cam"]) == (True, "auto")


@pytest.mark.parametrize("text", ["fast", "0", "0ms", "-1s", "5min", ""])
def test_a_delay_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="150ms"):
        parse_delay(text)


def test_times_and_sizes_are_read_as_people_write_them() -> None:
    assert parse_delay("150ms") == pytest.approx(0.15)
    assert parse_delay("1.5s") == parse_delay("1.5") == 1.5
    assert parse_size("1280x720") == parse_size("1280×720") == (1280, 720)
    with pytest.raises(ConfigError, match="1280x720"):
        parse_size("720p")


def test_no_cameras_is_told_with_the_other_way(monkeypatch: pytest.MonkeyPatch) -> None:
    from tpvideo.stages import devices

    monkeypatch.setattr(devices, "list_cameras", lambda: [])
    result = CliRunner().invoke(command.live, ["--list-cameras"])
    assert "--camera film.mp4" in result.output
    camera = devices.Camera("/dev/video0", "Integrated Camera")
    monkeypatch.setattr(devices, "list_cameras", lambda: [camera])
    result = CliRunner().invoke(command.live, ["--list-cameras"])
    assert "0  /dev/video0  Integrated Camera" in result.output
