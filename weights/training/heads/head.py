"""One person's head: shape, skin, hair and what is worn, with the face at rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tpvideo.stages.geometry import MEAN_LANDMARKS
from tpvideo.weights.training.heads.accessories import (
    NOTHING,
    Addition,
    glasses_meshes,
    hat_mesh,
    join,
)
from tpvideo.weights.training.heads.hair import HairPart, Ribbons, Transform, make_hair
from tpvideo.weights.training.heads.kernel import F32, F64, Array
from tpvideo.weights.training.heads.pack import Pack, five_landmarks, pitch_rotation
from tpvideo.weights.training.heads.person import Clothes, Person
from tpvideo.weights.training.heads.raster import vertex_normals
from tpvideo.weights.training.heads.skin import SkinTextures, make_skin

_FAR_FROM_CLOTH = np.float32(9)
_HAT_BRIM = 8.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Head:
    """A head in its own units, and how it stands in the world."""

    person: Person
    points: F32
    """[n, 3]."""
    skin: SkinTextures
    hair: list[HairPart]
    above_collar: F32
    """[n] height above the collar line; below 0 is cloth."""
    clothed: Array
    """Vertices that the cloth lifts."""
    addition: Addition
    """Glasses' frame and hat."""
    lenses: Addition | None
    to_world: Transform
    eye_opening: dict[str, float]
    """How far open each eye is, in openings of the mean head: a blink has that far to go."""


def make_head(pack: Pack, person: Person, texture_px: int = 512) -> Head:
    """Build a person's head with a face texture of that side."""
    rng = np.random.default_rng(person.seed)
    points = shaped(pack, person)
    skin = make_skin(pack, person, np.random.default_rng(person.seed + 1), texture_px)
    hair = make_hair(pack, person, points, rng)
    landmarks = points[pack.landmarks]
    additions, lenses = [NOTHING], None
    if person.glasses.worn:
        frame, lenses = glasses_meshes(person.glasses, landmarks)
        additions.append(frame)
    if person.clothes.hat != "none":
        additions.append(hat_mesh(pack, person.clothes.hat, points))
    if person.clothes.hat not in ("none", "headband"):
        hair = [_under_hat(pack, points, part) for part in hair]
    above_collar = _above_collar(person.clothes, points)
    clothed = np.flatnonzero((above_collar < 0.3) & (pack.points[:, 1] < -7))
    above_collar[pack.points[:, 1] > -7.5] = _FAR_FROM_CLOTH
    return Head(
        person=person,
        points=points,
        skin=skin,
        hair=hair,
        above_collar=above_collar,
        clothed=clothed,
        addition=join(additions),
        lenses=lenses,
        to_world=alignment(pack, landmarks),
        eye_opening=_eye_opening(pack, points),
    )


def _under_hat(pack: Pack, points: F32, part: HairPart) -> HairPart:
    """Hair that makes room for a hat on a head [n, 3]."""
    if isinstance(part, Ribbons):
        return part.without(_HAT_BRIM)
    normals = vertex_normals(points, pack.skin)
    return part.pressed(points[pack.skin_vertices], normals[pack.skin_vertices])


def shaped(pack: Pack, person: Person) -> F32:
    """[n, 3] the mean head with the person's shape, stretched about a point behind the nose."""
    macro = np.zeros(len(pack.macro_index), np.float32)
    for name, weight in person.shape.macro.items():
        macro[pack.macro_index[name]] = weight
    moved = person.shape.modes @ pack.identity_modes + macro @ pack.macro_modes
    centre = np.array([0, 1.0, 3.0])
    shape = pack.points + moved.reshape(-1, 3) - centre
    return np.asarray(shape * person.shape.stretch + centre, np.float32)


def _above_collar(clothes: Clothes, points: F32) -> F32:
    x, y, z = points.T
    nape = np.where(z < 0, np.clip(-z * 0.9, 0, 3.2), 0)
    neckline = np.maximum(0, clothes.v_neck - np.abs(x)) * np.clip(z / 2, 0, 1)
    shoulders = 0.16 * np.maximum(0, np.abs(x) - 4.5)
    return np.asarray(y - (clothes.collar + nape - neckline + shoulders), np.float32)


def alignment(pack: Pack, landmarks: F32) -> Transform:
    """The similarity that lays the resting face's five landmarks on the mean ones.

    The mean landmarks are those of the crop's label camera (stages/geometry.py), so the heads
    get EG3D's scale here and nowhere else.
    """
    rotation = pitch_rotation(pack.pitch_rad)
    own: F64 = five_landmarks(landmarks).astype(np.float64) @ rotation.T
    centred, wanted = own - own.mean(0), MEAN_LANDMARKS - MEAN_LANDMARKS.mean(0)
    scale = float((centred * wanted).sum() / (centred * centred).sum())
    return Transform(scale, rotation, MEAN_LANDMARKS.mean(0) - scale * own.mean(0))


def _eye_opening(pack: Pack, points: F32) -> dict[str, float]:
    lids = {"_R": ((37, 38), (41, 40)), "_L": ((43, 44), (47, 46))}

    def opening(head: F32, upper: tuple[int, int], lower: tuple[int, int]) -> float:
        height = head[pack.landmarks[list(upper)], 1] - head[pack.landmarks[list(lower)], 1]
        return max(float(height.mean()), 0.05)

    return {
        side: float(np.clip(opening(points, *pair) / opening(pack.points, *pair), 0.7, 1.6))
        for side, pair in lids.items()
    }
