"""Person-free backdrops: views into panoramas, procedural rooms, plain walls, clutter.

Everything is drawn from the generator that is passed in; pictures are float32, 0..255, RGB.
Patterns drawn here also dress people (`bodies.py`), so that no texture tells person from room.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tpvideo.pipeline.frame import Image

Picture = NDArray[Any]
"""float32; OpenCV's stubs know no element types, so the checker is not told either."""

Colour = NDArray[np.float32]
"""[3] RGB, 0..255."""


class Backdrops:
    """A source of endless person-free pictures."""

    def __init__(self, panoramas: Sequence[Image]) -> None:
        """Keep the panoramas.

        Args:
            panoramas: equirectangular pictures [H, 2H, 3] RGB; may be empty.
        """
        self.panoramas = tuple(panoramas)

    def draw(self, rng: np.random.Generator, height: int, width: int) -> Picture:
        """[height, width, 3] of something without a person, 0..255."""
        kind = rng.random()
        if kind < 0.4 and self.panoramas:
            picture = self._view(rng, height, width)
        elif kind < 0.6:
            picture = plain(rng, height, width)
        else:
            picture = _room(rng, height, width)
        things = rng.choice([0, 0, 3, 8])
        prints = [self._view(rng, height, width)] if things and self.panoramas else []
        for _ in range(things):
            has_print = prints and rng.random() < 0.5
            _clutter(picture, rng, prints[0] if has_print else random_colour(rng))
        if rng.random() < 0.5:
            sigma_px = np.exp(rng.uniform(-0.7, np.log(0.025 * width)))
            picture = cv2.GaussianBlur(picture, (0, 0), sigma_px)
        return picture

    def _view(self, rng: np.random.Generator, height: int, width: int) -> Picture:
        panorama = self.panoramas[rng.integers(len(self.panoramas))]
        return panorama_view(panorama, rng, height, width)


def panorama_view(panorama: Image, rng: np.random.Generator, height: int, width: int) -> Picture:
    """A pinhole camera's view into a panorama: random heading, 25 to 80 degrees across."""
    focal = 0.5 * width / np.tan(0.5 * np.radians(rng.uniform(25, 80)))
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    x = (columns - 0.5 * width) / focal
    y = (rows - 0.5 * height) / focal + np.float32(rng.normal(0, 0.15))
    longitude = np.arctan(x) / (2 * np.pi) + rng.random()
    latitude = np.arctan2(y, np.hypot(1, x)) / np.pi + 0.5
    tall, wide = panorama.shape[:2]
    view = cv2.remap(
        panorama,
        (longitude % 1 * (wide - 1)).astype(np.float32),
        (latitude * (tall - 1)).astype(np.float32),
        cv2.INTER_LINEAR,
    )
    if rng.random() < 0.5:
        view = view[:, ::-1]
    gain = np.float32(rng.uniform(0.6, 1.4))
    lit: Picture = np.clip(view.astype(np.float32) * gain, 0, 255)
    return lit


def plain(rng: np.random.Generator, height: int, width: int) -> Picture:
    """A wall or studio cloth: one colour, uneven light, perhaps a pattern."""
    picture = (
        pattern(rng, height, width, random_colour(rng))
        if rng.random() < 0.4
        else (np.broadcast_to(random_colour(rng), (height, width, 3)))
    )
    lit: Picture = np.clip(picture * uneven_light(rng, height, width, 0.35), 0, 255)
    return lit


def random_colour(rng: np.random.Generator) -> Colour:
    """[3] RGB, 0..255: often grey, white, dark or like skin and wood, sometimes bright."""
    kind = rng.random()
    if kind < 0.3:
        hue, saturation, value = rng.random(), rng.uniform(0, 0.15), rng.uniform(0.4, 1)
    elif kind < 0.5:
        hue, saturation, value = rng.random(), rng.uniform(0, 0.4), rng.uniform(0.02, 0.3)
    elif kind < 0.7:  # skin, wood, beige
        hue, saturation, value = rng.uniform(0.02, 0.11), rng.uniform(0.2, 0.6), rng.random()
    else:
        hue, saturation, value = rng.random(), rng.uniform(0.1, 0.9), rng.uniform(0.2, 1)
    return np.float32(255) * np.array(colorsys.hsv_to_rgb(hue, saturation, value), np.float32)


