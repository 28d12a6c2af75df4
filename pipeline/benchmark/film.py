"""The film that is timed: always the same, made here."""

from __future__ import annotations

import math
from fractions import Fraction
from importlib.resources import files
from pathlib import Path

import av
import numpy as np
from PIL import Image as Pillow

RATE = 25


def write_film(path: Path, *, frames: int, height: int = 720) -> None:
    """Write a 16:9 film of a head that sways before a wall, with sound.

    Args:
        path: an MP4.
        frames: how many, 25 a second.
        height: pixels.
    """
    width = 2 * round(height * 8 / 9)
    with files(__package__).joinpath("head.jpg").open("rb") as file:
        head = Pillow.open(file).convert("RGB").resize((height, height), Pillow.Resampling.BICUBIC)
    wall = np.random.default_rng(1).integers(96, 160, (9, 16, 3), np.uint8)
    room = Pillow.fromarray(wall).resize((width, height), Pillow.Resampling.BICUBIC)
    with av.open(str(path), "w") as film:
        video = film.add_stream("libx264", rate=RATE, options={"crf": "18", "preset": "veryfast"})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        sound = film.add_stream("aac", rate=48_000)
        for index in range(frames):
            turn = 2 * math.pi * index / (2 * RATE)
            picture = room.copy()
            placed = head.rotate(4 * math.sin(turn), Pillow.Resampling.BILINEAR)
            left = round((width - height) / 2 + 0.04 * height * math.cos(turn))
            picture.paste(placed.crop((height // 10, 0, height * 9 // 10, height)),
                          (left + height // 10, 0))  # fmt: skip
            frame = av.VideoFrame.from_ndarray(np.asarray(picture), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, RATE)
            film.mux(video.encode(frame))
        samples = 48_000 * frames // RATE
        tone = 0.1 * np.sin(np.arange(samples, dtype=np.float32) * (440 * math.tau / 48_000))
        heard = av.AudioFrame.from_ndarray(tone[None], format="fltp", layout="mono")
        heard.sample_rate = 48_000
        film.mux(sound.encode(heard))
        film.mux(video.encode(None))
        film.mux(sound.encode(None))
