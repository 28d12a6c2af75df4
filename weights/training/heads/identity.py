"""Drawing a person's shape, skin, eyes, hair and clothes from a random generator.

Every draw is made in a fixed order, so a seed names one person for good; do not reorder them.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from tpvideo.weights.training.heads.colour import linear_from_srgb
from tpvideo.weights.training.heads.kernel import Array
from tpvideo.weights.training.heads.pack import Pack
from tpvideo.weights.training.heads.person import (
    Brows,
    Clothes,
    Colour,
    Eyes,
    Finish,
    Glasses,
    Hair,
    HairKind,
    Hat,
    Person,
    Shape,
    Skin,
)

_HAIR_COLOURS: dict[str, Colour] = {
    "black": (0.010, 0.009, 0.009),
    "darkbrown": (0.024, 0.015, 0.010),
    "brown": (0.055, 0.031, 0.017),
    "lightbrown": (0.12, 0.072, 0.038),
    "darkblond": (0.20, 0.135, 0.070),
    "blond": (0.36, 0.26, 0.14),
    "platinum": (0.56, 0.47, 0.34),
    "red": (0.20, 0.058, 0.018),
    "auburn": (0.085, 0.026, 0.013),
    "grey": (0.24, 0.23, 0.22),
    "white": (0.55, 0.54, 0.52),
}
_DARK_HAIR = {"black": 0.7, "darkbrown": 0.2, "brown": 0.05, "grey": 0.05}
_ASIAN_HAIR = {"black": 0.55, "darkbrown": 0.3, "brown": 0.1, "lightbrown": 0.05}
_OTHER_HAIR = {
    "black": 0.14,
    "darkbrown": 0.2,
    "brown": 0.2,
    "lightbrown": 0.14,
    "darkblond": 0.1,
    "blond": 0.09,
    "platinum": 0.04,
    "red": 0.04,
    "auburn": 0.05,
}
# weights of the modelled styles in the order afro01, bob01, bob02, braid01, long01, ponytail01,
# short01 .. short04; the afro's depends on the skin
_FEMALE_MESHES = [0.35, 0.9, 0.5, 1.5, 1.6, 0.25, 0.35, 0.4, 0.3]
_MALE_MESHES = [0.02, 0.03, 0.01, 0.12, 0.1, 1.6, 1.6, 0.15, 1.5]


def draw_person(pack: Pack, rng: Generator) -> Person:
    """A new person from the generator's next draws."""
    seed = int(rng.integers(2**31))
    modes = (rng.normal(size=100) * rng.uniform(0.65, 1.0)).astype(np.float32)
    stretch = np.array([rng.normal(1, 0.022), rng.normal(1, 0.025), rng.normal(1, 0.02)])
    dark = bool(rng.random() < 0.27)
    sex = "female" if rng.random() < 0.5 else "male"
    female = sex == "female"
    age = str(rng.choice(["young", "middleage", "old"], p=[0.6, 0.25, 0.15]))
    people = "african" if dark else str(rng.choice(["caucasian", "asian"], p=[0.68, 0.32]))
    macro = _draw_macro(rng, female, age, people)
    shape = Shape(modes=modes, stretch=stretch, macro=macro)
    skin = _draw_skin(pack, rng, dark, female, age)
    eyes = _draw_eyes(pack, rng, dark, people)
    hair_colour = _draw_hair_colour(rng, dark, people, age)
    brow_colour = _colour(np.minimum(np.array(hair_colour) * rng.uniform(0.35, 0.8), 0.12))
    kind, style, mirrored = _draw_style(pack, rng, female, dark)
    if not female and age == "old" and rng.random() < 0.4:
        bald = rng.random() >= 0.6
        kind, style, mirrored = ("bald", "", False) if bald else ("strand", "receding", False)
    beard, stubble = _draw_beard(rng, female)
    brows = _draw_brows(rng, female, brow_colour)
    lashes = float(rng.uniform(0.5, 1.0) if female else rng.uniform(0.25, 0.6))
    wears_glasses = bool(rng.random() < 0.16)
    clothes = _draw_clothes(rng, hat_fits=kind != "mesh")
    finish = Finish(
        teeth=float(rng.random()),
        shine=float(np.exp(rng.normal(-0.35, 0.32))),
        roughness=float(np.clip(rng.normal(0.48, 0.06), 0.34, 0.65)),
        relief=float(rng.uniform(0.3, 0.9)),
        gloss=float(rng.uniform(0.5, 1.2)),
    )
    return Person(
        seed=seed,
        sex=sex,
        age=age,
        shape=shape,
        skin=skin,
        finish=finish,
        eyes=eyes,
        lashes=lashes,
        brows=brows,
        hair=Hair(
            kind=kind,
            style=style,
            mirrored=mirrored,
            colour=hair_colour,
            beard=beard,
            stubble=stubble,
        ),
        clothes=clothes,
        glasses=_draw_glasses(rng, wears_glasses),
    )


