"""Skin textures: pigment, freckles, make-up, stubble, brows and fine relief."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.random import Generator

from tpvideo.weights.training.heads.brows import draw_brows
from tpvideo.weights.training.heads.colour import LINEAR_FROM_BYTE, bytes_from_linear, quick_srgb
from tpvideo.weights.training.heads.kernel import F32, U8, Array, compiled
from tpvideo.weights.training.heads.pack import Pack, SkinMasks
from tpvideo.weights.training.heads.person import Hair, Person, Skin

_MELANIN = np.array([0.42, 0.75, 1.05], np.float32)
_HAEMOGLOBIN = np.array([0.05, 0.42, 0.32], np.float32)
"""How strongly each pigment absorbs red, green and blue, in log space."""


class SkinTextures(NamedTuple):
    """What the skin looks like up close."""

    face: U8
    """[S, S, 3] albedo, sRGB."""
    relief: U8
    """[S, S, 4] slope along u and v (128 is flat), highlight strength and roughness (128 is 1)."""
    back: U8
    """[S', S', 3] albedo of the back of the head, neck and bust, sRGB."""


def make_skin(pack: Pack, person: Person, rng: Generator, side: int) -> SkinTextures:
    """The textures of a person's skin, the face's `side` texels wide."""
    painter = _Painter(pack, person, rng, side)
    painter.pigment()
    painter.spots()
    painter.make_up()
    painter.scalp_and_stubble()
    brows = painter.brows()
    face, back = np.clip(painter.face, 0, 0.95), np.clip(painter.back, 0, 0.95)
    relief = painter.relief(face, brows)
    return SkinTextures(bytes_from_linear(face), relief, bytes_from_linear(back))


class _Places(NamedTuple):
    """Where on the tiles is what: nobody's own; each [S, S] but the masks."""

    face: SkinMasks
    back: SkinMasks
    rosy: F32
    """Cheeks, nose and ears."""
    painted_lips: F32
    lids: F32
    oily: F32
    """Forehead and nose."""
    lips: F32


@lru_cache(maxsize=2)
def _places(pack: Pack, side: int, back_side: int) -> _Places:
    face = _resized(pack.face_masks, side)
    x, y, z = face.x, face.y, face.z
    cheeks = np.exp(-(((np.abs(x) - 4.6) / 1.9) ** 2) - ((y - 0.3) / 2.0) ** 2)
    nose = 0.8 * np.exp(-((x / 1.5) ** 2) - ((y - 0.2) / 1.5) ** 2) * (z > 9)
    painted = (np.abs(x) / 2.55) ** 2.5 + (np.abs(y + 3.42) / 1.05) ** 2.2
    oily = np.exp(-((x / 3.2) ** 2) - ((y - 8) / 2.5) ** 2)
    oily = oily + np.exp(-((x / 1.3) ** 2) - ((y - 1.2) / 1.8) ** 2) * (z > 9.5)
    lips = 1.3 - ((np.abs(x) / 2.6) ** 2.5 + (np.abs(y + 3.42) / 1.1) ** 2.2)
    return _Places(
        face=face,
        back=_resized(pack.back_masks, back_side),
        rosy=np.asarray(cheeks + nose + 0.5 * (np.abs(x) > 7.7), np.float32),
        painted_lips=np.clip(1.25 - painted, 0, 0.5) * 2 * (z > 9),
        lids=np.exp(-(((np.abs(x) - 3.2) / 1.5) ** 4 + ((y - 4.3) / 0.6) ** 2)),
        oily=oily,
        lips=np.clip(lips, 0, 0.6) / 0.6 * (z > 9),
    )


