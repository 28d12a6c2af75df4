"""The same person before and after one change: what directions in W are learnt from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from tpvideo.stages.geometry import label_camera
from tpvideo.weights.training.heads.expression import draw_expression, set_gaze
from tpvideo.weights.training.heads.head import make_head
from tpvideo.weights.training.heads.identity import draw_person
from tpvideo.weights.training.heads.light import draw_light, make_light
from tpvideo.weights.training.heads.pack import SIDES, Pack
from tpvideo.weights.training.heads.person import Person
from tpvideo.weights.training.heads.render import light_scene, render
from tpvideo.weights.training.heads.scene import pose
from tpvideo.weights.training.heads.views import Views

AGES = ("young", "middleage", "old")


@dataclass(frozen=True, slots=True)
class Change:
    """What differs between the two pictures of a pair."""

    expression: Mapping[str, float] | None = None
    """Weights that the expression gets; a name without a side sets both sides."""
    person: Callable[[Person], Person] | None = None


def _shape(name: str, amount: float) -> Callable[[Person], Person]:
    """More of one of the pack's macro directions."""

    def changed(person: Person) -> Person:
        macro = person.shape.macro | {name: person.shape.macro.get(name, 0.0) + amount}
        return replace(person, shape=replace(person.shape, macro=macro))

    return changed


def _widened(person: Person) -> Person:
    stretch = person.shape.stretch * np.array([1.08, 0.97, 1.0])
    return replace(person, shape=replace(person.shape, stretch=stretch))


def _tanned(person: Person) -> Person:
    return replace(person, skin=replace(person.skin, melanin=person.skin.melanin + 0.5))


def _aged(person: Person) -> Person:
    """The same bones and tone with an old skin, an old shape and grey hair."""

    def old(name: str) -> str:
        aged = name
        for age in AGES:
            aged = aged.replace(age, "old")
        return aged.replace("female3", "female2").replace("male3", "male2")

    skin = replace(person.skin, first=old(person.skin.first), second=old(person.skin.second))
    hair = replace(person.hair, colour=(0.45, 0.44, 0.42))
    return _shape("old", 0.8)(replace(person, skin=skin, hair=hair))


CHANGES: Mapping[str, Change] = {
    "smile": Change(
        {"mouthSmile": 0.9, "cheekSquint": 0.5, "eyeSquint": 0.25, "mouthUpperUp": 0.25}
    ),
    "mouth": Change({"jawOpen": 0.6}),
    "brows": Change({"browInnerUp": 0.8, "browOuterUp": 0.8}),
    "eyes": Change({"eyeBlink": 0.95}),
    "pucker": Change({"mouthPucker": 0.8, "mouthFunnel": 0.3}),
    "sad": Change({"mouthFrown": 0.8, "browInnerUp": 0.6}),
    "age": Change(person=_aged),
    "male": Change(person=_shape("male", 1.2)),
    "wide": Change(person=_widened),
    "tan": Change(person=_tanned),
}


def pair_views(pack: Pack, seed: int, *, side_px: int = 128, views: int = 2) -> Views:
    """A person without a smile, and again after each of CHANGES, under the same light.

    Returns:
        `c2w` [V, 4, 4] cameras, the first within 0.5 rad of the front; `plain` and each change's
        name: [V, S, S, 4] uint8, colours premultiplied.
    """
    rng = np.random.default_rng((seed, 3))
    person = draw_person(pack, rng)
    plan = draw_light(pack, rng)
    expression = _rest(pack, rng)
    cameras = [
        label_camera(float(rng.uniform(-0.5, 0.5)), float(np.clip(rng.normal(0, 0.12), -0.3, 0.3)))
        for _ in range(views)
    ]
    light = make_light(pack, plan)
    plain = make_head(pack, person, 256)
    arrays: Views = {"c2w": np.stack(cameras).astype(np.float32)}
    for name, change in {"plain": Change(), **CHANGES}.items():
        head = make_head(pack, change.person(person), 256) if change.person else plain
        scene = pose(pack, head, _with(pack, expression, change.expression or {}))
        lit = light_scene(pack, scene, plan, light)
        arrays[name] = np.stack([render(lit, camera, side_px).rgba() for camera in cameras])
    return arrays


def _rest(pack: Pack, rng: Generator) -> dict[str, float]:
    """Half of the faces rest, half do anything; all look somewhere, with open eyes."""
    anything = draw_expression(pack, rng)
    kept = anything if rng.random() < 0.5 else {}
    expression = {k: v for k, v in kept.items() if not k.startswith(("eye", "mouthSmile"))}
    set_gaze(expression, float(rng.normal(0, 0.2)), float(rng.normal(0, 0.12)))
    return expression


def _with(pack: Pack, expression: dict[str, float], added: Mapping[str, float]) -> dict[str, float]:
    changed = dict(expression)
    for name, weight in added.items():
        for side in ("", *SIDES):
            if name + side in pack.expression_index:
                changed[name + side] = max(weight, changed.get(name + side, 0.0))
    return changed
