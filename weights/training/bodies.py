"""Bodies for rendered busts: torso, arms, hands and long hair, drawn around the head's landmarks.

The head generator ends at the collar; real pictures do not. What is drawn here is no likeness:
it teaches that below a head comes a body as far as the frame's edge, whatever it wears.
Lengths are in units u of the head: the distance from the bridge of the nose to the chin,
about 11 cm.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from tpvideo.weights.training.backdrops import (
    Colour,
    Picture,
    pattern,
    random_colour,
    smooth_noise,
    uneven_light,
)

BRIDGE, CHIN = 27, 8
"""Landmarks (of 68) that span the unit u."""

Points = NDArray[np.float64]


class Layer(NamedTuple):
    """A partly transparent picture."""

    colour: Picture
    """[H, W, 3] straight, 0..255."""
    alpha: Picture
    """[H, W], 0..1."""


class Anatomy(NamedTuple):
    """Where a head is in the frame and what it is made of."""

    unit_px: float
    """From the bridge of the nose to the chin."""
    face: Points
    """[68, 2] landmarks."""
    base: Points
    """[2] the middle of the neck, at the collar."""
    skin: Colour
    hair: Colour
    cloth: Colour


def anatomy_of(head: Layer, points: Points) -> Anatomy:
    """Measure a head that stands in the frame.

    Args:
        head: the bust, anywhere in the frame, even beyond it.
        points: [68, 2] its landmarks, pixels of the frame.
    """
    unit_px = float(np.linalg.norm(points[CHIN] - points[BRIDGE])) + 1e-3
    up = (points[BRIDGE] - points[CHIN]) / unit_px
    ears = points[[0, 16]].mean(axis=0)
    base = 0.5 * (ears + points[CHIN]) - np.array([0, -0.95]) * unit_px
    base[0] = 0.7 * ears[0] + 0.3 * points[CHIN, 0]
    skin = _median_colour(head, points[29:36], 0.1 * unit_px)
    hair = _median_colour(head, points[BRIDGE] + up * unit_px * np.array([[1.0], [1.1]]), 3)
    cloth = _median_colour(head, base + np.array([[0, 0.15], [0, 0.25]]) * unit_px, 3)
    return Anatomy(unit_px, points, base, skin, hair, cloth)


def dressed(
    head: Layer, anatomy: Anatomy, rng: np.random.Generator, *, long_hair: float = 0.4
) -> Layer:
    """The head with a body down to the frame's lower edge; sometimes hands, a V-neck and, with the
    given probability, drawn long hair."""
    height, width = head.alpha.shape
    cloth = anatomy.cloth if rng.random() < 0.5 else random_colour(rng)
    fabric = _fabric(rng, height, width, cloth)
    lean = rng.normal(0, 0.06)
    turn = rng.uniform(0.7, 1.05)
    torso = Layer(fabric, _torso_mask(anatomy, rng, (height, width), lean, turn))
    person = Layer(np.zeros_like(head.colour), np.zeros_like(head.alpha))
    has_long_hair = rng.random() < long_hair
    if has_long_hair:
        person = over(_long_hair(anatomy, rng, (height, width)), person)
    person = over(_shaded(torso, rng, anatomy.unit_px), person)
    if rng.random() < 0.55:  # the bust's own collar shows
        person = over(head, person)
    else:
        person = over(head, person)
        neckline = Layer(torso.colour, torso.alpha * _below_neckline(anatomy, rng, torso.alpha))
        if rng.random() < 0.6:
            person = over(_chest(anatomy, person, torso.alpha), person)
        person = over(_shaded(neckline, rng, anatomy.unit_px), person)
    if has_long_hair and rng.random() < 0.7:
        person = over(_long_hair(anatomy, rng, (height, width)), person)
    for side in (-1, 1):
        if rng.random() < 0.35:
            person = _with_arm(person, anatomy, rng, side * turn, fabric)
    return person


def over(front: Layer, back: Layer) -> Layer:
    """The front layer before the back one (Porter and Duff 1984)."""
    alpha = front.alpha + back.alpha * (1 - front.alpha)
    share = (front.alpha / np.maximum(alpha, 1e-6))[..., None]
    return Layer(back.colour + share * (front.colour - back.colour), alpha)


def _median_colour(head: Layer, places: Points, reach_px: float) -> Colour:
    """The median colour of the opaque pixels near the places; dark brown where there are none."""
    found = []
    for x, y in places:
        rows = slice(max(0, int(y - reach_px)), max(0, int(y + reach_px) + 1))
        columns = slice(max(0, int(x - reach_px)), max(0, int(x + reach_px) + 1))
        found.append(head.colour[rows, columns][head.alpha[rows, columns] > 0.9])
    colours = np.concatenate(found)
    if not len(colours):
        return np.array([45, 35, 30], np.float32)
    median: Colour = np.median(colours, axis=0).astype(np.float32)
    return median


def _fabric(rng: np.random.Generator, height: int, width: int, colour: Colour) -> Picture:
    """[H, W, 3] cloth with folds, often with a pattern, sometimes with a print."""
    kind = rng.random()
    if kind < 0.35:
        picture = pattern(rng, height, width, colour)
    else:
        picture = np.broadcast_to(colour, (height, width, 3)).astype(np.float32)
    cell = rng.uniform(0.05, 0.3) * width
    folds = 1 - np.abs(smooth_noise(rng, height, width, cell, rng.uniform(0.5, 4)))
    depth = np.float32(rng.uniform(0, 0.4))
    folded: Picture = np.clip(picture * (1 - depth + depth * folds[..., None]), 0, 255)
    return folded


def _shaded(layer: Layer, rng: np.random.Generator, unit_px: float) -> Layer:
    """Rounder: darker to its own edges, unevenly lit."""
    height, width = layer.alpha.shape
    inside = cv2.blur(layer.alpha, (2 * int(0.35 * unit_px) + 1,) * 2)
    depth = np.float32(rng.uniform(0, 0.6))
    shade = (1 - depth + depth * inside)[..., None] * uneven_light(rng, height, width, 0.25)
    return Layer(np.clip(layer.colour * shade, 0, 255), layer.alpha)


def _torso_mask(
    anatomy: Anatomy, rng: np.random.Generator, size: tuple[int, int], lean: float, turn: float
) -> Picture:
    """[H, W] neck, shoulders, upper arms and trunk, as far down as the frame goes."""
    shoulder = rng.uniform(1.9, 2.7)
    drop = rng.uniform(0.45, 0.9)
    right = np.array(
        [
            (rng.uniform(0.4, 0.6), -0.55),
            (rng.uniform(0.5, 0.75), rng.uniform(-0.1, 0.15)),
            (0.65 * shoulder, 0.55 * drop),
            (shoulder, drop),
            (shoulder + rng.uniform(0.1, 0.35), drop + 0.7),
            (shoulder + rng.uniform(-0.2, 0.7), drop + 2.2),
            (shoulder + rng.uniform(-0.5, 0.9), drop + 4),
            (shoulder + rng.uniform(-0.5, 0.5), 40),
        ]
    )
    left = right[::-1] * rng.uniform(0.92, 1.08, right.shape) * (-1, 1)
    outline = _rounded(np.concatenate([right, left]) * (turn, 1))
    slant = np.array([[1, 0], [lean, 1]])
    return _filled([outline @ slant * anatomy.unit_px + anatomy.base], size)


def _below_neckline(anatomy: Anatomy, rng: np.random.Generator, torso: Picture) -> Picture:
    """[H, W] 1 where clothes with a neckline (crew, V, deep V, collar) cover the body."""
    depth, half = rng.uniform(0.1, 1.8), rng.uniform(0.5, 0.9)
    top = -0.25
    right = [(half, top - 3), (half, top), (0.1, depth)]
    opening = np.array([*right, *((-x, y) for x, y in reversed(right))])
    if rng.random() < 0.4:
        opening = _rounded(opening)
    return 1 - _filled([opening * anatomy.unit_px + anatomy.base], torso.shape)


def _chest(anatomy: Anatomy, person: Layer, torso: Picture) -> Layer:
    """Skin from the collar down, under the opening of the clothes."""
    unit, base = anatomy.unit_px, anatomy.base
    outline = _rounded(np.array([(-0.9, 0.05), (0, 0.0), (0.9, 0.05), (0.9, 2.2), (-0.9, 2.2)]))
    cover = _filled([outline * unit + base], torso.shape) * torso
    return Layer(np.broadcast_to(anatomy.skin * 0.95, person.colour.shape), cover)


def _long_hair(anatomy: Anatomy, rng: np.random.Generator, size: tuple[int, int]) -> Layer:
    """Locks from the temples down beside the face onto shoulders and chest."""
    height, width = size
    unit = anatomy.unit_px
    length = rng.uniform(0.8, 3.2)
    jaw = anatomy.face[[1, 15]]
    jaw = jaw[np.argsort(jaw[:, 0])]
    outlines = []
    for side, ear in zip((-1, 1), jaw, strict=True):
        if rng.random() < 0.1:
            continue
        steps = np.linspace(-0.5, length, 8)
        wave = 0.08 * np.sin(steps * rng.uniform(2, 6) + rng.uniform(0, 6))
        inner = 0.05 + 0.12 * rng.normal(0, 1, 8).cumsum() * 0.3 - wave
        outer = rng.uniform(0.25, 0.7) * np.array([0.6, 0.9, 1, 1, 1, 1, 0.9, 0.4]) + wave
        lock = np.stack([np.r_[inner, outer[::-1]] * side, np.r_[steps, steps[::-1]]], axis=1)
        outlines.append(_rounded(lock) * unit + ear)
    mask = _filled(outlines, size)
    streaks = smooth_noise(rng, height, width, max(1.5, 0.06 * unit), 12)
    fringe = cv2.GaussianBlur(mask, (0, 0), max(0.5, 0.08 * unit))
    mask = np.clip((fringe + 0.3 * streaks - 0.35) * 3, 0, 1)
    glow = (1 + rng.uniform(0.1, 0.6) * streaks)[..., None].astype(np.float32)
    return Layer(np.clip(anatomy.hair * glow, 0, 255), mask)


def _with_arm(
    person: Layer, anatomy: Anatomy, rng: np.random.Generator, side: float, fabric: Picture
) -> Layer:
    """The person with one arm in front: sleeve or skin, and a hand, now and then at the face."""
    size = person.alpha.shape
    unit = anatomy.unit_px
    shoulder = np.array([rng.uniform(1.7, 2.2) * side, rng.uniform(0.9, 1.2)])
    elbow = shoulder + np.array([rng.uniform(-0.1, 0.9) * side, rng.uniform(1.6, 2.6)])
    hand = np.array([rng.uniform(-0.8, 1.6) * side, rng.uniform(0.8, 4.5)])
    if rng.random() < 0.2:
        hand = np.array([rng.uniform(-0.6, 0.8) * side, rng.uniform(-2.2, -0.3)])
    joints = [joint * unit + anatomy.base for joint in (shoulder, elbow, hand)]
    upper = _filled([_limb(joints[0], joints[1], 0.5 * unit, 0.38 * unit)], size)
    fore = _filled([_limb(joints[1], joints[2], 0.38 * unit, 0.24 * unit)], size)
    skin = np.broadcast_to(anatomy.skin * np.float32(rng.uniform(0.8, 1.1)), fabric.shape)
    palm = joints[2] + (joints[2] - joints[1]) * 0.12
    fingers = [_limb(joints[2], palm, 0.26 * unit, 0.34 * unit)]
    reach = rng.normal(np.arctan2(*(palm - joints[1])[::-1]), 0.5)
    for angle in reach + np.array([-0.5, -0.17, 0.17, 0.5]) * rng.uniform(0.3, 1.6):
        tip = palm + rng.uniform(0.5, 0.85) * unit * np.array([np.cos(angle), np.sin(angle)])
        fingers.append(_limb(palm, tip, 0.12 * unit, 0.09 * unit))
    sleeve = rng.random()
    parts = [
        Layer(fabric if sleeve < 0.75 else skin, upper),
        Layer(fabric if sleeve < 0.5 else skin, fore),
        Layer(skin, np.maximum.reduce([_filled([finger], size) for finger in fingers])),
    ]
    for part in parts:
        person = over(_shaded(part, rng, 0.6 * unit), person)
    return person


def _limb(start: Points, end: Points, start_px: float, end_px: float) -> Points:
    """[N, 2] outline of a tapering capsule."""
    turn = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    circle = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    both = np.concatenate([start + circle * start_px, end + circle * end_px]).astype(np.float32)
    return cv2.convexHull(both)[:, 0].astype(np.float64)


def _rounded(outline: Points) -> Points:
    """[4N, 2] the outline with its corners cut twice (Chaikin 1974)."""
    for _ in range(2):
        following = np.roll(outline, -1, axis=0)
        cut = np.stack([0.75 * outline + 0.25 * following, 0.25 * outline + 0.75 * following])
        outline = cut.transpose(1, 0, 2).reshape(-1, 2)
    return outline


def _filled(outlines: list[Points], size: tuple[int, ...]) -> Picture:
    """[H, W] 1 inside the outlines, with smooth edges."""
    mask = np.zeros(size[:2], np.uint8)
    for outline in outlines:
        corners = np.clip(outline * 16, -(2**24), 2**24).astype(np.int32)
        cv2.fillPoly(mask, [corners], 255, cv2.LINE_AA, 4)
    return mask * np.float32(1 / 255)
