"""What surfaces are made of: albedo, highlight and relief of every material."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tpvideo.weights.training.heads.colour import LINEAR_FROM_BYTE
from tpvideo.weights.training.heads.eyes import eye_albedo
from tpvideo.weights.training.heads.kernel import F32, U8, compiled
from tpvideo.weights.training.heads.pack import (
    BACK,
    CLOTH,
    FACE,
    FRAME,
    GUMS,
    HAT,
    LEFT_EYE,
    MOUTH,
    RIGHT_EYE,
    TEETH,
    TONGUE,
    Pack,
)
from tpvideo.weights.training.heads.person import Person
from tpvideo.weights.training.heads.sampling import (
    Vector,
    dot,
    normalised,
    plus,
    texture_colour,
)
from tpvideo.weights.training.heads.scene import Mesh, Scene
from tpvideo.weights.training.heads.skin import SkinTextures

_EYE_TINTS: dict[str, Vector] = {
    "brown": (0.55, 0.85, 1.0),
    "brownlight": (0.8, 0.8, 0.8),
    "blue": (0.8, 0.9, 0.85),
    "lightblue": (0.7, 0.8, 0.75),
    "deepblue": (0.7, 0.8, 0.7),
    "green": (0.8, 0.6, 0.6),
    "grey": (0.7, 0.7, 0.7),
    "bluegreen": (0.65, 0.65, 0.65),
    "ice": (0.65, 0.68, 0.68),
}


class Looks(NamedTuple):
    """A person's surfaces as kernels take them; colours linear."""

    skin: SkinTextures
    iris: U8
    sclera: U8
    linear: F32
    """[256] light of a byte."""
    eyes: F32
    """[2, 16] see Scene.eyes."""
    eye_tint: Vector
    shine: float
    roughness: float
    relief: float
    yellow_teeth: float
    cloth: Vector
    stripes: float
    stripe_waves: tuple[float, float]
    frame: Vector
    hat: Vector


class Surface(NamedTuple):
    """One sample of a surface."""

    material: int
    point: Vector
    normal: Vector
    sight: Vector
    """Unit vector toward the camera."""
    facing: float
    """normal . view, at least 0.02."""
    openness: float
    """Share of the surroundings that arrives."""
    shine: float
    """Strength of the highlight."""
    roughness: float
    scatter: float
    """How far light wanders under the surface: 1 skin, 0 none."""


def looks_of(pack: Pack, scene: Scene) -> Looks:
    """Surfaces of the person in a scene."""
    person: Person = scene.head.person
    tint = _EYE_TINTS.get(person.eyes.texture, (1.0, 1.0, 1.0))
    gain = person.eyes.gain
    red, green, blue = (max(0.02, 1 - value) * 0.4 for value in person.clothes.colour)
    return Looks(
        skin=scene.head.skin,
        iris=pack.eye_textures[person.eyes.texture],
        sclera=pack.eye_textures["sclera"],
        linear=LINEAR_FROM_BYTE,
        eyes=scene.eyes,
        eye_tint=(tint[0] * gain, tint[1] * gain, tint[2] * gain),
        shine=person.finish.shine,
        roughness=person.finish.roughness,
        relief=person.finish.relief * 0.011,
        yellow_teeth=person.finish.teeth,
        cloth=person.clothes.colour,
        stripes=person.clothes.stripes,
        stripe_waves=person.clothes.stripe_waves,
        frame=person.glasses.colour,
        hat=(red, green, blue),
    )


@compiled
def _mixed(values: F32, corners: tuple[int, int, int], weights: Vector) -> Vector:
    a, b, c = corners
    wa, wb, wc = weights
    return (
        values[a, 0] * wa + values[b, 0] * wb + values[c, 0] * wc,
        values[a, 1] * wa + values[b, 1] * wb + values[c, 1] * wc,
        values[a, 2] * wa + values[b, 2] * wb + values[c, 2] * wc,
    )


@compiled
def _mixed_one(values: F32, corners: tuple[int, int, int], weights: Vector) -> float:
    a, b, c = corners
    mixed: float = values[a] * weights[0] + values[b] * weights[1] + values[c] * weights[2]
    return mixed