class _Painter:
    """The face and back tiles while they are painted, linear float32."""

    def __init__(self, pack: Pack, person: Person, rng: Generator, side: int) -> None:
        self.pack, self.person, self.skin = pack, person, person.skin
        self.rng, self.side = rng, side
        first, second = (
            pack.skin_tiles(name, side) for name in (person.skin.first, person.skin.second)
        )
        if rng.random() < 0.5:
            first = first[0][:, ::-1], first[1][:, ::-1]
        patches = np.clip(self.skin.mix + _noise(rng, 64, 5, 0.12), 0, 0.9)
        mix = cv2.resize(patches, (side, side), interpolation=cv2.INTER_LINEAR)[..., None]
        self.face = _mix(first[0], second[0], mix)  # [S, S, 3]
        self.back = _mix(first[1], second[1], self.skin.mix)  # [S', S', 3]
        self.places = _places(pack, side, self.back.shape[0])
        self.on_face, self.on_back = self.places.face, self.places.back

    def pigment(self) -> None:
        """Shift melanin and haemoglobin, unevenly on the face, and bring the hue to skin."""
        skin, rng, side = self.skin, self.rng, self.side
        melanin = skin.melanin + _noise(rng, side, 9, skin.blotches * 0.8)
        blood = skin.haemoglobin + _noise(rng, side, 24, skin.blotches)
        blood = blood + self.places.rosy * rng.uniform(0, 0.22)
        self.face = tinted(self.face, skin, melanin, blood)
        self.back = tinted(self.back, skin, skin.melanin, skin.haemoglobin)

    def spots(self) -> None:
        """Freckles and moles."""
        rng, scale = self.rng, self.side / 1024
        if self.skin.freckles > 0:
            grain = rng.normal(size=(512, 512)).astype(np.float32)
            grain = np.asarray(cv2.GaussianBlur(grain, (0, 0), 1.1), np.float32)
            grain /= grain.std()
            size = (self.side, self.side)
            speckle = cv2.resize(grain, size, interpolation=cv2.INTER_LINEAR)
            where = np.clip(self.places.rosy * 1.3 + 0.25, 0, 1) * self.skin.freckles
            spots = np.clip((speckle - 1.5) / 0.6, 0, 1) * where
            self.face *= np.exp(-spots[..., None] * np.array([0.5, 0.9, 1.2], np.float32))
        for _ in range(self.skin.moles):
            x, y = int(rng.integers(150, 870) * scale), int(rng.integers(150, 800) * scale)
            radius = rng.uniform(1.5, 4.0) * scale
            mole = np.zeros((24, 24), np.float32)
            centre = (12 * 16, 12 * 16)
            cv2.circle(mole, centre, int(radius * 16), 1.0, -1, cv2.LINE_AA, 4)
            shade = -mole[..., None] * np.array([0.7, 1.1, 1.3], np.float32)
            self.face[y - 12 : y + 12, x - 12 : x + 12] *= np.exp(shade * rng.uniform(0.4, 1))

    def make_up(self) -> None:
        """Lipstick and eye shadow."""
        skin = self.skin
        if skin.lipstick > 0:
            lips = (self.places.painted_lips * skin.lipstick * 0.75)[..., None]
            shading = np.clip(self.face.mean(-1, keepdims=True) / 0.25, 0.4, 1.6)
            colour = np.array(skin.lip_colour, np.float32)
            self.face = self.face * (1 - lips) + lips * colour * shading
        if skin.eye_shadow > 0:
            lids = (self.places.lids * skin.eye_shadow)[..., None]
            absorbed = np.array([0.5, 0.75, 0.6], np.float32) * self.rng.uniform(0.6, 1.4, 3)
            self.face *= np.exp(-lids * absorbed)

    def scalp_and_stubble(self) -> None:
        """Colour the skin that hair roots shine through."""
        person, rng, hair = self.person, self.rng, self.person.hair
        colour = np.array(hair.colour, np.float32)
        grain = rng.normal(size=(self.side, self.side)).astype(np.float32)
        scalp, back_scalp = _receded(self.on_face, self.on_back, hair)
        if hair.kind != "bald":
            density = 0.45 if hair.kind == "strand" and hair.style == "receding" else 0.9
            back_grain = rng.normal(size=back_scalp.shape).astype(np.float32)
            roots = np.clip(scalp * density * (0.85 + 0.15 * grain), 0, 1)
            back_roots = np.clip(back_scalp * density * (0.85 + 0.15 * back_grain), 0, 1)
            self.face = covered(self.face, roots, colour * 0.7)
            self.back = covered(self.back, back_roots, colour * 0.7)
        elif hair.stubble > 0 or rng.random() < 0.5:  # shaven
            self.face = covered(self.face, scalp * 0.25, colour)
            self.back = covered(self.back, back_scalp * 0.25, colour)
        if person.hair.stubble > 0:
            dots = cv2.GaussianBlur(np.clip((grain - 0.8) * 1.2, 0, 1), (0, 0), 0.7) * 1.6
            beard = self.on_face.beard * hair.stubble * (0.22 + 0.75 * dots)
            self.face = covered(self.face, np.clip(beard, 0, 0.85), np.minimum(colour * 0.8, 0.08))
        self.scalp = scalp

    def brows(self) -> F32:
        """Paint the eyebrows; returns their opacity [S, S]."""
        opacity = draw_brows(self.pack, self.person.brows, self.rng)
        if self.side != 1024:
            size = (self.side, self.side)
            opacity = np.asarray(cv2.resize(opacity, size, interpolation=cv2.INTER_AREA))
        opacity = np.clip(opacity, 0, 0.96)
        self.face = covered(self.face, opacity, np.array(self.person.brows.colour, np.float32))
        return opacity

    def relief(self, face: F32, brows: F32) -> U8:
        """[S, S, 4] the relief, guessed from the albedo's fine detail, and how the skin shines."""
        rng, side, scale = self.rng, self.side, self.side / 1024
        oily, lips = self.places.oily, self.places.lips
        bright = quick_srgb(face[..., 1])
        fine = bright - cv2.GaussianBlur(bright, (0, 0), 5 * scale)
        coarse = cv2.GaussianBlur(bright, (0, 0), max(1.2 * scale, 0.5))
        coarse = coarse - cv2.GaussianBlur(bright, (0, 0), 10 * scale)
        pores = cv2.GaussianBlur(rng.normal(size=(side, side)).astype(np.float32), (0, 0), 1.0)
        height = (fine * 0.45 + coarse * 0.8) * (1 - 0.85 * brows) * (1 - 0.9 * self.scalp)
        height = height + pores * 0.02 * scale
        slope_u = cv2.Sobel(height, cv2.CV_32F, 1, 0, ksize=3) / 8
        slope_v = -cv2.Sobel(height, cv2.CV_32F, 0, 1, ksize=3) / 8
        shine = 0.75 + 0.5 * oily + 0.45 * lips - 0.75 * self.scalp + _noise(rng, side, 60, 0.06)
        rough = 1.02 - 0.14 * oily - 0.2 * lips + _noise(rng, side, 90, 0.04)
        slopes = [128 + slope * 900 * scale for slope in (slope_u, slope_v)]
        channels = [*slopes, 128 * shine, 128 * rough]
        return np.ascontiguousarray(np.clip(np.stack(channels, axis=-1), 0, 255).astype(np.uint8))


