"""Makes the awkward files that people have, small: each with what a good tool makes of it.

They are the equivalents of a larger set of real clips that is not part of this project; the
numbers are that set's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from PIL import Image as Pillow
from synthetic import HEIGHT, WIDTH, Image, numbered, write_clip

FRAMES = 5
SOUND = [(0.0, 0.2)]
CUT_FRAMES = 16
BLOCKS = {"g": "2", "bf": "0"}
Corner = tuple[Literal["top", "bottom"], Literal["left", "right"]]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A file and the truth about it."""

    name: str
    make: Callable[[Path], object]
    """Writes it to a path."""
    error: str = ""
    """What the refusal says; empty where the file is to be read."""
    warns: str = ""
    """What a warning says, where something was wrong with the file."""
    frames: int = FRAMES
    size: tuple[int, int] = (WIDTH, HEIGHT)
    """Width and height, upright."""
    corner: Corner | None = ("top", "left")
    """Where the marked corner of the stored picture is shown; None: not to be told."""
    numbers: Sequence[int] | None = None
    """Which frames, where not all in order; () where they cannot be read off the picture."""
    has_patches: bool = False
    """Whether the colours are to be compared as well."""
    times_ms: Sequence[float] | None = None
    """When frames begin after the first one."""
    tracks: int | None = None
    offset_s: float = 0.0
    """How much later than the pictures the sound begins."""
    faceless: Sequence[tuple[int, int]] = ()
    """First and last frames of stretches without a face."""
    loses: bool = False
    """Whether frames cannot be decoded."""


def dark() -> Image:
    """A picture without a face, for a finder that asks for light."""
    return np.full((HEIGHT, WIDTH, 3), 20, np.uint8)


def clip(**options: Any) -> Callable[[Path], object]:
    """A maker of numbered frames with these options of write_clip."""
    frames = options.pop("frames", FRAMES)
    return lambda path: write_clip(path, frames, **options)


def aside(make: Callable[[Path], object]) -> Callable[[Path], object]:
    """The same maker in a thread of its own.

    SVT-AV1, run by root, turns the thread that opens it into a real-time one for good, and every
    thread that one starts: on a single core, the first of them that is busy lets no other run.
    """

    def made(path: Path) -> None:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(make, path).result()

    return made


def without(*faceless: int, frames: int = 8) -> Callable[[Path], object]:
    """A maker of frames some of which show no face."""
    pictures = [dark() if n in faceless else numbered(n) for n in range(frames)]
    return lambda path: write_clip(path, pictures)


def cut(share: float, **options: Any) -> Callable[[Path], None]:
    """A maker of a clip cut short at a share of its bytes."""

    def make(path: Path) -> None:
        write_clip(path, CUT_FRAMES, options=BLOCKS, **options)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])

    return make


def content(data: bytes) -> Callable[[Path], object]:
    """A maker of a file of these bytes."""
    return lambda path: path.write_bytes(data)


def exif_photo(path: Path) -> None:
    """A photograph that lies on its side and says so."""
    stored = Pillow.fromarray(np.ascontiguousarray(np.rot90(numbered(0))))
    exif = Pillow.Exif()
    exif[274] = 6
    stored.save(path, exif=exif, quality=95)


def gif(path: Path) -> None:
    """Frames of 80 ms."""
    pictures = [Pillow.fromarray(numbered(n)) for n in range(FRAMES)]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=80, loop=0)


def sound_only(path: Path) -> None:
    """A film without pictures."""
    with av.open(f"file:{path}", "w") as container:
        stream = container.add_stream("aac", rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.int16), "s16", "mono")
        frame.rate = 48000
        container.mux([*stream.encode(frame), *stream.encode(None)])


def header_only(path: Path) -> None:
    """An mp4 without any track."""
    ftyp = b"\0\0\0\x18ftypisom\0\0\2\0isomiso2"
    mvhd = b"\0\0\0\x6cmvhd" + bytes(12) + b"\0\0\3\xe8" + bytes(84)
    path.write_bytes(ftyp + (len(mvhd) + 8).to_bytes(4, "big") + b"moov" + mvhd)