def _colour(values: Array) -> Colour:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def _draw_macro(rng: Generator, female: bool, age: str, people: str) -> dict[str, float]:
    years = {"young": 0.0, "middleage": 0.4, "old": 0.8}[age]
    sex = (-1 if female else 1) * np.clip(rng.normal(0.9, 0.45), -0.2, 2)
    old = np.clip(rng.normal(years, 0.2), -0.3, 1.2)
    share = np.clip(rng.normal(0.8, 0.4), 0, 1.6)
    return {"male": float(sex), "old": float(old), people: float(share)}


def _draw_skin(pack: Pack, rng: Generator, dark: bool, female: bool, age: str) -> Skin:
    tone = [name for name in pack.skin_names if ("dark" in name) == dark]
    fitting = [name for name in tone if name.startswith(age) and ("female" in name) == female]
    first = str(rng.choice(fitting or tone))
    second = str(rng.choice(tone))
    mix = float(rng.beta(1.2, 2.2))
    melanin = float(rng.normal(-0.55, 0.4) if dark else rng.normal(0, 0.30))
    haemoglobin = float(rng.normal(0, 0.16))
    gain = float(np.exp(rng.normal(0, 0.06)))
    freckled = not dark and rng.random() < 0.2
    freckles = float(rng.random() ** 2 * 0.5) if freckled else 0.0
    moles = int(rng.poisson(1.2))
    blotches = float(rng.uniform(0.02, 0.09))
    made_up = female and rng.random() < 0.5
    lipstick = float(rng.uniform(0.3, 1.0)) if made_up else 0.0
    lips = [rng.uniform(0.55, 0.8), rng.uniform(0.12, 0.35), rng.uniform(0.2, 0.4)]
    shaded = female and rng.random() < 0.3
    return Skin(
        first=first,
        second=second,
        mix=mix,
        dark=dark,
        melanin=melanin,
        haemoglobin=haemoglobin,
        gain=gain,
        freckles=freckles,
        moles=moles,
        blotches=blotches,
        lipstick=lipstick,
        lip_colour=_colour(linear_from_srgb(lips)),
        eye_shadow=float(rng.uniform(0.2, 0.7)) if shaded else 0.0,
    )


def _draw_eyes(pack: Pack, rng: Generator, dark: bool, people: str) -> Eyes:
    names = [name for name in pack.eye_textures if name != "sclera"]
    rare = 0.08 if (dark or people == "asian") else 0.7
    weights = np.array([3.0 if name.startswith("brown") else rare for name in names])
    return Eyes(
        texture=str(rng.choice(names, p=weights / weights.sum())),
        gain=float(np.exp(rng.normal(0, 0.25))) * (0.7 if dark else 1),
        pupil=float(rng.uniform(0.26, 0.45)),
        iris=float(rng.uniform(0.42, 0.455)),
    )


def _draw_hair_colour(rng: Generator, dark: bool, people: str, age: str) -> Colour:
    shares = _DARK_HAIR if dark else _ASIAN_HAIR if people == "asian" else _OTHER_HAIR
    name = str(rng.choice(list(shares), p=list(shares.values())))
    if (age == "old" and rng.random() < 0.75) or (age == "middleage" and rng.random() < 0.12):
        name = str(rng.choice(["grey", "white"]))
    shift = rng.normal(0, 0.12) + rng.normal(0, 0.06, 3)
    colour = np.array(_HAIR_COLOURS[name]) * np.exp(shift)
    if rng.random() < 0.02:  # dyed
        colour = linear_from_srgb(rng.uniform(0.1, 0.8, 3))
    return _colour(colour)


