"""Frames, times and colours of awkward sources, on clips made here."""

from __future__ import annotations

import logging
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from films import read_all
from PIL import Image as Pillow
from synthetic import (
    HEIGHT,
    PATCHES,
    WIDTH,
    corner_of,
    numbered,
    read_number,
    read_patches,
    write_clip,
)

from tpvideo.pipeline.errors import ConfigError, InputError, MissingExtraError
from tpvideo.pipeline.frame import Image, StreamInfo
from tpvideo.stages.decode import FileSource, probe
from tpvideo.stages.media import Trim

PATCH_ATOL = 4  # two roundings of 8-bit YCbCr, and the codec at crf 12


def assert_patches(picture: Image, atol: float = PATCH_ATOL) -> None:
    np.testing.assert_allclose(read_patches(picture), PATCHES, atol=atol)


def test_frames_come_in_order_with_the_containers_times(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 12, options={"bf": "3"}, rate=Fraction(30000, 1001))
    info, frames = read_all(FileSource(clip))
    assert [read_number(frame.rgb) for frame in frames] == list(range(12))
    assert [frame.stamp.index for frame in frames] == list(range(12))
    times = [frame.stamp.pts * info.time_base for frame in frames]
    assert times == [Fraction(1001 * i, 30000) for i in range(12)]
    assert (info.width, info.height, info.frames, info.still) == (WIDTH, HEIGHT, 12, False)
    assert info.rate == Fraction(30000, 1001)


def test_variable_frame_rate_stays_variable(tmp_path: Path) -> None:
    pts = [0, 33, 50, 83, 983, 991, 1091]
    clip = write_clip(tmp_path / "vfr.mp4", 7, pts=pts, time_base=Fraction(1, 1000))
    info, frames = read_all(FileSource(clip))
    assert [frame.stamp.pts * info.time_base * 1000 for frame in frames] == pts


@pytest.mark.parametrize(
    ("rotation", "corner", "size"),
    [
        ((0, False, False), ("top", "left"), (WIDTH, HEIGHT)),
        ((90, False, False), ("bottom", "left"), (HEIGHT, WIDTH)),  # counter-clockwise
        ((180, False, False), ("bottom", "right"), (WIDTH, HEIGHT)),
        ((-90, False, False), ("top", "right"), (HEIGHT, WIDTH)),
        ((0, True, False), ("top", "right"), (WIDTH, HEIGHT)),
        ((0, False, True), ("bottom", "left"), (WIDTH, HEIGHT)),
    ],
)
def test_turned_and_mirrored_pictures_come_upright(
    tmp_path: Path,
    rotation: tuple[float, bool, bool],
    corner: tuple[str, str],
    size: tuple[int, int],
) -> None:
    clip = write_clip(tmp_path / "turned.mp4", 2, rotation=rotation)
    info, frames = read_all(FileSource(clip))
    assert corner_of(frames[0].rgb) == corner
    assert (info.width, info.height) == size
    assert frames[0].rgb.shape == (size[1], size[0], 3)
    assert frames[0].rgb.flags.c_contiguous


def test_a_quarter_turn_with_a_flip_transposes(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "turned.mp4", 1, rotation=(90, True, False))
    _, frames = read_all(FileSource(clip))
    picture = frames[0].rgb
    # Whatever the corner, laying the picture back must give the number again.
    assert picture.shape == (WIDTH, HEIGHT, 3)
    assert corner_of(picture) in {("top", "left"), ("bottom", "right")}


