"""The asset pack: head geometry, skins, irises, hair meshes and surroundings.

Positions of the pack are those of the mean head: about centimetres, y up, face toward +z, the
middle between the ears near the origin. A vertex belongs to a material:
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from tpvideo.pipeline.errors import InputError
from tpvideo.stages.geometry import MEAN_LANDMARKS
from tpvideo.weights.training.heads.kernel import F32, F64, I32, U8, Array
from tpvideo.weights.training.heads.raster import fill_opaque, vertex_normals
from tpvideo.weights.training.heads.strands import strand_texture
from tpvideo.weights.training.heads.textures import (
    hair_texture,
    lash_texture,
    read_picture,
    skin_tiles,
)

FACE, BACK, GUMS, TEETH, LEFT_EYE, RIGHT_EYE, EYE_SHADE, LASHES, MOUTH, TONGUE = range(10)
CLOTH, FRAME, HAT = 10, 11, 12
"""Materials. CLOTH is decided for each pixel by the collar line; FRAME and HAT are added meshes."""

SIDES = ("_L", "_R")
"""Endings of one-sided expressions; left is the person's own left, at +x."""


class Triangles(NamedTuple):
    """A triangle mesh whose corners have texture coordinates of their own."""

    corners: I32
    """[m, 3] vertex numbers."""
    uv_corners: I32
    """[m, 3] numbers into the pack's texture coordinates."""
    material: U8
    """[m]."""


class Cards(NamedTuple):
    """A small transparent mesh that follows vertices of the head."""

    vertices: Array
    """[n] vertex numbers of the head."""
    uv: F32
    """[n, 2]."""
    triangles: I32
    """[m, 3] into `vertices`."""


class HairMesh(NamedTuple):
    """A modelled hair style on the mean head."""

    points: F32
    """[n, 3]."""
    triangles: I32
    """[m, 3]."""
    uv: F32
    """[n, 2]."""
    tangents: F32
    """[n, 3]."""
    normals: F32
    """[n, 3]."""
    openness: F32
    """[n] share of the surroundings that reaches the vertex, 0..1."""
    skin_vertices: Array
    """[n, 8] vertices of the skin that it follows."""
    skin_weights: F32
    """[n, 8]."""
    texture: U8
    """[h, w, 2] luminance (128 on average) and alpha."""


class SkinMasks(NamedTuple):
    """What a texel of a skin tile is; each [S, S]."""

    scalp: F32
    beard: F32
    x: F32
    y: F32
    z: F32


@dataclass(frozen=True, slots=True)
class EyeVertices:
    """Vertex numbers of one eyeball."""

    all: Array
    front: Array
    back: Array