def with_cover(path: Path) -> None:
    """A still picture as the first video stream, the clip as the second."""
    inner = path.with_name("inner.mp4")
    write_clip(inner, FRAMES)
    with av.open(str(inner)) as source, av.open(f"file:{path}", "w") as target:
        cover: Any = target.add_stream("mjpeg", rate=25)
        cover.width = cover.height = 200
        cover.pix_fmt = "yuvj420p"
        video = target.add_stream_from_template(source.streams.video[0])
        blue = av.VideoFrame.from_ndarray(np.full((200, 200, 3), (30, 50, 200), np.uint8))
        frame = blue.reformat(format="yuvj420p")
        frame.pts = 0
        target.mux([*cover.encode(frame), *cover.encode(None)])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = video
                target.mux(packet)
    inner.unlink()


def size_change(path: Path) -> None:
    """Two recordings of different sizes, one after the other, in one transport stream."""
    parts = []
    for number, size in enumerate(((WIDTH, HEIGHT), (64, 48))):
        part = path.with_name(f"part{number}.ts")
        pts = [25 + number * 3 + n for n in range(3)]
        write_clip(part, 3, size=size, pts=pts, options={"bf": "0"})
        parts.append(part.read_bytes())
        part.unlink()
    path.write_bytes(b"".join(parts))


def edited(path: Path) -> None:
    """A clip whose edit list leaves out the first two frames, as phones do when they trim."""
    inner = path.with_name("inner.mp4")
    write_clip(inner, FRAMES + 2, options={"bf": "0", "g": "99"})
    with av.open(str(inner)) as source, av.open(f"file:{path}", "w") as target:
        video = target.add_stream_from_template(source.streams.video[0])
        step: int | None = None
        for packet in source.demux(video=0):
            if packet.pts is None or packet.dts is None:
                continue
            step = step or packet.duration
            packet.pts -= 2 * step
            packet.dts -= 2 * step
            packet.stream = video
            target.mux(packet)
    inner.unlink()


def bit_rot(path: Path) -> None:
    """Sixty bits flipped in the middle third."""
    write_clip(path, CUT_FRAMES, options=BLOCKS)
    data = bytearray(path.read_bytes())
    random = np.random.default_rng(7)
    third = len(data) // 3
    for at in random.integers(third, 2 * third, 60):
        data[at] ^= 1 << int(random.integers(8))
    path.write_bytes(bytes(data))


X265 = {"x265-params": "log-level=error", "crf": "8"}
VFR_MS = (0, 33, 50, 141, 1041)
TURNED = (HEIGHT, WIDTH)