def test_stored_pixels_become_square(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "wide.mp4", 2, aspect=Fraction(4, 3))
    info, frames = read_all(FileSource(clip))
    assert (info.width, info.height) == (WIDTH * 4 // 3, HEIGHT)
    assert read_number(frames[1].rgb) == 1


@pytest.mark.parametrize(
    ("matrix", "full_range", "tags"),
    [
        (5, False, {}),
        (5, False, {"colorspace": 6, "color_range": 1}),
        (5, True, {"colorspace": 5, "color_range": 2}),
        (1, False, {"colorspace": 1, "color_range": 1}),
        (1, True, {"colorspace": 1, "color_range": 2}),
        (9, False, {"colorspace": 9, "color_range": 1}),
    ],
)
def test_colours_follow_the_tags(
    tmp_path: Path, matrix: int, full_range: bool, tags: dict[str, int]
) -> None:
    clip = write_clip(tmp_path / "tagged.mp4", 1, matrix=matrix, full_range=full_range, tags=tags)
    _, frames = read_all(FileSource(clip))
    assert_patches(frames[0].rgb)


@pytest.mark.parametrize(("height", "matrix"), [(576, 5), (720, 1)])
def test_untagged_video_is_601_when_small_and_709_when_high_definition(
    tmp_path: Path, height: int, matrix: int
) -> None:
    clip = write_clip(tmp_path / "untagged.mp4", 1, size=(768, height), matrix=matrix)
    _, frames = read_all(FileSource(clip))
    assert_patches(frames[0].rgb)


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("deep.mkv", "libx264", "yuv420p10le"),
        ("hevc.mkv", "libx265", "yuv420p10le"),
        ("full.mp4", "libx264", "yuv444p"),
        ("rgb.mkv", "ffv1", "bgra"),
    ],
)
def test_deep_and_unsubsampled_pictures_keep_their_colours(
    tmp_path: Path, name: str, codec: str, pixels: str
) -> None:
    quiet = {"x265-params": "log-level=error", "crf": "8"} if codec == "libx265" else {}
    clip = write_clip(tmp_path / name, 2, codec=codec, pixels=pixels, options=quiet)
    _, frames = read_all(FileSource(clip))
    assert [read_number(frame.rgb) for frame in frames] == [0, 1]
    assert_patches(frames[0].rgb)


def test_grey_video_is_grey_in_all_channels(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "grey.mkv", 2, codec="ffv1", pixels="gray")
    _, frames = read_all(FileSource(clip))
    assert read_number(frames[1].rgb) == 1
    assert np.ptp(frames[1].rgb.astype(int), axis=2).max() <= 1


def test_odd_sizes_are_kept(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "odd.mp4", 2, size=(97, 65), pixels="yuv444p")
    info, frames = read_all(FileSource(clip))
    assert (info.width, info.height) == (97, 65)
    assert read_number(frames[1].rgb) == 1


def test_high_dynamic_range_is_mapped_with_a_notice(tmp_path: Path) -> None:
    # 100 cd/m2 is 0.508 in PQ; against white at 203 cd/m2 and gamma 2.4 that is 190 of 255,
    # and the roll-off begins at about 90, so a little less.
    grey = np.full((HEIGHT, WIDTH, 3), round(0.508 * 255), np.uint8)
    tags = {"colorspace": 9, "color_range": 1, "color_trc": 16, "color_primaries": 9}
    clip = write_clip(
        tmp_path / "hdr.mkv",
        [grey],
        codec="libx265",
        pixels="yuv420p10le",
        matrix=9,
        tags=tags,
        options={"x265-params": "log-level=error"},
    )
    source = FileSource(clip)
    _, frames = read_all(source)
    middle = frames[0].rgb[HEIGHT // 2, WIDTH // 2].astype(int)
    assert np.ptp(middle) <= 2
    assert 184 <= middle[1] <= 192
    assert source.notices == ["high dynamic range (PQ) was tone-mapped to BT.709"]


def test_a_change_of_size_is_scaled_to_the_first(tmp_path: Path) -> None:
    first = write_clip(tmp_path / "a.ts", 6, rate=25)
    second = write_clip(
        tmp_path / "b.ts", 6, size=(160, 128), pts=list(range(10, 16)), time_base=Fraction(1, 25)
    )
    joined = tmp_path / "joined.ts"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    _, frames = read_all(FileSource(joined))
    assert {frame.rgb.shape for frame in frames} == {(HEIGHT, WIDTH, 3)}
    assert [read_number(frame.rgb) for frame in frames] == [*range(6), *range(6)]


def test_a_recording_whose_clock_starts_again_goes_on(tmp_path: Path) -> None:
    parts = [write_clip(tmp_path / f"{i}.ts", 50).read_bytes() for i in range(2)]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(parts))
    source = FileSource(joined)
    info, frames = read_all(source)
    times = [frame.stamp.pts * info.time_base for frame in frames]
    assert len(frames) == 100
    assert all(later > earlier for earlier, later in pairwise(times))
    assert float(times[-1] - times[0]) == pytest.approx(99 / 25, abs=0.1)
    assert any("frame times" in notice for notice in source.notices)


