"""A talking person before a room's camera, and the same seen from a fixed place of the head.

The room's camera stands still; the head turns, nods, blinks and talks. Scenes live in the head's
frame, so a turn of the head is a turn of the room: camera, light and torso move the other way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np
from numpy.random import Generator

from tpvideo.stages.geometry import aimed_camera, direction, look_at_camera
from tpvideo.weights.training.heads.expression import set_gaze
from tpvideo.weights.training.heads.head import make_head
from tpvideo.weights.training.heads.identity import draw_person
from tpvideo.weights.training.heads.kernel import F32, F64, U8
from tpvideo.weights.training.heads.light import LightPlan, look_up, make_light
from tpvideo.weights.training.heads.pack import Pack
from tpvideo.weights.training.heads.person import Person
from tpvideo.weights.training.heads.render import LitScene, light_scene, render
from tpvideo.weights.training.heads.scene import Scene, pose
from tpvideo.weights.training.heads.speech import Sound, draw_speech, mouth_shapes
from tpvideo.weights.training.heads.torso import add_torso, torso_mesh, turn_undone

RATE = 25
"""The point that the head turns about, world."""
_ROOM_AIM = np.array([0.0, -0.1, 0.05])
_ROOM_DISTANCE = 2.9
_ROOM_FOCAL = 1.5
"""In widths of the picture."""
_BACKGROUND_FOV_RAD = 0.8
_CLOTH = (0.035, 0.075, 0.13)
"""Linear RGB."""
_LIGHT = LightPlan(
    surroundings="lobby",
    turn_rad=2.0,
    key=0.9,
    key_azimuth_rad=-0.7,
    key_height_rad=0.55,
    key_warmth=0.06,
    saturation=0.3,
    softness=2.0,
    exposure=0.9,
    contrast=1.05,
    white_balance=(1.01, 1.0, 0.99),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipConfig:
    """Size and length of a clip."""

    seconds: float = 5.0
    width_px: int = 768
    height_px: int = 432
    novel_px: int = 512
    novel_yaw_rad: float = -0.3


class Take(NamedTuple):
    """One frame."""

    room: U8
    """[H, W, 3] what the room's camera sees."""
    novel: U8
    """[S, S, 3] the head from EG3D's look-at camera at the novel yaw, on black."""


class Performance(NamedTuple):
    """What a person does, for every frame."""

    sounds: list[Sound]
    expressions: list[dict[str, float]]
    head_from_room: list[F64]
    """[4, 4] rigid, each."""


def casting(pack: Pack, seed: int) -> Person:
    """A person fit for a demonstration: bare-headed, no glasses, in a plain crew neck."""
    person = draw_person(pack, np.random.default_rng(seed))
    clothes = replace(
        person.clothes, colour=_CLOTH, hat="none", v_neck=0.0, collar=-11.2, stripes=0.0
    )
    return replace(person, clothes=clothes, glasses=replace(person.glasses, worn=False))


def perform(seed: int, config: ClipConfig) -> Performance:
    """Speech, gaze, blinks and head motion from a seed."""
    rng = np.random.default_rng((seed, 1))
    frames = round(config.seconds * RATE)
    sounds = draw_speech(rng, config.seconds)
    sway = 0.25 * np.sin(2 * np.pi * (np.arange(frames) / frames * 1.15 + 0.05))
    yaw = np.clip(_wander(rng, frames, 14, 0.08) + sway, -0.4, 0.4)
    pitch = np.clip(_wander(rng, frames, 9, 0.04), -0.1, 0.1)
    roll = np.clip(_wander(rng, frames, 12, 0.03), -0.07, 0.07)
    across = _wander(rng, frames, 8, 0.14) - 0.55 * yaw
    up = _wander(rng, frames, 8, 0.07)
    brows = np.clip(_wander(rng, frames, 12, 0.2), 0, 0.7)
    blinks = _blinks(rng, frames)
    expressions = mouth_shapes(sounds, frames, RATE)
    for i, weights in enumerate(expressions):
        _animate(weights, float(blinks[i]), float(brows[i]))
        set_gaze(weights, float(across[i]), float(up[i]))
    motion = [turn_undone(*angles) for angles in zip(yaw, pitch, roll, strict=True)]
    return Performance(sounds, expressions, motion)


def takes(pack: Pack, seed: int, performance: Performance, config: ClipConfig) -> Iterator[Take]:
    """Render a performance frame by frame."""
    head = make_head(pack, casting(pack, seed), 1024)
    torso = torso_mesh(pack, head)
    room_camera = aimed_camera(_ROOM_AIM + _ROOM_DISTANCE * direction(0.03, 0.05), _ROOM_AIM)
    novel_camera = look_at_camera(config.novel_yaw_rad)
    background = _background(pack, room_camera, config.width_px)
    margin = (config.width_px - config.height_px) // 2
    for weights, head_from_room in zip(*performance[1:], strict=True):
        scene = add_torso(pack, pose(pack, head, weights), torso, head_from_room)
        lit = _lit(pack, scene, head_from_room)
        seen = render(lit, head_from_room @ room_camera, config.width_px, _ROOM_FOCAL)
        room = seen.over(background)[margin : margin + config.height_px]
        novel = render(lit, novel_camera, config.novel_px)
        yield Take(room, novel.over(np.zeros((1, 1, 3), np.float32)))


def _lit(pack: Pack, scene: Scene, head_from_room: F64) -> LitScene:
    return light_scene(pack, scene, _LIGHT, make_light(pack, _LIGHT, head_from_room[:3, :3]))


def _background(pack: Pack, camera: F64, side_px: int) -> F32:
    """[S, S, 3] sRGB 0..1: the room behind, out of focus."""
    ramp = ((np.arange(side_px) + 0.5) / side_px * 2 - 1) * np.tan(_BACKGROUND_FOV_RAD / 2)
    x, y = np.meshgrid(ramp, ramp)
    rays = np.stack([x, y, np.ones_like(x)], axis=-1) @ camera[:3, :3].T
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    seen = look_up(pack.panorama(_LIGHT.surroundings), rays, _LIGHT.turn_rad) / 255
    return np.asarray(cv2.GaussianBlur(seen, (0, 0), side_px * 0.012), np.float32)


def _animate(weights: dict[str, float], blink: float, brows: float) -> None:
    """Add blinks, brows and a friendly mouth to a speaking face, in place."""
    extra = {"eyeBlink": blink, "browInnerUp": brows, "browOuterUp": 0.7 * brows}
    extra |= {"mouthSmile": 0.12, "cheekSquint": 0.06}
    for name, weight in extra.items():
        for side in ("_L", "_R"):
            weights[name + side] = weights.get(name + side, 0) + weight


def _blinks(rng: Generator, frames: int) -> F64:
    """[frames] how far the lids are shut."""
    shape = np.array([0.3, 0.85, 1.0, 0.9, 0.55, 0.25, 0.08])
    lids = np.zeros(frames + len(shape))
    at = 12
    while at < frames:
        lids[at : at + len(shape)] = np.maximum(lids[at : at + len(shape)], shape)
        at += int(rng.uniform(32, 62))
    return lids[:frames]


def _wander(rng: Generator, count: int, breadth: int, spread: float) -> F64:
    """[count] smooth random walk about 0 with that standard deviation."""
    reach = 4 * breadth
    window = np.exp(-0.5 * (np.arange(-reach, reach + 1) / breadth) ** 2)
    window *= spread / np.sqrt((window**2).sum())
    return np.convolve(rng.normal(size=count + 2 * reach), window, "valid")
