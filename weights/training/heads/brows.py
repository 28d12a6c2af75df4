"""Eyebrows, drawn hair by hair into the face's texture."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.random import Generator

from tpvideo.weights.training.heads.kernel import F32, F64, Array
from tpvideo.weights.training.heads.pack import Pack
from tpvideo.weights.training.heads.person import Brows

_SIDE = 1024
_STATIONS = 40
_LANDMARKS = ((21, 20, 19, 18, 17), (22, 23, 24, 25, 26))
"""Landmarks along each brow, from the nose outward."""


class _Curve(NamedTuple):
    """The middle of a brow and its half height, at stations from the nose outward, [40] each."""

    x: Array
    y: Array
    half: Array


def draw_brows(pack: Pack, brows: Brows, rng: Generator) -> F32:
    """[1024, 1024] opacity of both brows, 0 to about 1.1, in the tile of the face."""
    alpha = np.zeros((_SIDE, _SIDE), np.float32)
    for landmarks in _LANDMARKS:
        corners = pack.landmark_uv[list(landmarks)] * [_SIDE, -_SIDE] + [0, _SIDE]
        _draw_hairs(alpha, _curve(corners, brows), brows, rng)
    return np.asarray(cv2.GaussianBlur(alpha, (0, 0), 0.75) * 1.15, np.float32)


def _curve(corners: F64, brows: Brows) -> _Curve:
    t = np.linspace(0, brows.length, _STATIONS)
    x = np.interp(t, np.linspace(0, 1, 5), corners[:, 0])
    y = np.interp(t, np.linspace(0, 1, 5), corners[:, 1])
    if brows.length > 1:
        beyond = np.maximum(t - 1, 0) * 4
        x += beyond * (corners[-1, 0] - corners[-2, 0])
        y += beyond * (corners[-1, 1] - corners[-2, 1])
    padded = np.pad(y, 8, mode="reflect", reflect_type="odd").reshape(1, -1)
    smooth = np.asarray(cv2.GaussianBlur(padded.astype(np.float32), (0, 0), 2.5), np.float32)
    arch = np.sin(np.pi * np.clip(t, 0, 1))
    y = smooth.ravel()[8:-8] - (brows.lift + brows.arch * arch - brows.tilt * (t - 0.5)) * 12 + 20
    bulge = 0.75 + 0.7 * np.sin(np.pi * np.clip(t * 0.8 + 0.12, 0, 1)) - 0.15
    taper = np.clip((brows.length * 1.02 - t) / 0.5, 0.12, 1) * 0.75
    return _Curve(x, y, brows.thickness * 24 * np.clip(bulge, 0, 2) * taper)


def _draw_hairs(alpha: F32, curve: _Curve, brows: Brows, rng: Generator) -> None:
    count = int(760 * brows.density * (0.5 + brows.thickness))
    at = rng.random(count) * brows.length
    at = at[rng.random(count) < np.clip((at + 0.03) / 0.22, 0.12, 1)]  # sparser at the nose
    station = np.minimum(at / brows.length * (_STATIONS - 1), _STATIONS - 1.7)
    stations = np.arange(_STATIONS)
    x = np.interp(station, stations, curve.x)
    half = np.interp(station, stations, curve.half) * np.minimum(1.0, 0.45 + at / 0.2 * 0.55)
    offset = rng.normal(0, 0.45, len(at))
    y = np.interp(station, stations, curve.y) + np.clip(offset, -1, 1) * half
    dx, dy = (
        np.interp(station + 0.5, stations, line) - np.interp(station - 0.5, stations, line)
        for line in (curve.x, curve.y)
    )
    step = np.hypot(dx, dy) + 1e-6
    # hairs stand up at the nose, and further out lie along the brow, toward its middle
    lying = np.clip(at / 0.35, 0, 1)
    dx = dx / step * (lying + (1 - lying) * 0.35)
    dy = dy / step * lying - (1 - lying) * 1.15 + np.where(offset < -0.3, 0.25, -0.25) * lying
    length = (13 + 10 * rng.random(len(at))) * (0.6 + 0.6 * brows.thickness)
    length = length / (np.hypot(dx, dy) + 1e-6)
    opacity = rng.uniform(0.45, 0.95, len(at))
    ends = np.stack([x, y, x + dx * length, y + dy * length], axis=1)
    for (x0, y0, x1, y1), shade in zip((ends * 16).astype(int).tolist(), opacity, strict=True):
        cv2.line(alpha, (x0, y0), (x1, y1), float(shade), 1, cv2.LINE_AA, 4)
