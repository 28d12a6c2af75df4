"""What real footage shows and the first training views lacked: shoulders that do not turn with the
head, hats with brims, and cameras that stand near or far."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.random import Generator

from tpvideo.stages.geometry import FOCAL
from tpvideo.weights.training.heads.kernel import F64
from tpvideo.weights.training.heads.pack import Pack
from tpvideo.weights.training.heads.person import Hat, Person
from tpvideo.weights.training.heads.scene import Scene
from tpvideo.weights.training.heads.torso import add_torso, torso_mesh, turn_undone

NEAREST, FARTHEST = 0.24, 1.6
"""Distances of a lens's camera, in those of the label's: a phone at arm's length, a long lens."""


def vary(person: Person, rng: Generator) -> Person:
    """The person, now and then with a cap or a brimmed hat over whatever hair."""
    share, hat = rng.random(), str(rng.choice(["cap", "cap", "brimmed"]))
    clothes = person.clothes
    if share > 0.12 or clothes.hat != "none":
        return person
    brim: Hat = "cap" if hat == "cap" else "brimmed"
    return replace(person, clothes=replace(clothes, hat=brim))


def with_shoulders(pack: Pack, scene: Scene, rng: Generator) -> Scene:
    """Four scenes of five with a torso, to which the head is turned."""
    yaw, pitch, roll = np.clip(rng.normal(0, (0.28, 0.1, 0.07)), -0.6, 0.6)
    if rng.random() < 0.2:
        return scene
    motion = turn_undone(float(yaw), float(pitch), float(roll))
    return add_torso(pack, scene, torso_mesh(pack, scene.head), motion)


def draw_lens(world_from_camera: F64, aim: F64, rng: Generator) -> tuple[F64, float]:
    """A camera that looks from the same side with another perspective, near ones more often: its
    [4, 4] and its focal length in sides. The head is as large in its picture as before.

    Args:
        world_from_camera: [4, 4] of the label.
        aim: [3] the point whose scale stays.
    """
    share = rng.random() ** 1.5
    factor = math.exp(math.log(NEAREST) + share * math.log(FARTHEST / NEAREST))
    camera = world_from_camera.copy()
    camera[:3, 3] = aim + factor * (camera[:3, 3] - aim)
    return camera, FOCAL * factor