def test_cover_art_is_not_the_video(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 5)
    mixed = tmp_path / "mixed.mkv"
    with av.open(str(clip)) as source, av.open(str(mixed), "w") as target:
        cover = target.add_stream("mjpeg", rate=25)
        cover.width = cover.height = 400
        cover.pix_fmt = "yuvj420p"
        video = target.add_stream_from_template(source.streams.video[0])
        blue = np.full((400, 400, 3), (30, 50, 200), np.uint8)
        frame = av.VideoFrame.from_ndarray(blue, format="rgb24").reformat(format="yuvj420p")
        frame.pts = 0
        target.mux([*cover.encode(frame), *cover.encode(None)])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = video
                target.mux(packet)
    _, frames = read_all(FileSource(mixed))
    assert [read_number(frame.rgb) for frame in frames] == list(range(5))


def test_damage_is_passed_over_counted_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"bf": "0", "g": "5"}
    clip = write_clip(
        tmp_path / "cut.mp4", 40, options=options, container_options={"movflags": "faststart"}
    )
    whole = clip.read_bytes()
    clip.write_bytes(whole[: int(len(whole) * 0.7)])
    source = FileSource(clip)
    with caplog.at_level(logging.WARNING):
        _, frames = read_all(source)
    numbers = [read_number(frame.rgb) for frame in frames]
    assert numbers == list(range(len(numbers)))
    assert 10 < len(numbers) < 40
    assert any(f"promises 40 frames, {len(numbers)}" in notice for notice in source.notices)
    assert "cut.mp4" in caplog.text


@pytest.mark.parametrize("name", ["photo.png", "photo.jpg", "photo.webp"])
def test_a_photograph_is_one_frame(tmp_path: Path, name: str) -> None:
    Pillow.fromarray(numbered(5)).save(tmp_path / name, quality=95)
    info, frames = read_all(FileSource(tmp_path / name))
    assert info.still
    assert (info.frames, len(frames)) == (1, 1)
    assert read_number(frames[0].rgb) == 5
    assert_patches(frames[0].rgb, atol=8)  # chroma at half resolution, 8 px blocks


def test_a_photograph_is_turned_by_its_exif(tmp_path: Path) -> None:
    stored = Pillow.fromarray(np.ascontiguousarray(np.rot90(numbered(5))))  # counter-clockwise
    exif = Pillow.Exif()
    exif[274] = 6  # turn clockwise to show
    stored.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    info, frames = read_all(FileSource(tmp_path / "turned.jpg"))
    assert (info.width, info.height) == (WIDTH, HEIGHT)
    assert read_number(frames[0].rgb) == 5
    assert corner_of(frames[0].rgb) == ("top", "left")


def test_transparent_photographs_lie_on_white(tmp_path: Path) -> None:
    Pillow.new("RGBA", (8, 8), (200, 0, 0, 0)).save(tmp_path / "clear.png")
    _, frames = read_all(FileSource(tmp_path / "clear.png"))
    assert (frames[0].rgb == 255).all()


def test_an_animated_gif_is_a_video_of_whole_pictures(tmp_path: Path) -> None:
    pictures = [Pillow.fromarray(numbered(i)) for i in range(6)]
    path = tmp_path / "moving.gif"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=80, loop=0)
    info, frames = read_all(FileSource(path))
    assert not info.still
    assert [read_number(frame.rgb) for frame in frames] == list(range(6))
    assert [frame.stamp.pts * info.time_base for frame in frames] == [
        Fraction(8 * i, 100) for i in range(6)
    ]


@pytest.mark.parametrize(
    ("trim", "numbers"),
    [
        ((Fraction(1, 5), Fraction(2, 5)), range(5, 10)),  # half-open: frame 10 is at 0.4 s
        ((None, Fraction(1, 5)), range(5)),
        ((Fraction(35, 25), None), range(35, 40)),
        ((0.0, 99.0), range(40)),
    ],
)
def test_trim_keeps_the_frames_inside_and_their_times(
    tmp_path: Path, trim: Trim, numbers: range
) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 40, options={"g": "7", "bf": "2"})
    info, frames = read_all(FileSource(clip, trim=trim))
    assert [read_number(frame.rgb) for frame in frames] == list(numbers)
    assert [frame.stamp.index for frame in frames] == list(range(len(numbers)))
    assert [frame.stamp.pts * info.time_base * 25 for frame in frames] == list(numbers)
    assert info.frames == len(numbers)


def test_trim_counts_from_where_the_source_starts(tmp_path: Path) -> None:
    pts = [250 + i for i in range(20)]  # the clip's clock starts at 10 s
    clip = write_clip(tmp_path / "late.ts", 20, pts=pts, time_base=Fraction(1, 25))
    _, frames = read_all(FileSource(clip, trim=(0.2, 0.4)))
    assert [read_number(frame.rgb) for frame in frames] == list(range(5, 10))


