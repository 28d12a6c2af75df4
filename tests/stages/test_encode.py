"""What ends up in the file: pictures, times, tags, sound; and what is refused or cleaned up."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from films import click_times, frame_times, pass_through, sound_packets
from PIL import Image as Pillow
from synthetic import HEIGHT, PATCHES, WIDTH, numbered, read_number, read_patches, write_clip

from tpvideo.pipeline.errors import ConfigError, OutputError
from tpvideo.pipeline.frame import Rendered, Stamp, StreamInfo
from tpvideo.stages.decode import FileSource
from tpvideo.stages.encode import FileSink

INFO = StreamInfo(WIDTH, HEIGHT, Fraction(25), Fraction(1, 12800), 12)
PATCH_ATOL = 4  # two roundings of 8-bit YCbCr, and the codec at crf 12


def write_numbered(target: Path, frames: int = 3, info: StreamInfo = INFO, **options: Any) -> Path:
    sink = FileSink(target, source=None, **options)
    try:
        sink.open(info)
        for index in range(frames):
            picture = numbered(index, info.width, info.height)
            sink.consume(Rendered(Stamp(index, index * 512), picture))
        sink.finish()
    finally:
        sink.close()
    return target


def left_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_frames_times_and_sound_come_through_exactly(tmp_path: Path, suffix: str) -> None:
    pts = [0, 33, 50, 83, 150, 157, 250, 950, 967, 1000]
    source = write_clip(
        tmp_path / "in.mp4",
        10,
        pts=pts,
        time_base=Fraction(1, 1000),
        sound=[(0.0, 1.0), (0.3, 0.5)],
        options={"bf": "2"},
    )
    target = tmp_path / f"out{suffix}"
    pass_through(source, target)
    assert frame_times(target) == [Fraction(tick, 1000) for tick in pts]
    reader = FileSource(target)
    reader.open()
    assert [read_number(frame.rgb) for frame in reader] == list(range(10))
    reader.close()
    tick = 0.0006 if suffix == ".mkv" else 0.00002  # Matroska counts milliseconds
    for track in range(2):
        before, after = sound_packets(source, track), sound_packets(target, track)
        assert before[1] == after[1]
        assert np.allclose(np.array(before[0], float), np.array(after[0], float), atol=tick)
    assert left_in(tmp_path) == {"in.mp4", target.name}


@pytest.mark.parametrize(
    ("rate", "time_base"),
    [
        (Fraction(25), Fraction(1, 25)),
        (Fraction(30000, 1001), Fraction(1001, 30000)),
        (Fraction(24000, 1001), Fraction(1, 90000)),
        (Fraction(120), Fraction(1, 15360)),
    ],
)
def test_the_time_base_is_kept_without_rounding(
    tmp_path: Path, rate: Fraction, time_base: Fraction
) -> None:
    info = StreamInfo(WIDTH, HEIGHT, rate, time_base, 9)
    target = tmp_path / "out.mp4"
    sink = FileSink(target, source=None)
    sink.open(info)
    ticks = [round(i / rate / time_base) for i in range(9)]
    for index, pts in enumerate(ticks):
        sink.consume(Rendered(Stamp(index, pts), numbered(index)))
    sink.finish()
    sink.close()
    assert frame_times(target) == [pts * time_base for pts in ticks]
    with av.open(str(target)) as container:
        average = container.streams.video[0].average_rate
        assert average is not None
        assert abs(average - rate) < 0.01


def test_colours_survive_and_are_tagged_bt709(tmp_path: Path) -> None:
    target = write_numbered(tmp_path / "out.mp4", crf=8)
    with av.open(str(target)) as container:
        frame = next(container.decode(video=0))
        assert (frame.colorspace, frame.color_range) == (1, 1)
        assert (frame.color_trc, frame.color_primaries) == (1, 1)
        assert frame.format.name == "yuv420p"
    reader = FileSource(target)
    reader.open()
    first = next(iter(reader))
    reader.close()
    np.testing.assert_allclose(read_patches(first.rgb), PATCHES, atol=PATCH_ATOL)


def test_the_index_lies_before_the_pictures(tmp_path: Path) -> None:
    content = write_numbered(tmp_path / "out.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    assert b"moof" not in content


def test_sound_keeps_its_distance_to_the_picture_wherever_the_clock_starts(tmp_path: Path) -> None:
    source = write_clip(
        tmp_path / "late.ts",
        20,
        pts=[250 + i for i in range(20)],
        time_base=Fraction(1, 25),
        sound=[(10.2, 0.6)],
    )
    target = tmp_path / "out.mp4"
    pass_through(source, target)
    before, after = sound_packets(source)[0], sound_packets(target)[0]
    distance = before[0] - frame_times(source)[0]
    assert frame_times(target)[0] == 0
    assert float(after[0]) == pytest.approx(float(distance), abs=0.0001)
    assert len(before) == len(after)


@pytest.mark.parametrize("seconds", [0.2, 3.0])
def test_shorter_and_longer_sound_stay_as_they_are(tmp_path: Path, seconds: float) -> None:
    source = write_clip(tmp_path / "in.mp4", 25, sound=[(0.0, seconds)])
    pass_through(source, tmp_path / "out.mp4")
    assert sound_packets(source)[1] == sound_packets(tmp_path / "out.mp4")[1]
    assert len(frame_times(tmp_path / "out.mp4")) == 25


def test_a_trim_cuts_the_sound_alike_and_keeps_them_in_step(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", 75, sound=[(0.0, 3.0)])
    target = tmp_path / "out.mp4"
    pass_through(source, target, trim=(0.8, 2.4))
    times = frame_times(target)
    assert times[0] == 0
    assert len(times) == 40
    # Bursts at 1.0, 1.5 and 2.0 s of the source, 0.8 s of which are gone.
    assert click_times(target) == pytest.approx([0.2, 0.7, 1.2], abs=0.005)


def test_a_stopped_run_ends_its_sound_with_its_picture(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", 75, sound=[(0.0, 3.0)])
    target = tmp_path / "out.mp4"
    pass_through(source, target, most=25)
    assert len(frame_times(target)) == 25
    assert 0.95 < sound_packets(target)[0][-1] < 1.0


def test_sound_the_container_cannot_hold_is_encoded_anew_and_said(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", 50, sound=[(0.0, 2.0)])
    target = tmp_path / "out.webm"
    sink = pass_through(source, target)
    assert sink.notices == ["webm cannot hold aac sound: encoded anew with libopus"]
    assert click_times(target) == pytest.approx(click_times(source), abs=0.005)
    assert len(click_times(source)) == 4


def test_sound_can_be_left_out(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", 5, sound=[(0.0, 0.2)])
    pass_through(source, tmp_path / "out.mp4", audio="none")
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert not container.streams.audio


def test_odd_sides_are_padded_to_even_ones(tmp_path: Path) -> None:
    info = StreamInfo(97, 65, Fraction(25), Fraction(1, 12800), 2)
    target = write_numbered(tmp_path / "out.mp4", 2, info)
    reader = FileSource(target)
    assert (lambda i: (i.width, i.height))(reader.open()) == (98, 66)
    reader.close()


def decoded_alpha(path: Path, decoder: str | None) -> np.ndarray[Any, Any]:
    """[H, W, 4] of the first frame."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        if decoder is None:
            return next(container.decode(stream)).to_ndarray(format="rgba")
        context: Any = av.CodecContext.create(decoder, "r")  # FFmpeg's own VP9 drops alpha
        for packet in container.demux(stream):
            for frame in context.decode(packet):
                picture: np.ndarray[Any, Any] = frame.to_ndarray(format="rgba")
                return picture
    raise AssertionError("no frame")


