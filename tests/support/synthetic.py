"""Makes small clips whose frames can prove who they are.

Each frame carries its number in eight black or white blocks that survive any codec, above a row of
known colours, so that a test can prove that no frame is lost, doubled, swapped, turned or tinted.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

Image = NDArray[np.uint8]

WIDTH, HEIGHT = 96, 64
BITS = 8
PATCHES = (
    (235, 235, 235),
    (16, 16, 16),
    (200, 30, 30),
    (30, 180, 40),
    (30, 50, 200),
    (220, 200, 40),
    (128, 128, 128),
    (200, 140, 120),  # skin
)
CORNER = (250, 250, 20)
"""Colour of the block in the top left corner of the stored picture."""


def numbered(index: int, width: int = WIDTH, height: int = HEIGHT) -> Image:
    """[height, width, 3]: number in the middle rows, patches below, a marked corner on top left."""
    picture = np.full((height, width, 3), 90, np.uint8)
    band, column = height // 4, width // BITS
    picture[:band, :column] = CORNER
    for bit in range(BITS):
        columns = slice(bit * column, (bit + 1) * column)
        picture[band : 2 * band, columns] = 235 if index >> bit & 1 else 16
        picture[2 * band : 3 * band, columns] = PATCHES[bit]
    return picture


def read_number(picture: Image) -> int:
    """The number that `numbered` wrote, from a picture of any size."""
    height, width, _ = picture.shape
    number = 0
    for bit in range(BITS):
        centre = picture[height * 3 // 8, int((bit + 0.5) * width / BITS)]
        number |= int(centre.astype(int).mean() > 128) << bit
    return number


def read_patches(picture: Image) -> NDArray[np.float64]:
    """[8, 3] mean colours of the patch row."""
    height, width, _ = picture.shape
    rows = slice(height * 5 // 8 - 2, height * 5 // 8 + 2)
    centres = [int((bit + 0.5) * width / BITS) for bit in range(BITS)]
    return np.array([picture[rows, c - 2 : c + 2].mean(axis=(0, 1)) for c in centres])


def corner_of(picture: Image) -> tuple[str, str]:
    """Where the marked corner is: ("top" or "bottom", "left" or "right")."""
    height, width, _ = picture.shape
    corners = {
        (row, column): picture[
            3 if row == "top" else height - 4, 3 if column == "left" else width - 4
        ]
        for row in ("top", "bottom")
        for column in ("left", "right")
    }
    errors = {at: np.abs(colour.astype(int) - CORNER).sum() for at, colour in corners.items()}
    return min(errors, key=lambda at: errors[at])


def write_clip(
    path: Path,
    frames: int | Sequence[Image] = 12,
    *,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    rate: Fraction | int = 25,
    pts: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    options: dict[str, str] | None = None,
    matrix: int | None = None,
    full_range: bool = False,
    tags: dict[str, int] | None = None,
    aspect: Fraction | None = None,
    rotation: tuple[float, bool, bool] | None = None,
    sound: Sequence[tuple[float, float]] = (),
    sound_codec: str = "aac",
    container_format: str | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Write a clip of numbered frames, or of the given pictures.

    Args:
        path: the file to write.
        frames: how many, or the [H, W, 3] pictures themselves.
        size: width and height of numbered frames.
        rate: nominal frames per second.
        pts: the time of each frame in ticks of `time_base`; None counts frames.
        time_base: seconds per tick; None is one frame.
        codec: FFmpeg's name of the encoder.
        pixels: pixel format to encode.
        options: options of the encoder.
        matrix: YCbCr matrix the pixels are made with (1 BT.709, 5 BT.601, 9 BT.2020); None is 601.
        full_range: whether YCbCr uses 0..255.
        tags: what the stream claims: colorspace, color_range, color_trc, color_primaries.
        aspect: width over height of one stored pixel.
        rotation: (degrees counter-clockwise, horizontal flip, vertical flip) for the player.
        sound: (start, length) in seconds of each sound track.
        sound_codec: FFmpeg's name of the sound encoder.
        container_format: FFmpeg's name; None goes by suffix.
        container_options: options of the muxer.
    """
    pictures = [numbered(i, *size) for i in range(frames)] if isinstance(frames, int) else frames
    time_base = time_base or 1 / Fraction(rate)
    settings: dict[str, Any] = {"options": container_options or {}}
    with av.open(f"file:{path}", "w", format=container_format, **settings) as container:
        video = _add_video(container, pictures[0], Fraction(rate), codec, pixels, options)
        video.codec_context.time_base = time_base
        for name, value in (tags or {}).items():
            setattr(video.codec_context, name, value)
        if aspect is not None:
            video.codec_context.sample_aspect_ratio = aspect
        if rotation is not None:
            video.set_display_rotation(rotation[0], hflip=rotation[1], vflip=rotation[2])
        tracks = [_add_sound(container, sound_codec) for _ in sound]
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
                format=pixels,
                dst_colorspace=matrix,
                dst_color_range=2 if full_range else None,
            )
            frame.pts, frame.time_base = (index if pts is None else pts[index]), time_base
            container.mux(video.encode(frame))
        rest = video.encode(None)
        for packet in rest if len(pictures) <= 2 else ():
            packet.dts = packet.pts  # x265 leaves those of so few frames to chance
        container.mux(rest)
        for track, (start_s, length_s) in zip(tracks, sound, strict=True):
            _write_tone(container, track, start_s, length_s)
    return path


def clicks(start_s: float, length_s: float, rate: int) -> NDArray[np.int16]:
    """[1, samples]: a quiet tone with a loud burst every half second of the clip's own clock."""
    samples = int(length_s * rate)
    seconds = start_s + np.arange(samples) / rate
    is_loud = seconds % 0.5 < 0.02
    wave = np.sin(2 * np.pi * 440 * seconds) * np.where(is_loud, 20000, 300)
    return wave.astype(np.int16)[None]


def _add_video(
    container: OutputContainer,
    picture: Image,
    rate: Fraction,
    codec: str,
    pixels: str,
    options: dict[str, str] | None,
) -> VideoStream:
    fast = {"crf": "12", "preset": "ultrafast", "threads": "1"} if codec == "libx264" else {}
    stream = container.add_stream(codec, rate=rate, options=fast | (options or {}))
    assert isinstance(stream, VideoStream)
    stream.height, stream.width = picture.shape[:2]
    stream.pix_fmt = pixels
    return stream


def _add_sound(container: OutputContainer, codec: str) -> AudioStream:
    stream = container.add_stream(codec, rate=48000)
    assert isinstance(stream, AudioStream)
    stream.layout = "mono"
    return stream


def _write_tone(
    container: OutputContainer, stream: AudioStream, start_s: float, length_s: float
) -> None:
    rate, step = 48000, 960
    wave = clicks(start_s, length_s, rate)
    for begin in range(0, wave.shape[1], step):
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(wave[:, begin : begin + step]), format="s16", layout="mono"
        )
        frame.rate = rate
        frame.pts, frame.time_base = round(start_s * rate) + begin, Fraction(1, rate)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
