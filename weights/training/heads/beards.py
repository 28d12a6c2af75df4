"""Beard styles: tufts of strands on the mean head."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from tpvideo.weights.training.heads.growth import Growth, Strands, grow_strands
from tpvideo.weights.training.heads.pack import Pack


def beard_strands(pack: Pack, style: str, rng: Generator) -> Strands:
    """A beard: 'full', 'short', 'goatee', 'mustache' or 'chin'."""
    x, y, z = pack.points.T
    mustache = np.clip((y + 3.6) / 0.4, 0, 1) * np.clip((-1.1 - y) / 0.3, 0, 1)
    mustache = mustache * (np.abs(x) < 3.2) * (z > 9)
    chin = np.exp(-((x / 2.4) ** 4)) * np.clip((-4.6 - y) / 0.5, 0, 1)
    corners = np.exp(-(((np.abs(x) - 2.9) / 0.6) ** 2)) * (y < -1.8) * (z > 8)
    masks = {
        "mustache": mustache,
        "goatee": np.clip(mustache + chin + corners, 0, 1),
        "chin": chin,
    }
    styles = ("full", "short", "goatee", "mustache", "chin")
    lengths = rng.uniform([1.4, 0.45, 0.6, 0.7, 0.6], [4.0, 1.1, 2.0, 1.3, 2.5])
    length = float(lengths[styles.index(style)])
    growth = Growth(
        count=(3600, 3600, 1500, 700, 900)[styles.index(style)],
        length=(length * 0.6, length * 1.2),
        lift=0.45,
        flow="beard",
        gravity=0.02,
        clearance=(0.03, 0.25),
        frizz=0.10,
        points=5,
        width=0.085,
        jitter=0.3,
        length_at=lambda roots: 0.55 + 0.45 * np.clip((-1.5 - roots[:, 1]) / 3, 0, 1),
    )
    return grow_strands(pack, rng, pack.beard * masks.get(style, 1.0), growth)