class Pack:
    """Everything that is the same for all people.

    Raises:
        InputError: the folder is missing or is not a head pack.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        if not (self.root / "head.npz").is_file():
            raise InputError(self.root, "no head.npz there; pass the folder of a head asset pack")
        with np.load(self.root / "head.npz") as archive:
            arrays = {name: archive[name] for name in archive.files}
        self._load_shape(arrays)
        self._load_mesh(arrays)
        self._load_pictures()
        random = np.random.default_rng(7)
        self.strand_texture = strand_texture(random)
        self.lash_texture = lash_texture(random)
        self.pitch_rad = self._level_pitch()

    def _load_shape(self, arrays: dict[str, Array]) -> None:
        self.points: F32 = arrays["V"].astype(np.float32)  # [n, 3]
        self.identity_modes: F32 = _flat(arrays["ids"])  # [100, 3n]
        self.expression_modes: F32 = _flat(arrays["ex"])  # [57, 3n]
        self.macro_modes: F32 = _flat(arrays["macro"])  # [5, 3n] sex, age, ethnicity
        self.expressions = [str(name) for name in arrays["names"]]
        self.expression_index = {name: i for i, name in enumerate(self.expressions)}
        self.macro_index = {str(name): i for i, name in enumerate(arrays["macro_names"])}
        self.landmarks: I32 = arrays["lm68"]  # [68] vertices, iBUG order
        self.openness: F32 = arrays["ao0"].astype(np.float32)  # [n] ambient share, mouth shut
        self.openness_jaw: F32 = arrays["aoj"].astype(np.float32)  # [n] mouth wide open
        self.scalp: F32 = arrays["scalp"].astype(np.float32)  # [n] 0..1
        self.beard: F32 = arrays["beard"].astype(np.float32)  # [n] 0..1
        self.distance: F32 = np.ascontiguousarray(arrays["sdf"].astype(np.float32))
        self.distance_low: F64 = arrays["sdf_lo"].astype(np.float64)
        self.distance_step = float(arrays["sdf_st"])

    def _load_mesh(self, arrays: dict[str, Array]) -> None:
        self.uv: F32 = arrays["T"].astype(np.float32)
        corners, quad = _split_quads(arrays["F"])
        uv_corners, _ = _split_quads(arrays["FT"])
        material = arrays["M"][quad]
        everything = Triangles(corners, uv_corners, material)
        self.mesh = _pick(everything, ~np.isin(material, [EYE_SHADE, LASHES]))
        self.eye_shade = self._cards(_pick(everything, material == EYE_SHADE))
        self.lashes = _card_uv(self._cards(_pick(everything, material == LASHES)))
        self.skin = self.mesh.corners[np.isin(self.mesh.material, [FACE, BACK])]  # [s, 3]
        self.skin_vertices = np.unique(self.skin)
        self.mouth_vertices = np.unique(
            self.mesh.corners[np.isin(self.mesh.material, [GUMS, TEETH, MOUTH])]
        )
        self.eyes = [self._eye(material) for material in (LEFT_EYE, RIGHT_EYE)]
        a, b, c = (self.points[self.skin[:, i]] for i in range(3))
        self.skin_area = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2  # [s]
        self.normals = vertex_normals(self.points, self.skin)
        self.landmark_uv = self._landmark_uv()  # [68, 2]
        self.face_masks = self._masks(FACE, 512)
        self.back_masks = self._masks(BACK, 256)

    def _load_pictures(self) -> None:
        skins = sorted(path.name[:-9] for path in (self.root / "skins").glob("*_face.jpg"))
        self.skin_names = skins
        with np.load(self.root / "hair.npz") as archive:
            self.hair = {
                str(style): _hair_mesh(archive, str(style), self.root / "hair")
                for style in archive["styles"]
            }
        self.eye_textures = {
            path.stem: np.ascontiguousarray(read_picture(path)[..., ::-1])
            for path in sorted((self.root / "eyes").glob("*.jpg"))
        }
        with np.load(self.root / "env" / "env.npz") as archive:
            self.surroundings: dict[str, F32] = {  # [64, 128, 3] linear, equirectangular
                str(name): archive[str(name)].astype(np.float32) for name in archive["names"]
            }

    def skin_tiles(self, name: str, side: int) -> tuple[U8, U8]:
        """Albedo of the face [S, S, 3] and of the back of the head, sRGB bytes in BGR order."""
        return skin_tiles(self.root / "skins", name, side)

    def panorama(self, name: str) -> U8:
        """[H, W, 3] RGB surroundings, equirectangular."""
        return np.ascontiguousarray(read_picture(self.root / "env" / f"{name}.jpg")[..., ::-1])

    def _cards(self, mesh: Triangles) -> Cards:
        pairs = mesh.corners.astype(np.int64) * 100_000 + mesh.uv_corners
        unique, inverse = np.unique(pairs, return_inverse=True)
        triangles = inverse.reshape(pairs.shape).astype(np.int32)
        return Cards(unique // 100_000, self.uv[unique % 100_000], triangles)

    def _eye(self, material: int) -> EyeVertices:
        vertices = np.unique(self.mesh.corners[self.mesh.material == material])
        by_depth = vertices[np.argsort(self.points[vertices, 2])]
        return EyeVertices(vertices, by_depth[-120:], by_depth[:120])

    def _landmark_uv(self) -> F32:
        """[68, 2] texture coordinates of the landmarks; nan off the face."""
        face = self.mesh.material == FACE
        first: dict[int, int] = {}
        pairs = zip(
            self.mesh.corners[face].ravel(), self.mesh.uv_corners[face].ravel(), strict=True
        )
        for vertex, corner in pairs:
            first.setdefault(int(vertex), int(corner))
        nowhere = np.full(2, np.nan, np.float32)
        found = [self.uv[first[int(v)]] if int(v) in first else nowhere for v in self.landmarks]
        return np.array(found)

    def _masks(self, material: int, side: int) -> SkinMasks:
        attributes = np.column_stack([self.scalp, self.beard, self.points])
        return SkinMasks(*np.moveaxis(self._bake(attributes, material, side), -1, 0))

    def _bake(self, attributes: F32, material: int, side: int) -> F32:
        """[S, S, k] vertex attributes [n, k] drawn into a skin tile, grown past its seams."""
        mesh = _pick(self.mesh, self.mesh.material == material)
        screen = np.ones((len(self.uv), 4), np.float32)
        screen[:, 0] = self.uv[:, 0] * side
        screen[:, 1] = (1 - self.uv[:, 1]) * side
        nearness = np.zeros((side, side), np.float32)
        hit = np.full((side, side), -1, np.int32)
        second, third = np.zeros_like(nearness), np.zeros_like(nearness)
        both_sides = np.zeros(len(mesh.corners), np.uint8)
        fill_opaque(screen, mesh.uv_corners, both_sides, nearness, hit, second, third)
        covered = hit >= 0
        a, b, c = mesh.corners[hit[covered]].T
        wb, wc = second[covered][:, None], third[covered][:, None]
        baked = np.zeros((side, side, attributes.shape[1]), np.float32)
        baked[covered] = attributes[a] * (1 - wb - wc) + attributes[b] * wb + attributes[c] * wc
        return _grow_borders(baked, covered.astype(np.uint8))

    def _level_pitch(self) -> float:
        """Turn about x that brings the mean head nearest to the mean landmarks, radians."""
        own = five_landmarks(self.points[self.landmarks])
        own = own - own.mean(axis=0)
        wanted = MEAN_LANDMARKS - MEAN_LANDMARKS.mean(axis=0)
        candidates = np.linspace(-0.3, 0.3, 241)
        errors = []
        for angle in candidates:
            turned = own @ pitch_rotation(angle).T
            scale = (turned * wanted).sum() / (turned * turned).sum()
            errors.append(((scale * turned - wanted) ** 2).sum())
        return float(candidates[int(np.argmin(errors))])


def five_landmarks(landmarks: Array) -> Array:
    """[5, d] eye centres, nose tip and mouth corners from 68 landmarks [68, d] in iBUG order."""
    eyes = (landmarks[36] + landmarks[39]) / 2, (landmarks[42] + landmarks[45]) / 2
    return np.stack([*eyes, landmarks[30], landmarks[48], landmarks[54]])


def pitch_rotation(angle_rad: float) -> F64:
    """[3, 3] turn about the x axis."""
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])


def _flat(modes: Array) -> F32:
    return modes.astype(np.float32).reshape(len(modes), -1)


def _split_quads(faces: Array) -> tuple[I32, Array]:
    """[m, 3] triangles of quads [f, 4] (-1 for no fourth corner), and the quad of each [m]."""
    quads = faces.astype(np.int32)
    square = np.flatnonzero(quads[:, 3] >= 0)
    triangles = np.concatenate([quads[:, :3], quads[square][:, [0, 2, 3]]])
    return triangles, np.concatenate([np.arange(len(quads)), square])


def _pick(mesh: Triangles, chosen: Array) -> Triangles:
    return Triangles(
        np.ascontiguousarray(mesh.corners[chosen]),
        np.ascontiguousarray(mesh.uv_corners[chosen]),
        np.ascontiguousarray(mesh.material[chosen]),
    )


def _card_uv(cards: Cards) -> Cards:
    """Lashes lie in 2 x 6 rectangles of the tile; each rectangle gets the whole lash texture."""
    x, y = cards.uv[:, 0] * 2, cards.uv[:, 1] * 6.0
    x, y = (x - np.floor(x) - 0.03) / 0.95, (y - np.floor(y)) / 0.84
    uv = np.stack([np.clip(x, 0.01, 0.99), np.clip(y, 0.01, 0.99)], axis=1)
    return cards._replace(uv=uv.astype(np.float32))


def _grow_borders(baked: F32, covered: U8) -> F32:
    """Extend a tile three texels outward, so that bilinear look-ups at its seams are clean."""
    for _ in range(3):
        grown = np.asarray(cv2.dilate(covered, np.ones((3, 3), np.uint8)), np.uint8)
        share = np.maximum(cv2.blur(covered.astype(np.float32), (3, 3)), 1e-6)
        blurred = cv2.blur(baked * covered[..., None], (3, 3)) / share[..., None]
        fresh = (grown > 0) & (covered == 0)
        baked[fresh] = blurred[fresh]
        covered = grown
    return baked


def _hair_mesh(archive: np.lib.npyio.NpzFile, style: str, folder: Path) -> HairMesh:
    def part(name: str, kind: type) -> Array:
        return archive[f"{style}_{name}"].astype(kind)

    return HairMesh(
        points=part("V", np.float32),
        triangles=part("T", np.int32),
        uv=part("uv", np.float32),
        tangents=part("tan", np.float32),
        normals=part("nor", np.float32),
        openness=part("ao", np.float32),
        skin_vertices=part("bi", np.int64),
        skin_weights=part("bw", np.float32),
        texture=hair_texture(read_picture(folder / f"{style}.jpg", cv2.IMREAD_GRAYSCALE)),
    )
