"""The light on a scene: surroundings as spherical harmonics and pictures, and a key lamp."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.random import Generator

from tpvideo.weights.training.heads.colour import quick_srgb
from tpvideo.weights.training.heads.kernel import F32, F64, Array
from tpvideo.weights.training.heads.pack import Pack

# real spherical harmonics up to degree 2 (Ramamoorthi and Hanrahan 2001, eq. 3): normalisation,
# and the share of each that the cosine lobe of a matt surface keeps (eq. 8)
_SH_SCALE = np.array([0.282095] + [0.488603] * 3 + [1.092548] * 2 + [0.315392, 1.092548, 0.546274])
_SH_COSINE = np.array([np.pi] + [2 * np.pi / 3] * 3 + [np.pi / 4] * 5)
_LAMP_RADIUS_RAD = 0.16


@dataclass(frozen=True, slots=True, kw_only=True)
class LightPlan:
    """A light, before it is computed."""

    surroundings: str
    """Name of one of the pack's panoramas."""
    turn_rad: float
    """Of the surroundings, about the vertical axis."""
    key: float
    """Strength of the key lamp; 0 for none."""
    key_azimuth_rad: float
    key_height_rad: float
    key_warmth: float
    saturation: float
    """Of the surroundings."""
    softness: float
    """Width of the key's shadow edge, in pixels of the shadow map."""
    exposure: float
    contrast: float
    white_balance: tuple[float, float, float]


class Light(NamedTuple):
    """A light as the shading kernels take it; linear, exposure included."""

    irradiance: F32
    """[9, 3] spherical harmonics of irradiance over pi."""
    sharp: F32
    """[64, 128, 3] surroundings with the lamp in them, for wet surfaces."""
    blurred: F32
    """[16, 32, 3] surroundings, for dull highlights."""
    key: F32
    """[3] unit vector toward the lamp."""
    key_colour: F32
    """[3]."""
    softness: float


def draw_light(pack: Pack, rng: Generator) -> LightPlan:
    """A new light from the generator's next draws."""
    name = str(rng.choice(list(pack.surroundings)))
    turn = float(rng.uniform(0, 2 * np.pi))
    strengths = [0.0, rng.uniform(0.3, 1.2), rng.uniform(1.2, 3.2)]
    return LightPlan(
        surroundings=name,
        turn_rad=turn,
        key=float(rng.choice(strengths, p=[0.2, 0.5, 0.3])),
        key_azimuth_rad=float(rng.normal(0, 0.9)),
        key_height_rad=float(np.clip(rng.normal(0.55, 0.3), -0.1, 1.3)),
        key_warmth=float(rng.normal(0, 0.12)),
        saturation=float(rng.uniform(0.08, 0.5)),
        softness=float(rng.choice([1.0, 2.0, 3.0])),
        exposure=float(np.exp(rng.normal(0, 0.16))),
        contrast=float(rng.uniform(0.9, 1.2)),
        white_balance=_three(np.exp(rng.normal(0, 0.035, 3))),
    )


def make_light(pack: Pack, plan: LightPlan, scene_from_room: F64 | None = None) -> Light:
    """Compute a light.

    Args:
        pack: holds the surroundings.
        plan: which light.
        scene_from_room: [3, 3] rotation that carries the light along, None for none.
    """
    picture = pack.surroundings[plan.surroundings]
    columns = picture.shape[1]
    picture = np.roll(picture, int(plan.turn_rad / (2 * np.pi) * columns), 1)
    directions, areas = _directions(*picture.shape[:2])
    picture = _tame(picture, plan.saturation)
    # as bright as if the front of the head received an irradiance of 1 on average
    front = np.array([[0, 0, 1.0], [0.5, 0.3, 0.81], [-0.5, 0.3, 0.81], [0, 0.6, 0.8]])
    received = (_harmonics(front) @ _irradiance(picture, directions, areas)).mean()
    picture = picture * (1 / max(received, 1e-6))
    azimuth, height = plan.key_azimuth_rad, plan.key_height_rad
    across = np.cos(height)
    key = np.array([np.sin(azimuth) * across, np.sin(height), np.cos(azimuth) * across])
    colour = plan.key * np.array([1 + plan.key_warmth, 1.0, 1 - plan.key_warmth])
    if scene_from_room is not None:
        key = scene_from_room @ key
        picture = look_up(picture, directions @ scene_from_room)
    exposure = plan.exposure / (1 + 0.55 * plan.key)
    lamp = np.clip((directions @ key - np.cos(_LAMP_RADIUS_RAD)) / 0.006, 0, 1)[..., None]
    shining = (colour * exposure).astype(np.float32)
    plain = (picture * exposure).astype(np.float32)
    return Light(
        irradiance=(_irradiance(picture, directions, areas) * exposure).astype(np.float32),
        sharp=np.ascontiguousarray((plain + lamp * 9.0 * shining).astype(np.float32)),
        blurred=_blur_round(np.asarray(cv2.resize(plain, (32, 16), interpolation=cv2.INTER_AREA))),
        key=key.astype(np.float32),
        key_colour=shining,
        softness=plan.softness,
    )


