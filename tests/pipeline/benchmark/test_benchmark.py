from __future__ import annotations

import json
from pathlib import Path

import av
import pytest
import torch
from small_run import small_networks

from tpvideo.pipeline import app, cli
from tpvideo.pipeline.benchmark import timing
from tpvideo.pipeline.benchmark.film import write_film
from tpvideo.pipeline.config import Settings
from tpvideo.stages.facefinder import FaceFinder
from tpvideo.weights import store

FRAMES = 6


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.mp4"
    write_film(path, frames=FRAMES, height=108)
    return path


def small() -> Settings:
    return Settings(matting="none", size=64, device="cpu", precision="float32")


def test_the_film_is_always_the_same_and_has_sound(tmp_path: Path) -> None:
    files = [tmp_path / "a.mp4", tmp_path / "b.mp4"]
    for file in files:
        write_film(file, frames=FRAMES, height=108)
    assert files[0].read_bytes() == files[1].read_bytes()
    with av.open(str(files[0])) as container:
        assert len(list(container.decode(video=0))) == FRAMES
    with av.open(str(files[0])) as container:
        assert container.streams.audio[0].duration


def test_a_face_is_found_in_the_film(tmp_path: Path) -> None:
    write_film(tmp_path / "film.mp4", frames=1)
    with av.open(str(tmp_path / "film.mp4")) as container:
        rgb = next(container.decode(video=0)).to_ndarray(format="rgb24")
    finder = FaceFinder.load(store.find("face"), "cpu")
    assert [finder.read(rgb, box).score > 0.9 for box in finder.find(rgb)] == [True]


def test_every_stage_is_timed_alone_with_all_frames(film: Path) -> None:
    rows = list(timing.time_stages(film, small(), small_networks()))
    assert [row.stage for row in rows][-3:] == ["invert", "render", "encode"]
    assert [row.frames for row in rows] == [FRAMES] * len(rows)
    for row in rows:
        p50, p95, p99 = row.latency_ms
        assert 0 < p50 <= p95 <= p99
        assert row.fps > 0
        assert row.cold_ms > 0
    inversion = rows[-3]
    assert inversion.gflop > 0
    assert inversion.ceiling_share > 0


def test_a_run_says_what_share_of_the_possible_it_reached(film: Path) -> None:
    run = timing.time_run(film, small(), small_networks())
    assert run.frames == FRAMES
    assert run.possible_fps == pytest.approx(1000 * run.cores / run.cpu_ms)
    assert run.share_of_possible == pytest.approx(run.fps / run.possible_fps)
    assert run.peak_mib > 50


def test_the_ceiling_is_of_this_machines_order() -> None:
    assert 1 < timing.ceiling_gflops(torch.float32, 0.05) < 5000


def test_the_command_compares_two_settings_in_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(app, "load_networks", small_networks)
    target = tmp_path / "figures.json"
    options = ["--matting", "none", "--device", "cpu", "--size", "64"]
    line = ["bench", "--frames", "4", "--height", "108", "--repeat", "1", "--json", str(target)]
    with pytest.raises(SystemExit) as ended:
        cli.main([*line, *options, "--against", "--matting none --device cpu --size 128"])
    assert not ended.value.code
    figures = json.loads(target.read_text())
    assert figures["variants"]["this"]["settings"]["size"] == 64
    assert figures["variants"]["against"]["settings"]["size"] == 128
    runs = [figures["variants"][name]["runs"][0]["fps"] for name in ("this", "against")]
    assert figures["ratio"]["fps"] == pytest.approx(runs[0] / runs[1])
    said = capsys.readouterr().out
    assert "this over against" in said
    assert "limits this run" in said


def test_senseless_lengths_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["bench", "--frames", "0"])
    assert ended.value.code == 2
    assert "at least 1" in capsys.readouterr().err
