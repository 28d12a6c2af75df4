"""Deferred shading of the opaque surface: one colour for each sample of the z-buffer.

Light is linear. A surface reflects its albedo times the light that arrives, widened toward red
where skin scatters it, and a highlight of the surroundings and of the key lamp.
"""

from __future__ import annotations

from typing import NamedTuple

from tpvideo.weights.training.heads.kernel import F32, F64, I32, compiled
from tpvideo.weights.training.heads.light import Light
from tpvideo.weights.training.heads.materials import Looks, Surface, albedo, flat_albedo, surface
from tpvideo.weights.training.heads.pack import BACK, CLOTH
from tpvideo.weights.training.heads.sampling import (
    Shadow,
    Vector,
    ambient,
    dot,
    lamp_share,
    normalised,
    panorama_colour,
    plus,
    times,
)
from tpvideo.weights.training.heads.scene import Mesh

_F0 = 0.028
"""Reflectance of skin, water and plastic seen straight on."""


class Samples(NamedTuple):
    """The z-buffer: each [H, W], see raster.fill_opaque."""

    nearness: F32
    hit: I32
    second: F32
    third: F32


@compiled
def shade(
    samples: Samples,
    mesh: Mesh,
    looks: Looks,
    light: Light,
    shadow: Shadow,
    camera: Vector,
    out: F32,
) -> None:
    """Colour every covered sample of `out` [H, W, 3], H and W even.

    A 2 x 2 block on one smooth stretch of skin shares its light; the albedo is its own.
    """
    for row in range(0, samples.hit.shape[0], 2):
        for column in range(0, samples.hit.shape[1], 2):
            smooth = _is_smooth_skin(samples, mesh.material, row, column)
            known = False
            arriving = highlight = (0.0, 0.0, 0.0)
            for k in range(4):
                y, x = row + (k >> 1), column + (k & 1)
                t = samples.hit[y, x]
                if t < 0:
                    continue
                weights = _weights(samples, y, x)
                if known:
                    colour = flat_albedo(mesh, looks, t, weights)
                else:
                    place = surface(mesh, t, weights, camera)
                    place, colour = albedo(mesh, looks, t, weights, place)
                    arriving, seen = _arriving(light, shadow, place)
                    highlight = _highlight(light, place, seen)
                    known = smooth and place.material != CLOTH
                lit = times(colour, arriving)
                out[y, x, 0] = lit[0] + highlight[0]
                out[y, x, 1] = lit[1] + highlight[1]
                out[y, x, 2] = lit[2] + highlight[2]


@compiled
def _weights(samples: Samples, y: int, x: int) -> Vector:
    second, third = samples.second[y, x], samples.third[y, x]
    return 1.0 - second - third, second * 1.0, third * 1.0


@compiled
def _is_smooth_skin(samples: Samples, material: I32, row: int, column: int) -> bool:
    first = samples.hit[row, column]
    if first < 0 or material[first] > BACK:
        return False
    near = samples.nearness[row, column]
    for k in range(1, 4):
        y, x = row + (k >> 1), column + (k & 1)
        t = samples.hit[y, x]
        if t < 0 or material[t] != material[first]:
            return False
        if abs(samples.nearness[y, x] - near) >= 0.004 * near:
            return False
    return True