def _noise(rng: Generator, side: int, cells: int, amplitude: float) -> F32:
    """[S, S] smooth noise of that many cells across."""
    grid = rng.normal(size=(cells, cells)).astype(np.float32)
    smooth = cv2.resize(grid, (side, side), interpolation=cv2.INTER_CUBIC) * amplitude
    return np.asarray(smooth, np.float32)


def _mix(first: U8, second: U8, share: Array | float) -> F32:
    """Linear RGB of two BGR tiles, mixed as sRGB."""
    mixed = (first[..., ::-1] * (1 - share) + second[..., ::-1] * share).astype(np.float32)
    light: F32 = LINEAR_FROM_BYTE[np.clip(mixed, 0, 255).astype(np.uint8)]
    return light


def _resized(masks: SkinMasks, side: int) -> SkinMasks:
    size = (side, side)
    return SkinMasks(
        *(
            np.asarray(
                cv2.resize(np.ascontiguousarray(mask), size, interpolation=cv2.INTER_LINEAR),
                np.float32,
            )
            for mask in masks
        )
    )


def tinted(albedo: F32, skin: Skin, melanin: Array | float, blood: Array | float) -> F32:
    """[S, S, 3] with more or less of both pigments, [S, S] or one number."""
    gain: Any = np.float32(skin.gain * (1.12 if skin.dark else 0.80))
    hue, share = ((1.36, 0.92, 0.72), 0.35) if skin.dark else ((1.30, 0.94, 0.76), 0.3)
    size = albedo.shape[:2]
    left = np.empty_like(albedo)
    shade: Any = np.float32(share)
    _absorb(
        albedo,
        np.broadcast_to(np.asarray(melanin, np.float32), size),
        np.broadcast_to(np.asarray(blood, np.float32), size),
        gain,
        np.array(hue, np.float32),
        shade,
        left,
    )
    return left


@compiled
def _absorb(
    albedo: F32, melanin: F32, blood: F32, gain: float, hue: F32, share: float, out: F32
) -> None:
    """What two pigments leave of an albedo [S, S, 3], and `share` of it brought to a hue [3]."""
    for y in range(albedo.shape[0]):
        for x in range(albedo.shape[1]):
            grey = np.float32(0)
            for c in range(3):
                taken = melanin[y, x] * _MELANIN[c] + blood[y, x] * _HAEMOGLOBIN[c]
                left = albedo[y, x, c] * gain * np.exp(-taken)
                out[y, x, c] = left
                grey += left
            grey *= np.float32(1 / 3)
            for c in range(3):
                out[y, x, c] = grey * hue[c] * share + out[y, x, c] * (1 - share)


def _receded(face: SkinMasks, back: SkinMasks, hair: Hair) -> tuple[F32, F32]:
    """Scalp masks of face and back, with bare temples where the hair recedes."""
    if not (hair.kind == "strand" and hair.style == "receding"):
        return face.scalp, back.scalp
    bare = np.clip((9.2 - np.hypot(face.x, np.maximum(face.y - 14.0, -20))) / 1.5, 0, 1)
    bare_back = np.clip((8.0 - np.hypot(back.x, back.y - 14.5)) / 1.5, 0, 1)
    return face.scalp * (1 - bare * (face.y > 7)), back.scalp * (1 - bare_back)


def covered(albedo: F32, opacity: F32, colour: F32) -> F32:
    """[S, S, 3] under a colour [3] of an opacity [S, S]."""
    out = np.empty(albedo.shape, np.float32)
    _lay_over(
        np.asarray(albedo, np.float32),
        np.asarray(opacity, np.float32),
        np.asarray(colour, np.float32),
        out,
    )
    return out


@compiled
def _lay_over(albedo: F32, opacity: F32, colour: F32, out: F32) -> None:
    for y in range(albedo.shape[0]):
        for x in range(albedo.shape[1]):
            share = opacity[y, x]
            for c in range(3):
                out[y, x, c] = albedo[y, x, c] * (1 - share) + share * colour[c]