CASES = [
    Case(name="t00 control.mp4", make=clip(sound=SOUND), tracks=1),
    Case(
        name="t01 rot90.mp4",
        make=clip(rotation=(-90, False, False)),
        size=TURNED,
        corner=("top", "right"),
        numbers=(),
    ),
    Case(
        name="t01 rot180.mp4",
        make=clip(rotation=(180, False, False)),
        corner=("bottom", "right"),
        numbers=(),
    ),
    Case(
        name="t01 rot270.mp4",
        make=clip(rotation=(90, False, False)),
        size=TURNED,
        corner=("bottom", "left"),
        numbers=(),
    ),
    Case(name="t02 exif.jpg", make=exif_photo, frames=1),
    Case(
        name="t04 vfr.mp4",
        make=clip(pts=VFR_MS, time_base=Fraction(1, 1000), sound=[(0.0, 1.0)]),
        times_ms=VFR_MS,
        tracks=1,
    ),
    Case(
        name="t05 start10s.mp4",
        make=clip(pts=[250 + n for n in range(FRAMES)], sound=[(10.0, 0.2)]),
        times_ms=[0, 40, 80, 120, 160],
        tracks=1,
    ),
    Case(
        name="t06 start10s.ts",
        make=clip(pts=[250 + n for n in range(FRAMES)], sound=[(10.1, 0.2)]),
        tracks=1,
        offset_s=0.1,
    ),
    Case(name="t07 1fps.mp4", make=clip(rate=1), times_ms=[0, 1000, 2000, 3000, 4000]),
    Case(name="t08 120fps.mp4", make=clip(rate=120), times_ms=[n / 0.12 for n in range(FRAMES)]),
    Case(name="t09 ntsc.mkv", make=clip(rate=Fraction(30000, 1001), sound=SOUND), tracks=1),
    Case(name="t10 silent.mp4", make=clip(), tracks=0),
    Case(name="t11 sound longer.mp4", make=clip(sound=[(0.0, 0.6)]), tracks=1),
    Case(name="t12 sound shorter.mp4", make=clip(sound=[(0.0, 0.05)]), tracks=1),
    Case(name="t13 sound late.mp4", make=clip(sound=[(0.12, 0.1)]), tracks=1, offset_s=0.12),
    Case(name="t14 two tracks.mp4", make=clip(sound=[*SOUND, *SOUND]), tracks=2),
    Case(
        name="t15 opus.webm",
        make=clip(codec="libvpx-vp9", sound=SOUND, sound_codec="libopus"),
        tracks=1,
    ),
    Case(name="t16 sound only.mp4", make=sound_only, error="no video stream, only audio"),
    Case(name="t17 odd.webm", make=clip(codec="libvpx-vp9", size=(97, 65)), size=(97, 65)),
    Case(name="t18 odd 444.mp4", make=clip(pixels="yuv444p", size=(97, 65)), size=(97, 65)),
    Case(
        name="t19 wide pixels.mp4", make=clip(aspect=Fraction(4, 3)), size=(WIDTH * 4 // 3, HEIGHT)
    ),
    Case(
        name="t20 hevc10.mkv",
        make=clip(codec="libx265", pixels="yuv420p10le", options=X265),
        has_patches=True,
    ),
    Case(name="t21 high10.mkv", make=clip(pixels="yuv420p10le"), has_patches=True),
    Case(name="t22 444.mp4", make=clip(pixels="yuv444p"), has_patches=True),
    Case(name="t23 grey.mkv", make=clip(codec="ffv1", pixels="gray"), corner=None),
    Case(
        name="t24 av1.mp4",
        make=aside(clip(codec="libsvtav1", options={"preset": "12", "crf": "20"})),
    ),
    Case(
        name="t25 601 full.mp4",
        make=clip(matrix=5, full_range=True, tags={"colorspace": 5, "color_range": 2}),
        has_patches=True,
    ),
    Case(
        name="t26 709.mp4",
        make=clip(matrix=1, tags={"colorspace": 1, "color_range": 1}),
        has_patches=True,
    ),
    Case(name="t27 untagged.mp4", make=clip(matrix=5), has_patches=True),
    Case(name="t28 uhd.mp4", make=clip(frames=1, size=(3840, 2160)), size=(3840, 2160), frames=1),
    Case(name="t29 tiny.mp4", make=clip(size=(64, 36)), size=(64, 36), corner=None),
    Case(name="t30 cut, index last.mp4", make=cut(0.6), error="cut short before its index"),
    Case(
        name="t31 cut, index first.mp4",
        make=cut(0.7, container_options={"movflags": "faststart"}),
        frames=0,
        loses=True,
        warns=f"the file promises {CUT_FRAMES} frames",
    ),
    Case(name="t32 bit rot.mkv", make=bit_rot, frames=0, numbers=(), loses=True, warns="damaged"),
    Case(name="t33 empty.mp4", make=content(b""), error="the file is empty"),
    Case(name="t34 text.mp4", make=content(b"Not a video.\n" * 40), error="not a video"),
    Case(
        name="t35 noise.mp4",
        make=content(np.random.default_rng(1).bytes(20000)),
        error="not a video",
    ),
    Case(name="t36 one frame.mp4", make=clip(frames=1), frames=1),
    Case(name="t37 header only.mp4", make=header_only, error="no video stream"),
    Case(name="t38 anim.gif", make=gif, times_ms=[80 * n for n in range(FRAMES)], tracks=0),
    Case(name="t39 cover first.mkv", make=with_cover),
    Case(name="t40 size change.ts", make=size_change, frames=6, numbers=(0, 1, 2, 0, 1, 2)),
    Case(name="-t41 wéird näme 100% 日本 ;&'\".mp4", make=clip()),
    Case(name="t42 no extension", make=clip(container_format="mp4")),
    Case(name="t43 no face.mp4", make=without(*range(8)), error="no face in any of 8 frames"),
    Case(
        name="t44 blinks.mp4",
        make=without(3, 4),
        frames=8,
        numbers=(),
        faceless=[(3, 4)],
    ),
    Case(
        name="t45 begins without.mp4",
        make=without(0, 1, 2),
        frames=8,
        corner=None,
        numbers=(),
        faceless=[(0, 2)],
    ),
    Case(name="t46 leaves.mp4", make=without(6, 7), frames=8, numbers=(), faceless=[(6, 7)]),
    Case(name="edit list.mp4", make=edited, numbers=range(2, FRAMES + 2), tracks=0),
]
"""t03 and t47 to t51 show real faces sideways, in pairs, in the dark: tests of the face stage."""