def look_up(panorama: Array, directions: Array, turn_rad: float = 0.0) -> F32:
    """[H, W, 3] what an equirectangular picture shows in directions [H, W, 3] of unit length,
    the picture turned about the vertical axis by `turn_rad`."""
    rows, columns = panorama.shape[:2]
    azimuth = np.arctan2(directions[..., 0], directions[..., 2]) - turn_rad
    x = (azimuth / (2 * np.pi) + 0.5) % 1 * columns - 0.5
    y = np.arccos(np.clip(directions[..., 1], -1, 1)) / np.pi * rows - 0.5
    seen = cv2.remap(
        panorama.astype(np.float32),
        x.astype(np.float32),
        y.astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_WRAP,
    )
    return np.asarray(seen, np.float32)


def tonemap(light: Array, plan: LightPlan) -> F32:
    """sRGB 0..1 of linear light [..., 3]: white balance, a soft shoulder above 0.5, contrast."""
    x = np.maximum(light * np.array(plan.white_balance, np.float32) * 1.05, 0)
    x = np.where(x < 0.5, x, 0.5 + 0.5 * (1 - np.exp(-(x - 0.5) / 0.5)))
    shown = quick_srgb(np.clip(x, 0, 1))
    return np.asarray(np.clip((shown - 0.45) * plan.contrast + 0.45, 0, 1), np.float32)


def _three(values: Array) -> tuple[float, float, float]:
    first, second, third = (float(value) for value in values)
    return first, second, third


def _directions(rows: int, columns: int) -> tuple[F64, F64]:
    """[H, W, 3] unit vectors of an equirectangular picture and its pixels' solid angles [H, 1]."""
    theta = (np.arange(rows) + 0.5) / rows * np.pi
    phi = ((np.arange(columns) + 0.5) / columns - 0.5) * 2 * np.pi
    sin = np.sin(theta)[:, None]
    y = np.cos(theta)[:, None] * np.ones(columns)[None]
    directions = np.stack([sin * np.sin(phi)[None], y, sin * np.cos(phi)[None]], axis=-1)
    return directions, sin * (np.pi / rows) * (2 * np.pi / columns)


def _tame(picture: F32, saturation: float) -> F32:
    """Without lamps far brighter than the rest, and with less colour."""
    luminance = picture.mean(-1)
    cap = np.percentile(luminance, 97) * 3
    picture = picture * np.minimum(1, cap / np.maximum(luminance, 1e-6))[..., None]
    grey = picture.mean(-1, keepdims=True)
    return np.asarray(grey + (picture - grey) * saturation, np.float32)


def _harmonics(d: Array) -> F64:
    """[..., 9] polynomials of unit vectors [..., 3], not normalised."""
    x, y, z = d[..., 0], d[..., 1], d[..., 2]
    terms = [np.ones_like(x), y, z, x, x * y, y * z, 3 * z * z - 1, x * z, x * x - y * y]
    return np.stack(terms, axis=-1)


def _irradiance(picture: Array, directions: F64, areas: F64) -> F64:
    """[9, 3] coefficients of irradiance over pi, to be used with `_harmonics`."""
    basis = _harmonics(directions) * _SH_SCALE * areas[..., None]
    coefficients = np.einsum("hwk,hwc->kc", basis, picture)
    return np.asarray(coefficients * _SH_COSINE[:, None] * _SH_SCALE[:, None] / np.pi)


def _blur_round(picture: F32) -> F32:
    """Blurred across the seam where an equirectangular picture meets itself."""
    columns = picture.shape[1]
    tripled = np.concatenate([picture, picture, picture], axis=1)
    blurred = cv2.GaussianBlur(tripled, (0, 0), 1.6)[:, columns : 2 * columns]
    return np.ascontiguousarray(blurred)