def smooth_noise(
    rng: np.random.Generator, height: int, width: int, cell_px: float, stretch: float = 1.0
) -> Picture:
    """[height, width] of noise in -1..1 whose features are about `cell_px` wide.

    `stretch` times as tall as wide, for hair and wood.
    """
    cells = (max(2, round(width / cell_px) + 1), max(2, round(height / cell_px / stretch) + 1))
    grid = rng.uniform(-1, 1, cells[::-1]).astype(np.float32)
    return cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)


def uneven_light(rng: np.random.Generator, height: int, width: int, depth: float) -> Picture:
    """[height, width, 1] of factors around 1, falling off to one side and in soft clouds."""
    across = np.linspace(-1, 1, width, dtype=np.float32)[None] * np.float32(rng.normal(0, depth))
    down = np.linspace(-1, 1, height, dtype=np.float32)[:, None] * np.float32(rng.normal(0, depth))
    clouds = smooth_noise(rng, height, width, 0.5 * width) * np.float32(0.5 * depth)
    light: Picture = np.clip(1 + across + down + clouds, 0.1, 2)
    return light[..., None]


def pattern(rng: np.random.Generator, height: int, width: int, base: Colour) -> Picture:
    """[height, width, 3] of stripes, checks, tiles, planks, streaks or mottle in two colours."""
    other = base * np.float32(rng.uniform(0.4, 1.5)) if rng.random() < 0.6 else random_colour(rng)
    period = rng.uniform(4, 40)
    angle = rng.choice([0, np.pi / 2, rng.uniform(0, np.pi)])
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    u = (columns * np.cos(angle) + rows * np.sin(angle)) / period + rng.random()
    v = (rows * np.cos(angle) - columns * np.sin(angle)) / period + rng.random()
    thin = rng.uniform(0.05, 0.5)
    match rng.integers(5):
        case 0:
            share = (u % 1 < thin).astype(np.float32)
        case 1:
            share = 0.5 * ((u % 1 < thin).astype(np.float32) + (v % 1 < thin))
        case 2:  # bricks: every other course is shifted
            shifted = u * 0.4 + 0.5 * (np.floor(v) % 2)
            share = ((shifted % 1 < 0.1) | (v % 1 < 0.15)).astype(np.float32)
        case 3:
            stretch = rng.uniform(0.02, 0.2)
            share = 0.5 + 0.5 * smooth_noise(rng, height, width, 0.5 * period, stretch)
        case _:
            share = 0.5 + 0.5 * smooth_noise(rng, height, width, 0.5 * period)
    mixed: Picture = base + (other - base) * np.float32(rng.uniform(0.2, 1)) * share[..., None]
    return mixed


def _room(rng: np.random.Generator, height: int, width: int) -> Picture:
    """A wall, a floor or table, and furniture: frames, doors, shelves, windows, cushions."""
    picture = plain(rng, height, width)
    if rng.random() < 0.5:
        edge = int(rng.uniform(0.5, 1) * height)
        picture[edge:] = plain(rng, height, width)[edge:]
    for _ in range(rng.integers(1, 7)):
        left, top = rng.uniform(-0.2, 0.9) * width, rng.uniform(-0.3, 0.8) * height
        across, down = rng.uniform(0.08, 0.6) * width, rng.uniform(0.1, 0.9) * height
        _furniture(picture, rng, (int(left), int(top), int(left + across), int(top + down)))
    lit: Picture = np.clip(picture * uneven_light(rng, height, width, 0.2), 0, 255)
    return lit