def _draw_style(pack: Pack, rng: Generator, female: bool, dark: bool) -> tuple[HairKind, str, bool]:
    """Kind, style and whether it is mirrored."""
    kind = rng.random()
    afro = 0.14 if dark else 0.02
    if kind < 0.40:
        first = [0.8 if dark else 0.1] if female else [1.2 if dark else 0.15]
        weights = np.array(first + (_FEMALE_MESHES if female else _MALE_MESHES))
        style = str(rng.choice(list(pack.hair), p=weights / weights.sum()))
        return "mesh", style, bool(rng.random() < 0.5)
    if kind >= 0.95:
        return "bald", "", False
    if female:
        afro = 0.16 if dark else 0.04
        styles = ["long", "bob", "updo", "curly", "afro", "short", "fringe"]
        weights = np.array([0.30, 0.18, 0.14, 0.14, afro, 0.06, 0.14])
    else:
        styles = ["short", "buzz", "side", "back", "messy", "curly", "afro", "long", "receding"]
        weights = np.array([0.2, 0.16, 0.18, 0.1, 0.12, 0.08, afro, 0.05, 0.1])
    style = str(rng.choice(styles, p=weights / weights.sum()))
    return "strand", style, bool(rng.random() < 0.5)


def _draw_beard(rng: Generator, female: bool) -> tuple[str, float]:
    """Style of the beard and strength of the stubble."""
    if female:
        return "none", 0.0
    kind = rng.random()
    if kind < 0.35:
        return "none", float(rng.uniform(0.1, 0.9))
    if kind < 0.62:
        style = str(rng.choice(["full", "short", "goatee", "mustache", "short", "chin"]))
        return style, float(rng.uniform(0.3, 0.9))
    return "none", 0.0


def _draw_brows(rng: Generator, female: bool, colour: Colour) -> Brows:
    return Brows(
        colour=colour,
        thickness=float(np.clip(rng.normal(0.38 if female else 0.55, 0.14), 0.15, 0.95)),
        density=float(rng.uniform(0.5, 1.0)),
        arch=float(rng.normal(0.0, 0.25) + (0.15 if female else -0.05)),
        length=float(rng.uniform(0.85, 1.1)),
        lift=float(rng.normal(0, 0.12)),
        tilt=float(rng.normal(0, 0.15)),
    )


def _draw_clothes(rng: Generator, *, hat_fits: bool) -> Clothes:
    hats: list[Hat] = ["none", "beanie", "headband"]
    hat = hats[int(rng.choice(3, p=[0.93, 0.05, 0.02]))]
    fabrics = [
        rng.uniform(0.02, 0.2, 3),
        rng.uniform(0.5, 0.95) * np.ones(3),
        rng.uniform(0.05, 0.8, 3),
        np.clip(rng.uniform(0.05, 0.5) + rng.normal(0, 0.05, 3), 0, 1),
    ]
    return Clothes(
        colour=_colour(linear_from_srgb(rng.choice(fabrics))),
        collar=float(rng.uniform(-14.5, -10.8)),
        v_neck=float(max(0, rng.normal(0, 2.5))),
        stripes=float(rng.uniform(0.2, 0.6)) if rng.random() < 0.25 else 0.0,
        stripe_waves=(float(rng.uniform(-160, 160)), float(rng.uniform(60, 260))),
        hat=hat if hat_fits else "none",
    )


def _draw_glasses(rng: Generator, worn: bool) -> Glasses:
    frames = [
        np.array([0.03, 0.03, 0.03]),
        np.array([0.25, 0.14, 0.07]),
        rng.uniform(0.05, 0.6, 3),
        np.array([0.6, 0.55, 0.4]),
    ]
    return Glasses(
        worn=worn,
        colour=_colour(linear_from_srgb(rng.choice(frames))),
        half_width=float(rng.uniform(2.2, 2.75)),
        half_height=float(rng.uniform(1.5, 2.3)),
        squareness=float(rng.uniform(2.2, 5)),
        thickness=float(rng.uniform(0.09, 0.26)),
        tint=float(rng.uniform(0.6, 0.9) if rng.random() < 0.15 else rng.uniform(0.0, 0.12)),
    )