def test_probe_describes_and_closes(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 12, aspect=Fraction(2), rotation=(90, False, False))
    info = probe(clip)
    assert replace(info, time_base=Fraction(1)) == StreamInfo(
        HEIGHT, WIDTH * 2, Fraction(25), Fraction(1), 12
    )


def test_hostile_names_are_only_names(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 3)
    for name in ("-x.mp4", "a%05d.mp4", "http: x.mp4", "日本 ;&.mp4", "no_suffix"):
        path = tmp_path / name
        path.write_bytes(clip.read_bytes())
        _, frames = read_all(FileSource(path))
        assert len(frames) == 3


def test_a_playlist_cannot_reach_other_files(tmp_path: Path) -> None:
    write_clip(tmp_path / "secret.ts", 3)
    playlist = tmp_path / "list.mp4"
    playlist.write_text(f"ffconcat version 1.0\nfile '{tmp_path / 'secret.ts'}'\n")
    with pytest.raises(InputError):
        FileSource(playlist).open()


def bad_inputs(folder: Path) -> dict[str, tuple[Path, str]]:
    clip = write_clip(folder / "clip.mp4", 10, container_options={"movflags": "faststart"})
    silent = folder / "sound.mp4"
    with av.open(str(silent), "w") as container:
        stream = container.add_stream("aac", rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.int16), "s16", "mono")
        frame.rate = 48000
        container.mux([*stream.encode(frame), *stream.encode(None)])
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("This is not a video.\n" * 40)
    (folder / "notes.txt").write_text("This is not a video.\n" * 40)
    (folder / "noise.mp4").write_bytes(np.random.default_rng(1).bytes(20000))
    Pillow.effect_noise((64, 64), 50).save(folder / "whole.png")
    (folder / "cut.png").write_bytes((folder / "whole.png").read_bytes()[:300])
    head = clip.read_bytes()
    (folder / "head.mp4").write_bytes(head[: head.index(b"mdat") + 8])
    return {
        "missing": (folder / "missing.mp4", "no such file"),
        "folder": (folder, "is a folder"),
        "empty": (folder / "empty.mp4", "the file is empty"),
        "text": (folder / "text.mp4", "not a video or picture"),
        "notes": (folder / "notes.txt", "is text"),
        "noise": (folder / "noise.mp4", "not a video or picture"),
        "sound": (silent, "no video stream, only audio"),
        "cut picture": (folder / "cut.png", "a damaged picture"),
        "head": (folder / "head.mp4", "not one frame of it can be decoded"),
    }


def test_bad_input_is_refused_in_one_line_that_names_file_and_reason(tmp_path: Path) -> None:
    for path, reason in bad_inputs(tmp_path).values():
        source = FileSource(path)
        with pytest.raises(InputError, match=reason) as caught:
            source.open()
        source.close()
        assert path.name in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_picture_too_large_for_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    Pillow.new("1", (12000, 9000)).save(path)
    with pytest.raises(
        InputError, match="12000x9000 is more than 100 million pixels; make it smal"
    ):
        FileSource(path).open()


def test_senseless_settings_are_refused(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 10)
    with pytest.raises(ConfigError, match="trim must run forward"):
        FileSource(clip, trim=(2.0, 1.0))
    with pytest.raises(ConfigError, match="decoder must be"):
        FileSource(clip, decoder="cv2")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"the trim leaves no frame; it is 0\.40 s long"):
        FileSource(clip, trim=(5.0, None)).open()
    photo = tmp_path / "photo.png"
    Pillow.fromarray(numbered(1)).save(photo)
    with pytest.raises(InputError, match="no length to trim"):
        FileSource(photo, trim=(0.0, 1.0)).open()


def test_decord_without_the_package_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "decord", None)
    clip = write_clip(tmp_path / "clip.mp4", 3)
    with pytest.raises(MissingExtraError, match=r"tpvideo\[decord\]"):
        FileSource(clip, decoder="decord").open()


def test_ffmpeg_without_the_package_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ffmpeg", None)
    clip = write_clip(tmp_path / "clip.mp4", 3)
    with pytest.raises(MissingExtraError, match=r"tpvideo\[ffmpeg\]"):
        FileSource(clip, decoder="ffmpeg").open()
