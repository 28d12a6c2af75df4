"""Hair styles: tufts of strands on the mean head."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.random import Generator

from tpvideo.weights.training.heads.growth import Growth, Strands, grow_strands
from tpvideo.weights.training.heads.kernel import F64
from tpvideo.weights.training.heads.pack import Pack


def _shorter_below(low: float) -> Callable[[F64], F64]:
    """Length factor: full on top, `low` at the ears."""
    return lambda roots: low + (1 - low) * np.clip((roots[:, 1] - 6.5) / 4.5, 0, 1)


def hair_strands(pack: Pack, style: str, mirrored: bool, rng: Generator) -> list[Strands]:
    """The tufts of a strand style."""
    parting = (-1.0 if mirrored else 1.0) * rng.uniform(0.0, 3.5)
    scalp = pack.scalp
    if style == "buzz":
        return [grow_strands(pack, rng, scalp, _buzz(rng))]
    if style == "short":
        return [grow_strands(pack, rng, scalp, _short(rng, parting))]
    if style in ("side", "back", "messy"):
        return _long_on_top(pack, rng, style, parting)
    if style == "receding":
        return _receding(pack, rng)
    if style in ("long", "bob", "fringe"):
        return _long(pack, rng, style, parting)
    if style == "updo":
        return _updo(pack, rng)
    if style == "curly":
        return [grow_strands(pack, rng, scalp, _curly(rng, parting))]
    return [grow_strands(pack, rng, scalp, _afro(rng))]


def flyaways(pack: Pack, rng: Generator) -> Strands:
    """Loose hairs over a modelled style."""
    growth = Growth(
        count=150,
        length=(2.0, 7.0),
        lift=0.6,
        flow="down",
        gravity=0.14,
        clearance=(0.6, 1.8),
        frizz=0.14,
        points=9,
        width=0.03,
        adhesion=0.12,
    )
    return grow_strands(pack, rng, pack.scalp, growth)


def _buzz(rng: Generator) -> Growth:
    length = rng.uniform(0.25, 0.9)
    return Growth(
        count=5200,
        length=(length * 0.8, length * 1.2),
        lift=0.75,
        flow="down",
        gravity=0,
        clearance=(0.02, 0.1),
        frizz=0.02,
        points=3,
        width=0.10,
        length_at=_shorter_below(0.6),
    )


def _short(rng: Generator, parting: float) -> Growth:
    length = rng.uniform(1.2, 3.0)
    return Growth(
        count=4200,
        length=(length * 0.7, length * 1.2),
        lift=0.45,
        flow=str(rng.choice(["down", "forward", "side"])),
        parting=parting,
        gravity=0.02,
        clearance=(0.1, 0.7),
        frizz=0.06,
        points=6,
        width=0.17,
        length_at=_shorter_below(0.4),
        clumps=(500, 0.5),
        adhesion=0.3,
    )


def _long_on_top(pack: Pack, rng: Generator, style: str, parting: float) -> list[Strands]:
    top = np.clip((pack.points[:, 1] - 8.5) / 3, 0, 1)
    length = rng.uniform(3.5, 6.5)
    messy = style == "messy"
    sides = Growth(
        count=2200,
        length=(0.8, 1.6),
        lift=0.3,
        flow="down",
        gravity=0.02,
        clearance=(0.05, 0.3),
        frizz=0.04,
        points=5,
        width=0.15,
        adhesion=0.5,
    )
    crest = Growth(
        count=2400,
        length=(length * 0.7, length * 1.2),
        lift=0.6 if messy else 0.55,
        flow="random" if messy else style,
        parting=parting,
        gravity=0.02 if style == "back" else 0.05,
        clearance=(0.3, 1.5),
        frizz=0.16 if messy else 0.07,
        points=8,
        width=0.2,
        clumps=(220, 0.6),
        stiffness=0.6,
        adhesion=0.1 if messy else 0.25,
    )
    lower = pack.scalp * np.clip(1.1 - top, 0.0, 1)
    return [
        grow_strands(pack, rng, lower, sides),
        grow_strands(pack, rng, pack.scalp * top, crest),
    ]


def _receding(pack: Pack, rng: Generator) -> list[Strands]:
    x, y = pack.points[:, 0], pack.points[:, 1]
    bare = np.clip((9.2 - np.hypot(x, y - 14.0)) / 1.5, 0, 1) * (y > 7)
    length = rng.uniform(0.5, 1.8)
    wreath = Growth(
        count=3400,
        length=(length * 0.7, length * 1.2),
        lift=0.35,
        flow="down",
        gravity=0.03,
        clearance=(0.05, 0.35),
        frizz=0.04,
        points=5,
        width=0.13,
        adhesion=0.5,
    )
    rest = replace(
        wreath,
        count=260,
        length=(length * 0.8, length * 2.2),
        lift=0.2,
        flow="back",
        gravity=0.02,
        clearance=(0.05, 0.2),
        frizz=0.06,
        points=6,
        width=0.06,
    )
    return [
        grow_strands(pack, rng, pack.scalp * (1 - bare), wreath),
        grow_strands(pack, rng, np.clip(pack.scalp * bare, 0, 1), rest),
    ]


def _long(pack: Pack, rng: Generator, style: str, parting: float) -> list[Strands]:
    length = rng.uniform(22, 30) if style == "long" else rng.uniform(12, 18)
    flow = str(rng.choice(["part", "part", "part", "back"]))
    straight = rng.random() < 0.55
    curls = None if straight else (rng.uniform(0.2, 0.55), rng.uniform(4, 8))
    gravity, volume = rng.uniform(0.28, 0.5), rng.uniform(0.9, 1.9)
    curtain = Growth(
        count=2700,
        length=(length * 0.85, length * 1.05),
        lift=0.22,
        flow=flow,
        parting=parting,
        gravity=gravity,
        clearance=(0.2, volume),
        frizz=0.03,
        points=15,
        width=0.24,
        clumps=(170, 0.5),
        curls=curls,
        stiffness=0.85,
        adhesion=0.55,
    )
    tufts = [grow_strands(pack, rng, pack.scalp, curtain)]
    if style == "fringe" or rng.random() < 0.25:
        y, z = pack.points[:, 1], pack.points[:, 2]
        front = np.clip((z - 3.0) / 2, 0, 1) * np.clip((y - 9.5) / 1, 0, 1) * pack.scalp
        length = rng.uniform(5.2, 8.2)
        fringe = Growth(
            count=1100,
            length=(length * 0.85, length * 1.05),
            lift=0.35,
            flow="forward",
            gravity=0.3,
            clearance=(0.2, 0.8),
            frizz=0.04,
            points=9,
            width=0.2,
            clumps=(120, 0.45),
            turn_rad=rng.normal(0, 0.3),
            adhesion=0.2,
        )
        tufts.append(grow_strands(pack, rng, front, fringe))
    return tufts


def _updo(pack: Pack, rng: Generator) -> list[Strands]:
    length = rng.uniform(11, 14)
    combed = Growth(
        count=3600,
        length=(length * 0.7, length),
        lift=0.08,
        flow="knot",
        gravity=0.0,
        clearance=(0.12, 0.6),
        frizz=0.015,
        points=12,
        width=0.17,
        clumps=(300, 0.3),
        adhesion=0.8,
        jitter=0.06,
    )
    tufts = [grow_strands(pack, rng, pack.scalp, combed)]
    if rng.random() < 0.6:
        tufts.append(_bun(pack, rng))
    return tufts


def _curly(rng: Generator, parting: float) -> Growth:
    length = rng.uniform(6, 15)
    return Growth(
        count=2400,
        length=(length * 0.6, length * 1.1),
        lift=0.65,
        flow=str(rng.choice(["down", "part"])),
        parting=parting,
        gravity=0.25,
        clearance=(0.4, 2.4),
        frizz=0.10,
        points=16,
        width=0.22,
        curls=(rng.uniform(0.3, 0.6), rng.uniform(1.8, 3.2)),
        clumps=(180, 0.5),
        adhesion=0.3,
        stiffness=0.6,
    )


def _afro(rng: Generator) -> Growth:
    length = rng.uniform(2.5, 7.0)
    return Growth(
        count=3000,
        length=(length * 0.75, length * 1.1),
        lift=0.85,
        flow="random",
        gravity=0.0,
        clearance=(0.2, 0.5),
        frizz=0.25,
        points=11,
        width=0.22,
        curls=(rng.uniform(0.18, 0.3), rng.uniform(0.7, 1.2)),
    )


def _bun(pack: Pack, rng: Generator) -> Strands:
    """Strands wound on a ball at the back of the head."""
    n, count = 420, 14
    centre = np.array([0, rng.uniform(6, 10.5), -10.6])
    radius = rng.uniform(2.2, 3.0)
    start = rng.uniform(0, 6.28, n)
    latitude = rng.uniform(-1.2, 1.2, n)
    t = np.linspace(0, 1, count)[None]
    angle = start[:, None] + rng.uniform(1.6, 3.2, n)[:, None] * t
    angle = angle[..., None]
    latitudes = (latitude[:, None] + 0.25 * np.sin(3 * t + start[:, None]))[..., None]
    radii = (radius * (1 + rng.normal(0, 0.05, n)))[:, None, None]
    axis, right = np.array([0, 0.35, -0.94]), np.array([1.0, 0, 0])
    ring = np.cos(angle) * right + np.sin(angle) * np.cross(axis, right)
    points = centre + radii * (np.cos(latitudes) * ring + np.sin(latitudes) * axis)
    nearest = np.argmin(np.linalg.norm(pack.points[pack.skin[:, 0]] - centre, axis=1))
    return Strands(
        points,
        np.full((n, count), 0.6),
        np.tile(pack.skin[nearest], (n, 1)),
        np.tile([1.0, 0, 0], (n, 1)),
        np.full(n, 0.3),
    )