@compiled
def _uv(mesh: Mesh, t: int, weights: Vector) -> tuple[float, float]:
    a, b, c = mesh.uv_triangles[t, 0], mesh.uv_triangles[t, 1], mesh.uv_triangles[t, 2]
    wa, wb, wc = weights
    u = mesh.uv[a, 0] * wa + mesh.uv[b, 0] * wb + mesh.uv[c, 0] * wc
    v = mesh.uv[a, 1] * wa + mesh.uv[b, 1] * wb + mesh.uv[c, 1] * wc
    return u, v


@compiled
def surface(mesh: Mesh, t: int, weights: Vector, camera: Vector) -> Surface:
    """Where a sample of triangle t lies and how it stands to the camera; cloth is told from skin
    by the collar line."""
    corners = (mesh.triangles[t, 0], mesh.triangles[t, 1], mesh.triangles[t, 2])
    point = _mixed(mesh.points, corners, weights)
    normal = normalised(_mixed(mesh.normals, corners, weights))
    view = normalised(plus(camera, point, -1.0))
    facing = dot(normal, view)
    if facing < 0.02:  # a smooth normal seen from behind: bend it
        normal = plus(normal, view, 0.02 - facing)
        facing = 0.02
    openness = _mixed_one(mesh.openness, corners, weights)
    material = int(mesh.material[t])
    if material <= BACK:
        height = _mixed_one(mesh.above_collar, corners, weights)
        if height < 0.0:
            material = CLOTH
            openness *= 1.0 - 0.45 * np.exp(height * 9.0)
        elif height < 0.6:  # skin in the shade of the collar
            openness *= 0.62 + 0.38 * height / 0.6
    return Surface(material, point, normal, view, facing, openness, 0.0, 0.0, 0.0)


@compiled
def flat_albedo(mesh: Mesh, looks: Looks, t: int, weights: Vector) -> Vector:
    """Albedo of skin, or of cloth without its weave."""
    corners = (mesh.triangles[t, 0], mesh.triangles[t, 1], mesh.triangles[t, 2])
    if _mixed_one(mesh.above_collar, corners, weights) < 0.0:
        return looks.cloth
    u, v = _uv(mesh, t, weights)
    if mesh.material[t] == FACE:
        return texture_colour(looks.skin.face, u, v, looks.linear)
    return texture_colour(looks.skin.back, u, v, looks.linear)


@compiled
def albedo(
    mesh: Mesh, looks: Looks, t: int, weights: Vector, place: Surface
) -> tuple[Surface, Vector]:
    """The sample with its finish and relief, and its albedo."""
    material = place.material
    if material == FACE:
        return _face(mesh, looks, t, weights, place)
    if material == BACK:
        u, v = _uv(mesh, t, weights)
        colour = texture_colour(looks.skin.back, u, v, looks.linear)
        return _finished(place, place.openness, looks.shine * 0.7, looks.roughness, 1.0), colour
    if LEFT_EYE <= material <= RIGHT_EYE:
        colour = eye_albedo(
            looks.eyes[material - LEFT_EYE],
            looks.iris,
            looks.sclera,
            looks.linear,
            looks.eye_tint,
            place.point,
            place.sight,
        )
        return _finished(place, place.openness * 0.6 + 0.25, 1.0, 0.08, 0.0), colour
    if material == CLOTH:
        u, v = _uv(mesh, t, weights)
        return _finished(place, place.openness, 0.15, 0.7, 0.0), _cloth(looks, u, v)
    if material == HAT:
        u, _ = _uv(mesh, t, weights)
        weave = 0.75 + 0.25 * np.sin(u * 700.0)
        colour = (looks.hat[0] * weave, looks.hat[1] * weave, looks.hat[2] * weave)
        return _finished(place, place.openness, 0.1, 0.8, 0.0), colour
    return _plain(looks, place)


