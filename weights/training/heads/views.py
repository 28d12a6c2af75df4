"""Training views and the held-out benchmark: who is seen, from where, and how it is stored.

A file of `training_views` holds V crop views and W wide ones of one person, expression and light:

| key | shape | |
|---|---|---|
| rgba | [V, S, S, 4] uint8 | colour premultiplied by alpha |
| depth | [V, S/2, S/2] float16 | z-depth, world units, 0 for background |
| c2w | [V, 4, 4] float32 | camera to world, a label camera, focal 4.2647 |
| lm68 | [V, 68, 2] float32 | landmarks, px |
| w_rgba, w_c2w, w_lm68 | as above | head and bust, more turned, rolled |
| w_focal | [W] float64 | focal length of the wide views, in sides |
| lm68_3d | [68, 3] float32 | landmarks, world |
| lens_rgba | [L, S, S, 4] uint8 | the first L crop views through other lenses; the label stays |
| lens_focal | [L] float64 | their focal lengths in sides: 4.2647 times the camera's distance |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from tpvideo.stages.geometry import FOCAL, HEAD_CENTRE, LOOK_AT, label_camera, look_at_camera
from tpvideo.weights.training.heads.expression import draw_expression
from tpvideo.weights.training.heads.head import make_head
from tpvideo.weights.training.heads.identity import draw_person
from tpvideo.weights.training.heads.kernel import F64
from tpvideo.weights.training.heads.light import draw_light, make_light
from tpvideo.weights.training.heads.pack import Pack
from tpvideo.weights.training.heads.render import LitScene, Picture, light_scene, render
from tpvideo.weights.training.heads.scene import pose
from tpvideo.weights.training.heads.variety import draw_lens, vary, with_shoulders

HELD_OUT_SEEDS = range(900_000, 1_000_000)
"""Never trained on."""
BENCHMARK_SEEDS = range(900_000, 900_050)
BENCHMARK_YAWS_RAD = (-0.5, -0.25, 0.0, 0.25, 0.5)

Views = dict[str, NDArray[Any]]


def draw_scene(
    pack: Pack, rng: Generator, texture_px: int = 512, variety: Generator | None = None
) -> LitScene:
    """A new person with an expression under a light, from the generator's next draws; with a
    second generator, varied by `variety.py` from its draws."""
    person = draw_person(pack, rng)
    head = make_head(pack, vary(person, variety) if variety else person, texture_px)
    scene = pose(pack, head, draw_expression(pack, rng))
    if variety:
        scene = with_shoulders(pack, scene, variety)
    plan = draw_light(pack, rng)
    return light_scene(pack, scene, plan, make_light(pack, plan))


def training_views(
    pack: Pack,
    seed: int,
    *,
    views: int = 4,
    side_px: int = 256,
    wide: int = 1,
    wide_px: int = 320,
    lenses: int = 0,
    variety: bool = False,
) -> Views:
    """One training file's arrays; the same for the same seed and settings.

    Without `variety` and lenses the files are those that the first shipped models saw.
    """
    rng = np.random.default_rng(seed)
    varied = np.random.default_rng((seed, 2))
    lit = draw_scene(pack, rng, variety=varied if variety else None)
    cameras = []
    close = []
    for _ in range(views):
        cameras.append(draw_camera(rng))
        close.append(render(lit, cameras[-1], side_px))
    wide_cameras, focals, far = [], [], []
    for _ in range(wide):
        camera, focal = draw_wide_camera(rng)
        wide_cameras.append(camera)
        focals.append(focal)
        far.append(render(lit, camera, wide_px, focal))
    arrays = _stacked(cameras, close, "")
    arrays["depth"] = np.stack([view.depth[1::2, 1::2].astype(np.float16) for view in close])
    if wide:
        arrays |= _stacked(wide_cameras, far, "w_")
        arrays["w_focal"] = np.array(focals)
    arrays["lm68_3d"] = lit.scene.landmarks.astype(np.float32)
    if lenses:
        drawn = [draw_lens(camera, HEAD_CENTRE, varied) for camera in cameras[:lenses]]
        near = [render(lit, camera, side_px, focal) for camera, focal in drawn]
        arrays["lens_rgba"] = np.stack([picture.rgba() for picture in near])
        arrays["lens_focal"] = np.array([focal for _, focal in drawn])
    return arrays


def benchmark_views(pack: Pack, seed: int, *, side_px: int = 256) -> Views:
    """One benchmark file's arrays: view 0 is the input, a label camera within 0.4 rad of the
    front; the others are EG3D's look-at cameras at BENCHMARK_YAWS_RAD and pitch 0."""
    lit = draw_scene(pack, np.random.default_rng(seed))
    rng = np.random.default_rng((seed, 1))
    source = label_camera(rng.uniform(-0.4, 0.4), float(np.clip(rng.normal(0, 0.12), -0.3, 0.3)))
    cameras = [source, *(look_at_camera(yaw) for yaw in BENCHMARK_YAWS_RAD)]
    pictures = [render(lit, camera, side_px) for camera in cameras]
    arrays = _stacked(cameras, pictures, "")
    arrays["depth"] = np.stack([view.depth[1::2, 1::2].astype(np.float16) for view in pictures])
    arrays["lm68_3d"] = lit.scene.landmarks.astype(np.float32)
    return arrays


def draw_camera(rng: Generator) -> F64:
    """[4, 4] a crop's camera: half of them anywhere within 0.85 rad, half near the front."""
    anywhere = rng.random() < 0.5
    yaw = rng.uniform(-0.85, 0.85) if anywhere else np.clip(rng.normal(0, 0.3), -0.85, 0.85)
    pitch = np.clip(rng.normal(0, 0.16), -0.45, 0.45)
    roll = rng.normal(0, 0.04)
    # between the crop's own aim and that of EG3D's look-at cameras, and a little off
    aim = HEAD_CENTRE + rng.random() * (LOOK_AT - HEAD_CENTRE) + rng.normal(0, 0.006, 3)
    return label_camera(float(yaw), float(pitch), roll_rad=float(roll), aim=aim)


def draw_wide_camera(rng: Generator) -> tuple[F64, float]:
    """[4, 4] a camera that sees head and bust, and its focal length in sides of the picture."""
    anywhere = rng.random() < 0.5
    yaw = rng.uniform(-1.35, 1.35) if anywhere else np.clip(rng.normal(0, 0.45), -1.35, 1.35)
    pitch = np.clip(rng.normal(0, 0.25), -0.7, 0.7)
    roll = rng.normal(0, 0.12)
    aim = HEAD_CENTRE + rng.normal(0, 0.04, 3) + [0, -0.03, 0]
    focal = FOCAL * rng.uniform(0.42, 0.62)
    return label_camera(float(yaw), float(pitch), roll_rad=float(roll), aim=aim), focal


def _stacked(cameras: Sequence[F64], pictures: Sequence[Picture], prefix: str) -> Views:
    return {
        prefix + "rgba": np.stack([picture.rgba() for picture in pictures]),
        prefix + "c2w": np.stack(cameras).astype(np.float32),
        prefix + "lm68": np.stack([picture.landmarks for picture in pictures]),
    }
