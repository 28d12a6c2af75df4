"""What remembering the hidden side is worth: synthetic heads that turn, with and without memory.

    python bench/memory.py PACK [COUNT]

draws COUNT people of the held-out seeds from PACK (docs/heads.md). Each turns from its one side
to the other in five frames, at random to the left or to the right, with another expression in every
frame. Then the last frame is drawn from the side that was seen first (look-at cameras) and from its
own side, with and without what was remembered, and compared with the truth: foreground PSNR in dB,
and PSNR of the places that the last frame cannot have seen.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from tpvideo.pipeline.frame import Face, Inverted, Posed, Stamp
from tpvideo.stages import geometry, pixels
from tpvideo.stages.backdrop import Plain
from tpvideo.stages.head_memory import HeadMemory
from tpvideo.stages.invert import Inversion
from tpvideo.stages.networks.triplanenet import TriPlaneNet
from tpvideo.stages.render import NovelView
from tpvideo.weights import store
from tpvideo.weights.evaluation.scores import psnr
from tpvideo.weights.training.heads.expression import draw_expression
from tpvideo.weights.training.heads.head import make_head
from tpvideo.weights.training.heads.identity import draw_person
from tpvideo.weights.training.heads.light import draw_light, make_light
from tpvideo.weights.training.heads.pack import Pack
from tpvideo.weights.training.heads.render import LitScene, Picture, light_scene, render
from tpvideo.weights.training.heads.scene import pose

FIRST_SEED = 900_200
TURN_RAD = (-0.5, -0.25, 0.0, 0.25, 0.5)
"""Yaw of the frames, for a turn to the right."""
VIEWS_RAD = (-0.4, -0.2, 0.2)
"""Yaw of the new views, for the same turn: two of the side seen first, one of the
side seen last."""
SIDE_PX = 256
HIDDEN = 0.03
"""How far (scene units) behind what the last frame shows a place is hidden in it."""

Mask = NDArray[np.bool_]


def main(pack: Path, count: int) -> None:
    cv2.setNumThreads(1)
    torch.set_grad_enabled(False)
    network, _ = store.load("default", "cpu")
    heads = Pack(pack)
    gains: dict[float, list[tuple[float, ...]]] = {yaw: [] for yaw in VIEWS_RAD}
    for seed in range(FIRST_SEED, FIRST_SEED + count):
        random = np.random.default_rng(seed)
        side = 1.0 if random.random() < 0.5 else -1.0
        scenes = turning(heads, random)
        frames = [seen(lit, side * yaw) for lit, yaw in zip(scenes, TURN_RAD, strict=True)]
        last = remembered(network, [face for face, _ in frames])
        for yaw in VIEWS_RAD:
            camera = geometry.look_at_camera(side * yaw)
            truth = render(scenes[-1], camera, SIDE_PX)
            hidden = unseen(truth, camera, frames[-1])
            scores = compared(network, last, side * yaw, truth, hidden)
            gains[yaw].append(scores)
            told = "  ".join(f"{score:5.2f}" for score in scores)
            print(f"{seed} {yaw:+.2f}  {told}  hidden {hidden.mean():.2f}", flush=True)
    print("yaw: foreground without, with, gain; hidden places without, with, gain (standard error)")
    for yaw, rows in gains.items():
        print(f"{yaw:+.2f}: {summary(np.array(rows))}")


def turning(pack: Pack, random: np.random.Generator) -> list[LitScene]:
    """One person under one light, with an expression for each frame of the turn."""
    head = make_head(pack, draw_person(pack, random))
    plan = draw_light(pack, random)
    light = make_light(pack, plan)
    poses = [pose(pack, head, draw_expression(pack, random)) for _ in TURN_RAD]
    return [light_scene(pack, each, plan, light) for each in poses]


def seen(lit: LitScene, yaw_rad: float) -> tuple[Face, Picture]:
    """A frame of a film, as the face stage cuts it out, and the truth behind it."""
    camera = geometry.label_camera(yaw_rad, 0.0)
    picture = render(lit, camera, SIDE_PX)
    crop = picture.over(np.full((SIDE_PX, SIDE_PX, 3), 0.5, np.float32))
    alpha = picture.rgba()[..., 3]
    face = Face(crop, alpha, geometry.label(camera), np.eye(2, 3), confidence=1.0)
    return face, picture


def unseen(truth: Picture, camera: geometry.Array, frame: tuple[Face, Picture]) -> Mask:
    """[S, S] the places of a view whose surface the frame does not show."""
    face, picture = frame
    rows, columns = np.nonzero(truth.depth)
    depth = truth.depth[rows, columns]
    across = (np.stack([columns, rows]) + 0.5) / SIDE_PX - 0.5
    local = np.vstack([across * depth / geometry.FOCAL, depth])  # [3, N]
    world = camera[:3, :3] @ local + camera[:3, 3:]
    source = face.camera[:16].reshape(4, 4).astype(np.float64)
    there = source[:3, :3].T @ (world - source[:3, 3:])
    at = np.floor((geometry.FOCAL * there[:2] / there[2] + 0.5) * SIDE_PX).astype(int)
    inside = ((at >= 0) & (at < SIDE_PX)).all(axis=0)
    x, y = at.clip(0, SIDE_PX - 1)
    nearest = np.where(picture.depth[y, x] > 0, picture.depth[y, x], -np.inf)
    hidden = np.zeros((SIDE_PX, SIDE_PX), bool)
    hidden[rows, columns] = inside & (there[2] > nearest + HIDDEN)
    return hidden


def remembered(network: TriPlaneNet, faces: Sequence[Face]) -> Inverted:
    """The last of some frames, with what is remembered of the others."""
    inversion = Inversion(network, memory=HeadMemory(0.5))
    posed = [Posed(Stamp(n, n), face.crop, face) for n, face in enumerate(faces)]
    return [inversion.process([each])[0] for each in posed][-1]


def compared(
    network: TriPlaneNet, last: Inverted, yaw_rad: float, truth: Picture, hidden: Mask
) -> tuple[float, ...]:
    """Foreground PSNR without and with memory, and that of the hidden places."""
    assert last.head is not None and last.head.earlier is not None
    view = NovelView(network, yaw_rad=yaw_rad, backdrop=Plain((0, 0, 0)), size=SIDE_PX)
    forgetful = replace(last, head=replace(last.head, earlier=None))
    pictures = [drawn(view, forgetful), drawn(view, last)]
    target = pixels.to_tensor([truth.rgba()], torch.device("cpu")).add(1).div(2)
    shown = (target[:, 3:] > 0.5).float()
    masks = shown, torch.from_numpy(hidden).float()[None, None] * shown
    return tuple(float(psnr(each, target[:, :3], mask)) for mask in masks for each in pictures)


def drawn(view: NovelView, item: Inverted) -> torch.Tensor:
    """[1, 3, S, S] the finished picture, 0..1."""
    (rendered,) = view.process([item])
    return pixels.to_tensor([rendered.rgb], torch.device("cpu")).add(1).div(2)


def summary(rows: NDArray[np.float64]) -> str:
    """Means over [N, 4] scores, and the gains with their standard errors."""
    parts = []
    for before, after in ((0, 1), (2, 3)):
        gain = rows[:, after] - rows[:, before]
        error = gain.std(ddof=1) / len(gain) ** 0.5 if len(gain) > 1 else 0.0
        means = f"{rows[:, before].mean():.2f}, {rows[:, after].mean():.2f}"
        parts.append(f"{means}, {gain.mean():+.2f} ({error:.2f})")
    return "; ".join(parts)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 20)