@compiled
def _plain(looks: Looks, place: Surface) -> tuple[Surface, Vector]:
    """The inside of the mouth, and the frame of the glasses."""
    openness = place.openness
    if place.material == GUMS:
        return _finished(place, openness, 1.2, 0.25, 0.5), (0.42, 0.13, 0.13)
    if place.material == TEETH:
        yellow = looks.yellow_teeth
        colour = (0.72, 0.66 * (1 - 0.12 * yellow), 0.56 * (1 - 0.4 * yellow))
        return _finished(place, openness, 0.9, 0.15, 0.3), colour
    if place.material == MOUTH:
        return _finished(place, openness, 0.5, 0.3, 0.0), (0.24, 0.05, 0.05)
    if place.material == TONGUE:
        return _finished(place, max(openness, 0.35), 0.6, 0.2, 0.0), (0.40, 0.16, 0.13)
    if place.material == FRAME:
        return _finished(place, 1.0, 1.5, 0.2, 0.0), looks.frame
    return _finished(place, openness, 0.0, looks.roughness, 0.0), (0.0, 0.0, 0.0)


@compiled
def _finished(
    place: Surface, openness: float, shine: float, roughness: float, scatter: float
) -> Surface:
    return Surface(
        place.material,
        place.point,
        place.normal,
        place.sight,
        place.facing,
        openness,
        shine,
        roughness,
        scatter,
    )


@compiled
def _cloth(looks: Looks, u: float, v: float) -> Vector:
    weave = 0.92 + 0.08 * np.sin(u * 900.0) * np.sin(v * 900.0)
    if looks.stripes > 0:
        wave = np.sin(u * looks.stripe_waves[0] + v * looks.stripe_waves[1])
        if wave > 0.3:
            weave *= 1.0 - looks.stripes
    return looks.cloth[0] * weave, looks.cloth[1] * weave, looks.cloth[2] * weave


@compiled
def _face(
    mesh: Mesh, looks: Looks, t: int, weights: Vector, place: Surface
) -> tuple[Surface, Vector]:
    u, v = _uv(mesh, t, weights)
    colour = texture_colour(looks.skin.face, u, v, looks.linear)
    relief = looks.skin.relief
    side = relief.shape[0]
    x = min(max(int(u * side), 0), side - 1)
    y = min(max(int((1 - v) * side), 0), side - 1)
    along = (relief[y, x, 0] - 128.0) * looks.relief
    across = (relief[y, x, 1] - 128.0) * looks.relief
    tangent = _tangent(mesh, t)
    n = place.normal
    other = (
        n[1] * tangent[2] - n[2] * tangent[1],
        n[2] * tangent[0] - n[0] * tangent[2],
        n[0] * tangent[1] - n[1] * tangent[0],
    )
    normal = normalised(plus(plus(n, tangent, -along), other, -across))
    return (
        Surface(
            place.material,
            place.point,
            normal,
            place.sight,
            max(dot(normal, place.sight), 0.02),
            place.openness,
            looks.shine * relief[y, x, 2] * (1.0 / 128.0),
            looks.roughness * relief[y, x, 3] * (1.0 / 128.0),
            1.0,
        ),
        colour,
    )


@compiled
def _tangent(mesh: Mesh, t: int) -> Vector:
    """Unit vector along which u grows, in the plane of triangle t."""
    a, b, c = mesh.triangles[t, 0], mesh.triangles[t, 1], mesh.triangles[t, 2]
    ua, ub, uc = mesh.uv_triangles[t, 0], mesh.uv_triangles[t, 1], mesh.uv_triangles[t, 2]
    p, uv = mesh.points, mesh.uv
    du1, dv1 = uv[ub, 0] - uv[ua, 0], uv[ub, 1] - uv[ua, 1]
    du2, dv2 = uv[uc, 0] - uv[ua, 0], uv[uc, 1] - uv[ua, 1]
    sign = 1.0 if du1 * dv2 - du2 * dv1 > 0 else -1.0
    tx = ((p[b, 0] - p[a, 0]) * dv2 - (p[c, 0] - p[a, 0]) * dv1) * sign
    ty = ((p[b, 1] - p[a, 1]) * dv2 - (p[c, 1] - p[a, 1]) * dv1) * sign
    tz = ((p[b, 2] - p[a, 2]) * dv2 - (p[c, 2] - p[a, 2]) * dv1) * sign
    inverse = 1.0 / np.sqrt(tx * tx + ty * ty + tz * tz + 1e-20)
    return tx * inverse, ty * inverse, tz * inverse
