"""Who a synthetic person is, in numbers; colours are linear RGB."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tpvideo.weights.training.heads.kernel import F32, F64

Colour = tuple[float, float, float]
HairKind = Literal["mesh", "strand", "bald"]
Hat = Literal["none", "beanie", "headband", "cap", "brimmed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The bones."""

    modes: F32
    """[100] weights of the identity modes."""
    stretch: F64
    """[3] factors along x, y, z."""
    macro: dict[str, float]
    """Weights of the pack's macro directions: sex, age, ethnicity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skin:
    """Two skins of the pack, mixed, and what pigment, make-up and light do to them."""

    first: str
    second: str
    mix: float
    dark: bool
    melanin: float
    """Shift in log space."""
    haemoglobin: float
    gain: float
    freckles: float
    moles: int
    blotches: float
    lipstick: float
    lip_colour: Colour
    eye_shadow: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """How surfaces take the light."""

    shine: float
    """Strength of the skin's highlights."""
    roughness: float
    relief: float
    """Depth of pores and wrinkles."""
    gloss: float
    """Strength of the hair's highlights."""
    teeth: float
    """0 white .. 1 yellowish."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Eyes:
    """Irises and pupils."""

    texture: str
    gain: float
    pupil: float
    """Radius in radii of the iris."""
    iris: float
    """Radius in radii of the eyeball."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Brows:
    """Eyebrows; lengths in fractions, shifts in hair widths."""

    colour: Colour
    thickness: float
    density: float
    arch: float
    length: float
    lift: float
    tilt: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Hair:
    """Hair of the head and the beard."""

    kind: HairKind
    style: str
    mirrored: bool
    colour: Colour
    beard: str
    """'none' or a style of `styles.beard`."""
    stubble: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Clothes:
    """What is worn."""

    colour: Colour
    collar: float
    """Height of the collar in the mean head's units."""
    v_neck: float
    stripes: float
    stripe_waves: tuple[float, float]
    """Waves over the texture tile, rad."""
    hat: Hat


@dataclass(frozen=True, slots=True, kw_only=True)
class Glasses:
    """A frame; lengths in the mean head's units."""

    worn: bool
    colour: Colour
    half_width: float
    half_height: float
    squareness: float
    thickness: float
    tint: float
    """Share of the light that the lenses hold back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """One person."""

    seed: int
    """Of the draws that build skin texture and hair."""
    sex: str
    age: str
    shape: Shape
    skin: Skin
    finish: Finish
    eyes: Eyes
    lashes: float
    """0..1, how dense."""
    brows: Brows
    hair: Hair
    clothes: Clothes
    glasses: Glasses
