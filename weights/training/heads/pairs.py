"""The same person before and after one change: what directions are learnt from.

python -m tpvideo.weights.training.heads.pairs OUT --pack PACK
tpvideo edit --from OUT/smile --against OUT/plain --space planes --name smile -o found.safetensors
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
from numpy.random import Generator

from tpvideo.pipeline.errors import OutputError, TpvideoError
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

PLAIN = "plain"
AGES = ("young", "middleage", "old")


@dataclass(frozen=True, slots=True)
class Change:
    """What differs between the two pictures of a pair."""

    expression: Mapping[str, float] | None = None
    """Weights that the expression gets; a name without a side sets both sides."""
    person: Callable[[Person], Person] | None = None


def _widened(person: Person) -> Person:
    stretch = person.shape.stretch * np.array([1.08, 0.97, 1.0])
    return replace(person, shape=replace(person.shape, stretch=stretch))


def _aged(person: Person) -> Person:
    """The same bones and tone with an old skin, an old shape and grey hair."""

    def old(name: str) -> str:
        aged = name
        for age in AGES:
            aged = aged.replace(age, "old")
        return aged.replace("female3", "female2").replace("male3", "male2")

    skin = replace(person.skin, first=old(person.skin.first), second=old(person.skin.second))
    hair = replace(person.hair, colour=(0.45, 0.44, 0.42))
    macro = person.shape.macro | {"old": person.shape.macro.get("old", 0.0) + 0.8}
    shape = replace(person.shape, macro=macro)
    return replace(person, shape=shape, skin=skin, hair=hair)


CHANGES: Mapping[str, Change] = {
    "smile": Change(
        {"mouthSmile": 0.9, "cheekSquint": 0.5, "eyeSquint": 0.25, "mouthUpperUp": 0.25}
    ),
    "mouth": Change({"jawOpen": 0.6}),
    "brows": Change({"browInnerUp": 0.8, "browOuterUp": 0.8}),
    "sad": Change({"mouthFrown": 0.8, "browInnerUp": 0.6}),
    "age": Change(person=_aged),
    "wide": Change(person=_widened),
}


def pair_views(pack: Pack, seed: int, *, side_px: int = 128) -> dict[str, Views]:
    """A person without a smile (`plain`), and again after each of CHANGES, in the same light and
    from the same camera, within 0.5 rad of the front.

    Returns:
        By name, arrays as in `views.py`: rgba, c2w and lm68_3d, of one view.
    """
    rng = np.random.default_rng((seed, 3))
    person = draw_person(pack, rng)
    plan = draw_light(pack, rng)
    expression = _rest(pack, rng)
    yaw_rad, pitch_rad = rng.uniform(-0.5, 0.5), np.clip(rng.normal(0, 0.12), -0.3, 0.3)
    camera = label_camera(float(yaw_rad), float(pitch_rad))
    light = make_light(pack, plan)
    plain = make_head(pack, person, 256)
    pairs: dict[str, Views] = {}
    for name, change in {PLAIN: Change(), **CHANGES}.items():
        head = make_head(pack, change.person(person), 256) if change.person else plain
        scene = pose(pack, head, _with(pack, expression, change.expression or {}))
        seen = render(light_scene(pack, scene, plan, light), camera, side_px)
        pairs[name] = {
            "rgba": seen.rgba()[None],
            "c2w": camera[None].astype(np.float32),
            "lm68_3d": scene.landmarks.astype(np.float32),
        }
    return pairs


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


@click.command(name="pairs")
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option("--pack", type=click.Path(path_type=Path), required=True, help="Head asset pack.")
@click.option("--seed0", default=700_000, show_default=True, help="First seed.")
@click.option("--count", type=click.IntRange(min=1), default=90, show_default=True, help="People.")
def main(out: Path, pack: Path, seed0: int, count: int) -> None:
    """Render people before (OUT/plain) and after each change (OUT/smile, ...)."""
    try:
        _write(out, Pack(pack), range(seed0, seed0 + count))
    except TpvideoError as error:
        raise click.ClickException(str(error)) from error


def _write(out: Path, pack: Pack, seeds: range) -> None:
    for seed in seeds:
        for name, views in pair_views(pack, seed).items():
            try:
                (out / name).mkdir(parents=True, exist_ok=True)
                np.savez(out / name / f"{seed:07d}.npz", allow_pickle=False, **views)
            except OSError as error:
                raise OutputError(out, error.strerror or str(error)) from error


if __name__ == "__main__":
    main()
