"""The rules that a result is held to: each holds for our own films, and each can break."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from films import pass_through
from PIL import Image as Pillow
from synthetic import write_clip

from tpvideo.pipeline.errors import InputError
from tpvideo.stages import provenance
from tpvideo.stages.compare import Plan, Verdict, compare, plan_of
from tpvideo.stages.media import Trim

TAGS = {"colorspace": 1, "color_range": 1, "color_trc": 1, "color_primaries": 1}


def broken(source: Path, out: Path, plan: Plan | None = None) -> dict[str, str]:
    """What is said of each rule that does not hold."""
    verdicts = compare(source, out, plan or plan_of(out))
    return {verdict.rule: verdict.said for verdict in verdicts if not verdict.holds}


def rule(verdicts: list[Verdict], name: str) -> Verdict:
    return next(verdict for verdict in verdicts if verdict.rule == name)


def note(*, trim: tuple[str | None, str | None] | None = None, audio: str = "copy") -> Any:
    return provenance.Provenance(
        version="1", yaw_rad=0.1, pitch_rad=0.0, view="fixed", model="m", trim=trim, audio=audio
    )


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    """Twelve frames at 25 a second, with sound that lasts as long."""
    return write_clip(tmp_path / "talk.mp4", 12, sound=[(0.0, 0.48)])


# --- what our own runs write ----------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_every_rule_holds_for_a_film_passed_through(talk: Path, suffix: str) -> None:
    out = talk.with_name(f"out{suffix}")
    pass_through(talk, out)
    assert broken(talk, out) == {}


def test_sound_that_the_container_cannot_hold_may_be_encoded_anew(talk: Path) -> None:
    out = talk.with_name("out.webm")
    pass_through(talk, out)
    assert "encoded anew as opus" in rule(compare(talk, out, Plan()), "sound").said


@pytest.mark.parametrize(
    "options",
    [
        {"sound": [(0.3, 0.4)]},
        {"sound": [(0.0, 1.5), (0.1, 0.2)]},
        {"pts": [0, 33, 50, 141, 149, 950, 983, 999, 1023], "time_base": Fraction(1, 1000)},
        {"rate": Fraction(30000, 1001)},
        {"pts": [250 + n for n in range(9)], "sound": [(10.0, 0.36)]},
    ],
    ids=["late sound", "two tracks", "variable rate", "ntsc", "starts at 10 s"],
)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_awkward_times_survive(tmp_path: Path, options: dict[str, Any], suffix: str) -> None:
    source = write_clip(tmp_path / "talk.mkv", 9, **options)
    out = tmp_path / f"out{suffix}"
    pass_through(source, out)
    assert broken(source, out) == {}


def test_sound_from_a_transport_stream_is_the_same_without_its_headers(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "talk.ts", 9, sound=[(0.2, 0.3)])
    out = tmp_path / "out.mp4"
    pass_through(source, out)
    assert broken(source, out) == {}


def test_plain_samples_may_be_cut_into_other_packets(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "talk.mkv", 9, sound=[(0.0, 0.3)], sound_codec="pcm_s16le")
    out = tmp_path / "out.mov"
    pass_through(source, out)
    assert broken(source, out) == {}


@pytest.mark.parametrize("trim", [(Fraction(1, 5), Fraction(2, 5)), (None, Fraction(1, 5))])
def test_the_note_in_a_result_tells_of_its_trim(talk: Path, trim: Trim) -> None:
    out = talk.with_name("out.mp4")
    told = tuple(None if end is None else str(end) for end in trim)
    pass_through(talk, out, trim=trim, provenance=note(trim=told))
    assert broken(talk, out) == {}
    assert set(broken(talk, out, Plan())) == {"frames", "sound", "duration"}


def test_sound_left_out_on_purpose_is_not_missed(talk: Path) -> None:
    out = talk.with_name("out.mp4")
    pass_through(talk, out, audio="none", provenance=note(audio="none"))
    assert broken(talk, out) == {}
    assert broken(talk, out, Plan()) == {"sound": "0 of 1 tracks"}


def test_a_film_with_sound_breaks_a_plan_without(talk: Path) -> None:
    out = talk.with_name("out.mp4")
    pass_through(talk, out)
    assert "none was wanted" in broken(talk, out, Plan(has_sound=False))["sound"]


# --- what can be wrong with any pair --------------------------------------------------------


def test_a_missing_frame_is_found_where_it_is_missing(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "talk.mp4", 9)
    out = write_clip(tmp_path / "out.mp4", 8, pts=[0, 1, 2, 3, 5, 6, 7, 8], tags=TAGS)
    said = broken(source, out)["frames"]
    assert said == "8 of 9; 1 missing, frames 4 to 4 of the source (0:00.16 to 0:00.16)"


def test_a_run_that_was_cut_short_says_from_where(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "talk.mp4", 9)
    out = write_clip(tmp_path / "out.mp4", 5, tags=TAGS)
    assert "4 missing, frames 5 to 8" in broken(source, out)["frames"]


def test_a_doubled_frame_is_too_many(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "talk.mp4", 4)
    pts = [0, 20, 40, 80, 120]
    out = write_clip(tmp_path / "out.mp4", 5, pts=pts, time_base=Fraction(1, 1000), tags=TAGS)
    assert "1 too many, frames 1 to 1 of the result" in broken(source, out)["frames"]


def test_a_frame_at_another_time_is_named(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "talk.mp4", 9)
    pts = [n * 40 + (7 if n == 5 else 0) for n in range(9)]
    out = write_clip(tmp_path / "out.mp4", 9, pts=pts, time_base=Fraction(1, 1000), tags=TAGS)
    complaints = broken(source, out)
    assert set(complaints) == {"times"}
    assert "the first is frame 5 (0:00.20), at most 0.0070 s off" in complaints["times"]


def test_a_variable_rate_squeezed_into_a_constant_one_is_found(tmp_path: Path) -> None:
    source = write_clip(
        tmp_path / "talk.mp4", 4, pts=[0, 33, 900, 950], time_base=Fraction(1, 1000)
    )
    out = write_clip(tmp_path / "out.mp4", 4, rate=30, tags=TAGS)
    assert {"times", "duration"} <= set(broken(source, out))


def test_sound_that_drifts_against_the_pictures_is_found(talk: Path) -> None:
    """The same packets, but a fifth of a second later."""
    out = talk.with_name("out.mp4")
    with av.open(str(talk)) as source, av.open(str(out), "w") as film:
        streams = {
            stream.index: film.add_stream_from_template(stream)
            for stream in (source.streams.video[0], source.streams.audio[0])
        }
        for packet in source.demux(source.streams.video[0], source.streams.audio[0]):
            if packet.pts is None:
                continue
            if packet.stream.type == "audio":
                packet.pts += 9600
                packet.dts += 9600
            packet.stream = streams[packet.stream.index]
            film.mux(packet)
    said = broken(talk, out)["sound"]
    assert re.search(r"0\.(199|200)\d s off against the pictures", said)  # edits count in 1/1000 s


def test_other_sound_is_found(talk: Path) -> None:
    out = write_clip(talk.with_name("out.mp4"), 12, sound=[(0.0, 0.3)], tags=TAGS)
    assert "not the source's from packet" in broken(talk, out)["sound"]


def test_sound_encoded_anew_without_need_is_found(talk: Path) -> None:
    out = write_clip(
        talk.with_name("out.mkv"), 12, sound=[(0.0, 0.48)], sound_codec="flac", tags=TAGS
    )
    assert "flac, though aac could have been copied" in broken(talk, out)["sound"]


def test_colours_left_to_guess_are_found(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "talk.mp4", 3)
    out = write_clip(tmp_path / "out.mp4", 3)
    assert "primaries 2, transfer 2, matrix 2" in broken(source, out)["colour"]


def test_a_second_rotation_is_found(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "talk.mp4", 3)
    out = write_clip(tmp_path / "out.mp4", 3, rotation=(90, False, False), tags=TAGS)
    assert "turn the picture" in broken(source, out)["shape"]


def test_squeezed_pixels_are_found(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "talk.mp4", 3)
    out = write_clip(tmp_path / "out.mp4", 3, aspect=Fraction(4, 3), tags=TAGS)
    assert "4/3 as wide as high" in broken(source, out)["shape"]


def test_a_damaged_result_is_found(talk: Path) -> None:
    out = talk.with_name("out.mp4")
    pass_through(talk, out)
    content = out.read_bytes()
    out.write_bytes(content[: len(content) * 6 // 10])  # the index is in front
    assert "frames" in broken(talk, out)


def test_what_is_no_film_at_all_is_an_error(talk: Path) -> None:
    out = talk.with_name("out.mp4")
    out.write_text("no film")
    with pytest.raises(InputError, match="not a video"):
        compare(talk, out, Plan())


# --- pictures -------------------------------------------------------------------------------


def test_a_sequence_has_a_picture_for_each_frame(talk: Path, tmp_path: Path) -> None:
    pass_through(talk, tmp_path / "view_%03d.png", provenance=note())
    assert broken(talk, tmp_path / "view_%03d.png") == {}
    (tmp_path / "view_004.png").unlink()
    assert broken(talk, tmp_path / "view_%03d.png") == {
        "frames": "12 of 12; 1 that it promises are missing"
    }
    (tmp_path / "view_005.png").write_bytes((tmp_path / "view_005.png").read_bytes()[:99])
    assert "1 of them are damaged" in broken(talk, tmp_path / "view_%03d.png")["frames"]


def test_a_folder_is_a_sequence_and_knows_its_trim(talk: Path, tmp_path: Path) -> None:
    folder = tmp_path / "views"
    folder.mkdir()
    trim = (None, Fraction(1, 5))
    pass_through(talk, folder, trim=trim, provenance=note(trim=(None, "1/5")))
    assert broken(talk, folder) == {}
    assert broken(talk, folder, Plan())["frames"] == "5 of 12"
    with pytest.raises(InputError, match="no picture"):
        compare(talk, tmp_path / "none_%d.png", Plan())


def test_a_photograph_is_one_picture(tmp_path: Path) -> None:
    for name in ("me.png", "turned.jpg"):
        Pillow.fromarray(np.full((32, 32, 3), 90, np.uint8)).save(tmp_path / name)
    assert broken(tmp_path / "me.png", tmp_path / "turned.jpg") == {}
