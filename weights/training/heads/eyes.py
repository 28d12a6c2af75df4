"""The look of an eyeball."""

from __future__ import annotations

import numpy as np

from tpvideo.weights.training.heads.kernel import F32, U8, compiled
from tpvideo.weights.training.heads.sampling import Vector, plus, texture_colour


@compiled
def _in_eye(eye: F32, v: Vector) -> Vector:
    """A vector in the axes of an eye (columns 4 to 12 of Scene.eyes)."""
    return (
        v[0] * eye[4] + v[1] * eye[5] + v[2] * eye[6],
        v[0] * eye[7] + v[1] * eye[8] + v[2] * eye[9],
        v[0] * eye[10] + v[1] * eye[11] + v[2] * eye[12],
    )


@compiled
def eye_albedo(
    eye: F32, iris_texture: U8, sclera: U8, linear: F32, tint: Vector, point: Vector, sight: Vector
) -> Vector:
    """The white, and the iris as it is seen through the bulge of the cornea.

    Args:
        eye: [16] a row of Scene.eyes.
        iris_texture, sclera: [h, w, 3] sRGB bytes; linear: [256] light of a byte.
        tint: factor on the iris.
        point: world position of the sample; sight: unit vector toward the camera.
    """
    offset = plus(point, (eye[0] * 1.0, eye[1] * 1.0, eye[2] * 1.0), -1.0)
    lx, ly, lz = _in_eye(eye, (offset[0] / eye[3], offset[1] / eye[3], offset[2] / eye[3]))
    wx, wy, wz = _in_eye(eye, sight)
    su = min(max(lx / 0.62 * 0.25 * 0.86 + 0.5, 0.001), 0.999)
    sv = min(max(ly / 0.62 * 0.25 * 0.86 + 0.5, 0.001), 0.999)
    red, green, blue = texture_colour(sclera, su, sv, linear)
    # the texture has an iris of its own: lift what is dark
    white = (max(red, 0.30) * 1.28, max(green, 0.27) * 1.26, max(blue, 0.25) * 1.25)
    if lz <= 0:
        return white
    iris = eye[13]
    depth = 0.16 * max(0.0, 1.0 - (np.sqrt(lx * lx + ly * ly) / iris) ** 2) * 0.6
    ix = (lx - wx / max(wz, 0.35) * depth) / iris
    iy = (ly - wy / max(wz, 0.35) * depth) / iris
    radius = np.sqrt(ix * ix + iy * iy)
    if radius >= 1.08:
        return white
    pupil = eye[14]  # the texture's own ends at 0.26
    inside = radius / pupil * 0.26
    outside = 0.26 + (radius - pupil) / (1 - pupil) * 0.72
    k = (inside if radius < pupil else outside) / max(radius, 1e-4) * 0.47
    u, v = min(max(0.5 + ix * k, 0.001), 0.999), min(max(0.5 + iy * k, 0.001), 0.999)
    colour = texture_colour(iris_texture, u, v, linear)
    dark = 0.25 + 0.75 * _smooth((1.0 - radius) / 0.28)
    share = _smooth((1.06 - radius) / 0.14)
    return (
        white[0] + (colour[0] * tint[0] * dark - white[0]) * share,
        white[1] + (colour[1] * tint[1] * dark - white[1]) * share,
        white[2] + (colour[2] * tint[2] * dark - white[2]) * share,
    )


@compiled
def _smooth(x: float) -> float:
    """0 below 0, 1 above 1, smooth between."""
    clipped = min(max(x, 0.0), 1.0)
    return clipped * clipped * (3 - 2 * clipped)