@pytest.mark.parametrize(
    ("name", "decoder"), [("out.mov", None), ("out.webm", "libvpx-vp9"), ("out.mkv", "libvpx-vp9")]
)
def test_transparency_reaches_the_film(tmp_path: Path, name: str, decoder: str | None) -> None:
    alpha = np.full((HEIGHT, WIDTH), 255, np.uint8)
    alpha[:, WIDTH // 2 :] = 100
    sink = FileSink(tmp_path / name, source=None, transparent=True)
    sink.open(INFO)
    sink.consume(Rendered(Stamp(0, 0), numbered(1), alpha))
    sink.finish()
    sink.close()
    if decoder is not None:  # Matroska's AlphaMode, without which browsers show it opaque
        assert b"\x53\xc0\x81\x01" in (tmp_path / name).read_bytes()
    decoded = decoded_alpha(tmp_path / name, decoder)[..., 3]
    assert abs(int(decoded[HEIGHT // 2, 10]) - 255) <= 3  # 10 bits and back, or crf 18
    assert abs(int(decoded[HEIGHT // 2, WIDTH - 10]) - 100) <= 3


def test_a_folder_and_a_numbered_name_take_pictures(tmp_path: Path) -> None:
    sink = FileSink(f"{tmp_path}/new/", source=None)
    sink.open(INFO)
    for index in range(3):
        alpha = np.full((HEIGHT, WIDTH), 40 * index, np.uint8)
        sink.consume(Rendered(Stamp(index, index), numbered(index), alpha))
    sink.finish()
    sink.close()
    assert left_in(tmp_path / "new") == {"00000.png", "00001.png", "00002.png"}
    second = np.asarray(Pillow.open(tmp_path / "new" / "00002.png"))
    assert (second[..., :3] == numbered(2)).all()
    assert (second[..., 3] == 80).all()
    write_numbered(tmp_path / "view_%03d.png", 2)
    assert left_in(tmp_path) == {"new", "view_000.png", "view_001.png"}
    for target in (tmp_path / "new", tmp_path / "view_%03d.png"):
        with pytest.raises(OutputError, match="pass --overwrite"):
            FileSink(target, source=None).check_target()


@pytest.mark.parametrize("name", ["out.png", "out.jpg", "out.webp"])
def test_a_photograph_becomes_a_picture(tmp_path: Path, name: str) -> None:
    Pillow.fromarray(numbered(9)).save(tmp_path / "in.png")
    pass_through(tmp_path / "in.png", tmp_path / name)
    assert read_number(np.asarray(Pillow.open(tmp_path / name).convert("RGB"))) == 9


def test_a_photograph_can_become_a_film_of_one_frame(tmp_path: Path) -> None:
    Pillow.fromarray(numbered(9)).save(tmp_path / "in.png")
    pass_through(tmp_path / "in.png", tmp_path / "out.mp4")
    assert frame_times(tmp_path / "out.mp4") == [0]


def test_metadata_and_other_codecs_are_written(tmp_path: Path) -> None:
    for codec, name in (("hevc", "x.mp4"), ("vp9", "x.mkv"), ("prores", "x.mov")):
        target = write_numbered(tmp_path / name, codec=codec, metadata={"comment": "made up"})
        with av.open(str(target)) as container:
            assert container.streams.video[0].codec_context.name == codec
            tags = {key.lower(): value for key, value in container.metadata.items()}
            assert tags["comment"] == "made up"
            assert next(container.decode(video=0)).colorspace == 1


REFUSED: dict[str, tuple[Callable[[Path], FileSink], str]] = {
    "no folder": (lambda f: FileSink(f / "no" / "x.mp4", source=None), "there is no folder"),
    "exists": (lambda f: FileSink(f / "in.mp4", source=None), "it exists; pass --overwrite"),
    "source": (
        lambda f: FileSink(f / "in.mp4", source=f / "in.mp4", overwrite=True),
        "it is the source itself",
    ),
    "suffix": (lambda f: FileSink(f / "x.avi", source=None), "the suffix must be one of .mp4"),
    "alpha": (
        lambda f: FileSink(f / "x.mp4", source=None, transparent=True),
        r"\.mp4 has no transparency; use \.mov",
    ),
    "alpha jpg": (lambda f: FileSink(f / "x.jpg", source=None, transparent=True), "JPEG has no"),
    "codec": (lambda f: FileSink(f / "x.mp4", source=None, codec="xvid"), "no codec called xvid"),
    "container": (lambda f: FileSink(f / "x.webm", source=None, codec="h264"), "does not go into"),
    "codec alpha": (
        lambda f: FileSink(f / "x.mov", source=None, codec="h264", transparent=True),
        "h264 has no transparency",
    ),
    "picture": (lambda f: FileSink(f / "x.png", source=None), "one picture cannot hold a video"),
    "pattern": (lambda f: FileSink(f / "x_%s_%d.png", source=None), "the name needs one number"),
    "long name": (lambda f: FileSink(f / ("x" * 250 + ".mp4"), source=None), "name too long"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_targets_that_cannot_be_written_are_refused_before_any_frame(
    tmp_path: Path, case: str
) -> None:
    write_clip(tmp_path / "in.mp4", 2)
    before = (tmp_path / "in.mp4").read_bytes()
    build, reason = REFUSED[case]
    with pytest.raises(OutputError, match=reason) as caught:
        sink = build(tmp_path)
        try:
            sink.open(INFO)
        finally:
            sink.close()
    assert "\n" not in str(caught.value)
    assert left_in(tmp_path) == {"in.mp4"}
    assert (tmp_path / "in.mp4").read_bytes() == before


def test_a_folder_without_permission_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    with pytest.raises(OutputError, match="no permission to write in"):
        FileSink(tmp_path / "x.mp4", source=None).open(INFO)
    assert left_in(tmp_path) == set()


@pytest.mark.parametrize("frames", [150, 400])
def test_a_full_disk_is_one_error_and_leaves_nothing(tmp_path: Path, frames: int) -> None:
    sink = FileSink(tmp_path / "x.mp4", source=None, crf=0)
    noise = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    try:
        sink.open(INFO)
        with pytest.raises(OutputError, match=r"x\.mp4"):
            for index in range(frames):
                picture = np.roll(noise, index * 7, axis=1)
                sink.consume(Rendered(Stamp(index, index * 512), picture))
            sink.finish()
    finally:
        sink.close()
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert left_in(tmp_path) == set()


def test_a_size_the_encoder_refuses_is_an_error_at_open(tmp_path: Path) -> None:
    sink = FileSink(tmp_path / "x.mp4", source=None)
    with pytest.raises(OutputError, match=r"x\.mp4"):
        sink.open(StreamInfo(20000, 20000, Fraction(25), Fraction(1, 25), 1))
    sink.close()
    assert left_in(tmp_path) == set()


def test_senseless_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="crf must be 0 to 51, got 99"):
        FileSink(tmp_path / "x.mp4", source=None, crf=99)
    with pytest.raises(ConfigError, match="audio must be copy or none"):
        FileSink(tmp_path / "x.mp4", source=None, audio="loud")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["x.mp4", "x.webm", "x_%03d.png"])
def test_a_run_that_fails_leaves_the_folder_as_it_was(tmp_path: Path, name: str) -> None:
    sink = FileSink(tmp_path / name, source=None)
    sink.open(INFO)
    for index in range(3):
        sink.consume(Rendered(Stamp(index, index * 512), numbered(index)))
    assert left_in(tmp_path) != set()
    assert not (tmp_path / name).exists()
    sink.close()
    assert left_in(tmp_path) == set()


def test_an_old_target_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "x.mp4"
    target.write_bytes(b"old")
    sink = FileSink(target, source=None, overwrite=True)
    sink.open(INFO)
    sink.consume(Rendered(Stamp(0, 0), numbered(0)))
    assert target.read_bytes() == b"old"
    sink.finish()
    sink.close()
    assert frame_times(target) == [0]


def test_no_frame_and_a_wrong_size_are_errors(tmp_path: Path) -> None:
    sink = FileSink(tmp_path / "x.mp4", source=None)
    sink.open(INFO)
    with pytest.raises(OutputError, match="no frame came"):
        sink.finish()
    with pytest.raises(OutputError, match=f"frame 0 is 8x4, not {WIDTH}x{HEIGHT}"):
        sink.consume(Rendered(Stamp(0, 0), np.zeros((4, 8, 3), np.uint8)))
    sink.close()
    assert left_in(tmp_path) == set()


def test_what_an_interrupted_run_leaves_can_be_read(tmp_path: Path) -> None:
    """Fragments: without any ending, the pictures of all but the last one are there."""
    info = StreamInfo(WIDTH, HEIGHT, Fraction(5), Fraction(1, 12800), None)
    sink = FileSink(tmp_path / "x.mp4", source=None)
    sink.open(info)
    noise = np.random.default_rng(0)
    for index in range(200):  # keyframes every 10; the encoder holds up to 80 frames back
        picture = noise.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
        sink.consume(Rendered(Stamp(index, index * 2560), picture))
    left = tmp_path / "copy.mp4"
    left.write_bytes((tmp_path / ".x.mp4.part" / "000000.mp4").read_bytes())
    sink.close()
    times = frame_times(left)
    assert len(times) >= 40
    assert times == [Fraction(i, 5) for i in range(len(times))]