@compiled
def _arriving(light: Light, shadow: Shadow, place: Surface) -> tuple[Vector, tuple[Vector, float]]:
    """Light that a matt surface turns into colour; and, for the highlight, the ambient part and
    the share of the lamp that is seen."""
    around = ambient(light.irradiance, place.normal)
    scatter, openness = place.scatter, place.openness
    toward = dot(place.normal, (light.key[0], light.key[1], light.key[2]))
    seen = 0.0
    if toward > -0.35 and light.key_colour.sum() > 0:
        seen = lamp_share(shadow, plus(place.point, place.normal, 0.004), 0.004, light.softness)
    # red light travels furthest under the skin: it wraps further around and leaks into shadow
    red = _wrapped(toward, 0.32 * scatter)
    red = red * red * (0.35 * scatter) + red * (1 - 0.35 * scatter)
    green, blue = _wrapped(toward, 0.12 * scatter), _wrapped(toward, 0.07 * scatter)
    colour = light.key_colour
    arriving = (
        around[0] * openness ** (1.0 - 0.45 * scatter)
        + colour[0] * red * seen ** (1.0 - 0.35 * scatter),
        around[1] * openness ** (1.0 - 0.12 * scatter) + colour[1] * green * seen,
        around[2] * openness + colour[2] * blue * seen,
    )
    if scatter > 0:  # red light between folds
        arriving = (arriving[0] * (1.0 + 0.25 * (1 - openness)), arriving[1], arriving[2])
    return arriving, (around, seen)


@compiled
def _wrapped(toward: float, wrap: float) -> float:
    return max(toward + wrap, 0.0) / (1 + wrap)


@compiled
def _highlight(light: Light, place: Surface, arrived: tuple[Vector, float]) -> Vector:
    """What a surface mirrors of the surroundings and of the lamp."""
    if place.shine <= 0:
        return 0.0, 0.0, 0.0
    around, seen = arrived
    facing, roughness = place.facing, place.roughness
    edge = 1.0 - 0.7 * min(roughness, 1.0)
    if place.scatter > 0.6:
        edge = 0.05
    fresnel = _F0 + (1 - _F0) * (1 - facing) ** 5 * edge
    mirrored = plus((-place.sight[0], -place.sight[1], -place.sight[2]), place.normal, 2 * facing)
    if roughness < 0.15:  # wet: eyes
        sky = panorama_colour(light.sharp, mirrored)
        sky = (min(sky[0], 12.0), min(sky[1], 12.0), min(sky[2], 12.0))
        share = fresnel * place.shine * (0.3 + 0.7 * place.openness)
    else:
        sky = panorama_colour(light.blurred, mirrored)
        dim = 1.5 / max(max(sky[0], max(sky[1], sky[2])), 1.5)
        if mirrored[2] < 0.0:  # light from behind, at grazing angles, is mostly hidden by the head
            dim *= max(1.0 + 1.2 * mirrored[2], 0.15)
        sky = (sky[0] * dim, sky[1] * dim, sky[2] * dim)
        total = around[0] + around[1] + around[2]
        share = fresnel * place.shine * place.openness * (0.35 + 0.65 * total / (total + 0.3))
    lamp = 0.0
    key = (light.key[0] * 1.0, light.key[1] * 1.0, light.key[2] * 1.0)
    toward = dot(place.normal, key)
    if toward > 0 and seen > 0:
        lamp = _lamp_highlight(place, key, toward) * seen
    colour = light.key_colour
    return (
        sky[0] * share + colour[0] * lamp,
        sky[1] * share + colour[1] * lamp,
        sky[2] * share + colour[2] * lamp,
    )


@compiled
def _lamp_highlight(place: Surface, key: Vector, toward: float) -> float:
    """GGX lobe with Schlick's shadowing and Fresnel terms, times pi."""
    half = normalised(plus(key, place.sight, 1.0))
    to_half, view_half = max(dot(place.normal, half), 0.0), max(dot(place.sight, half), 0.0)
    squared = place.roughness**4
    slope = to_half * to_half * (squared - 1) + 1
    spread = squared / (3.14159 * slope * slope + 1e-9)
    k = (place.roughness + 1) ** 2 * 0.125
    masking = 1.0 / ((toward * (1 - k) + k) * (place.facing * (1 - k) + k) * 4.0)
    fresnel = _F0 + (1 - _F0) * (1 - view_half) ** 5
    return min(spread, 60.0) * masking * fresnel * toward * place.shine * 3.14159


def camera_position(world_from_camera: F64) -> Vector:
    """Where a camera [4, 4] stands."""
    x, y, z = (float(value) for value in world_from_camera[:3, 3])
    return x, y, z