def _furniture(picture: Picture, rng: np.random.Generator, box: tuple[int, int, int, int]) -> None:
    """One rectangle with a border and something inside, drawn into the picture."""
    left, top = max(0, box[0]), max(0, box[1])
    right, bottom = min(picture.shape[1], box[2]), min(picture.shape[0], box[3])
    if right - left < 4 or bottom - top < 4:
        return
    inside = picture[top:bottom, left:right]
    border = max(1, int(rng.uniform(0.02, 0.12) * min(inside.shape[:2])))
    inside[:] = random_colour(rng)
    panel = inside[border:-border, border:-border]
    if not panel.size:
        return
    panel[:] = plain(rng, *panel.shape[:2])
    match rng.integers(4):
        case 0:  # shelves of books
            for x in range(0, panel.shape[1], max(2, panel.shape[1] // int(rng.integers(4, 20)))):
                panel[int(rng.uniform(0, 0.3) * panel.shape[0]) :, x:] = random_colour(rng)
            step = max(4, panel.shape[0] // int(rng.integers(1, 5)))
            panel[::step] = panel[1::step] = random_colour(rng)
        case 1:
            for _ in range(rng.integers(1, 8)):
                _clutter(panel, rng, random_colour(rng))
        case _:
            pass


def _clutter(picture: Picture, rng: np.random.Generator, colour: Picture) -> None:
    """One ellipse, leaf, coat, cable, tuft or word, drawn into the picture in one colour [3] or
    in the colours of another picture of its size."""
    height, width = picture.shape[:2]
    size = rng.uniform(0.03, 0.25) * min(height, width)
    centre = rng.uniform(0, 1, 2) * (width, height)
    mask = np.zeros((height, width), np.uint8)
    match rng.integers(6):
        case 0:  # lamps, cushions, balls; in the colours of skin now and then
            axes = np.maximum(1, size * rng.uniform(0.4, 1.2, 2))
            angle = rng.uniform(0, 180)
            cv2.ellipse(mask, _pixel(centre), _pixel(axes), angle, 0, 360, 255, -1, cv2.LINE_AA)
        case 1:  # a plant, a bush of hair
            for angle in rng.uniform(0, 2 * np.pi, rng.integers(4, 30)):
                tip = centre + size * rng.uniform(0.4, 2) * np.array([np.cos(angle), np.sin(angle)])
                thickness = int(rng.integers(1, 2 + int(0.15 * size)))
                cv2.line(mask, _pixel(centre), _pixel(tip), 255, thickness, cv2.LINE_AA)
        case 2:  # a coat on a hook, a chair's back: a body's outline without a head
            sides = np.array([[-0.3, 0], [0.3, 0], [0.9, 0.2], [1, 2], [-1, 2], [-0.9, 0.2]])
            outline = centre + sides * size * rng.uniform(0.6, 2, 2)
            cv2.fillPoly(mask, [outline.astype(np.int32)], 255, cv2.LINE_AA)
        case 3:
            start, end = rng.uniform(-0.2, 1.2, (2, 2)) * (width, height)
            thickness = int(rng.integers(1, 2 + width // 30))
            cv2.line(mask, _pixel(start), _pixel(end), 255, thickness, cv2.LINE_AA)
        case 4:
            letters = "".join(rng.choice(list("ABCDEHKMNORSTXYaeimnostu0123456789 "), 6))
            font, thickness = int(rng.integers(0, 8)), int(rng.integers(1, 4))
            cv2.putText(mask, letters, _pixel(centre), font, size / 25, 255, thickness, cv2.LINE_AA)
        case _:
            corners = centre + size * rng.normal(0, 1, (int(rng.integers(3, 7)), 2))
            cv2.fillPoly(mask, [corners.astype(np.int32)], 255, cv2.LINE_AA)
    shade = uneven_light(rng, height, width, 0.4)
    cover = mask[..., None] * np.float32(1 / 255)
    picture += cover * (np.clip(colour * shade, 0, 255) - picture)


def _pixel(place: NDArray[Any]) -> tuple[int, int]:
    return int(place[0]), int(place[1])
