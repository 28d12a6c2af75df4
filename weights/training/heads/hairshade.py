"""Light on hair: Kajiya and Kay's model (1989) with two shifted highlights."""

from __future__ import annotations

import numpy as np

from tpvideo.weights.training.heads.hair import ShadePoints
from tpvideo.weights.training.heads.kernel import F32, compiled
from tpvideo.weights.training.heads.light import Light
from tpvideo.weights.training.heads.sampling import (
    Shadow,
    Vector,
    ambient,
    dot,
    lamp_share,
    normalised,
    plus,
)


def light_hair(
    hair: ShadePoints, light: Light, shadow: Shadow, camera: Vector, gloss: float
) -> F32:
    """[k, 3] linear colours of hair points seen from a camera."""
    out = np.empty_like(hair.points)
    _light_hair(hair, light, shadow, camera, gloss, out)
    return out


@compiled
def _row(values: F32, i: int) -> Vector:
    return values[i, 0] * 1.0, values[i, 1] * 1.0, values[i, 2] * 1.0


@compiled
def _light_hair(
    hair: ShadePoints, light: Light, shadow: Shadow, camera: Vector, gloss: float, out: F32
) -> None:
    key = (light.key[0] * 1.0, light.key[1] * 1.0, light.key[2] * 1.0)
    for i in range(hair.points.shape[0]):
        point, normal = _row(hair.points, i), _row(hair.normals, i)
        tangent, openness = _row(hair.tangents, i), hair.openness[i]
        view = normalised(plus(camera, point, -1.0))
        around = ambient(light.irradiance, normal)
        toward = dot(normal, key)
        seen = 0.0
        if light.key_colour[1] > 0:
            seen = lamp_share(shadow, plus(point, key, 0.01), 0.014, 2.0)
        along = dot(tangent, key)
        matt = np.sqrt(max(1 - along * along, 0.0))
        matt *= min(max(toward * 0.75 + 0.35, 0.0), 1.0) * seen
        half = dot(tangent, normalised(plus(key, view, 1.0)))
        sharp = max(1 - (half - 0.06) ** 2, 0.0) ** 40.0  # the cuticle's, untinted
        wide = max(1 - (half + 0.12) ** 2, 0.0) ** 14.0  # from within, in the hair's colour
        shine = seen * min(max(toward + 0.3, 0.0), 1.0) * gloss
        # the sky's highlight, as if from a light above
        sky = max(1 - (tangent[1] * 0.85 + dot(tangent, view) * 0.4) ** 2, 0.0) ** 8.0
        for c in range(3):
            own, lamp = hair.colour[i, c], light.key_colour[c]
            tint = np.sqrt(own)
            value = own * around[c] * openness * (0.30 + 0.70 * openness)
            value += own * lamp * matt * (0.45 + 0.55 * openness)
            value += lamp * shine * (0.05 * sharp + 0.22 * wide * tint) * openness
            value += around[c] * gloss * 0.10 * sky * openness * tint
            out[i, c] = value
