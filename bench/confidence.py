"""What the confidence of a frame is worth: its rank correlation with the quality of novel views.

    python bench/confidence.py PACK [COUNT]

draws COUNT people of the held-out seeds from PACK (docs/heads.md), each seen four times from
anywhere within ±1.3 rad: twice as it is, once with a camera that is wrong by about 0.2 rad, and
once with something before the face or a hole in the matte. Prints each input's confidence beside
the foreground PSNR of five novel views, and Spearman's coefficient at the end.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from scipy.stats import spearmanr

from tpvideo.pipeline.frame import Face
from tpvideo.stages import geometry, pixels
from tpvideo.stages.detail import Seen, sharpen
from tpvideo.stages.invert import Inversion
from tpvideo.stages.networks.triplanenet import TriPlaneNet
from tpvideo.stages.paint import of_crop, paint
from tpvideo.stages.render import premultiplied
from tpvideo.weights import store
from tpvideo.weights.evaluation.scores import psnr
from tpvideo.weights.training.heads.pack import Pack
from tpvideo.weights.training.heads.render import render
from tpvideo.weights.training.heads.views import BENCHMARK_YAWS_RAD, draw_scene

FIRST_SEED = 900_100
KINDS = ("as it is", "as it is", "wrong camera", "covered")
SIDE_PX = 256


def main(pack: Path, count: int) -> None:
    cv2.setNumThreads(1)
    network, _ = store.load("default", "cpu")
    heads, found = Pack(pack), []
    for seed in range(FIRST_SEED, FIRST_SEED + count):
        lit, random = draw_scene(heads, np.random.default_rng(seed)), np.random.default_rng(seed)
        cameras = [geometry.look_at_camera(yaw) for yaw in BENCHMARK_YAWS_RAD]
        targets = [(camera, render(lit, camera, SIDE_PX).rgba()) for camera in cameras]
        angles = [(random.uniform(-1.3, 1.3), _pitch(random)) for _ in KINDS]
        for kind, (yaw, pitch) in zip(KINDS, angles, strict=True):
            rgba = render(lit, geometry.label_camera(yaw, pitch), SIDE_PX).rgba()
            face = _face(rgba, (yaw, pitch), kind, random)
            confidence, quality = _worth(network, face, targets)
            print(f"{seed} {kind:12} {yaw:+.2f} {confidence:.2f} {quality:.2f} dB", flush=True)
            found.append((confidence, quality))
    print(f"rank correlation {spearmanr(*zip(*found, strict=True))[0]:.2f} of {len(found)} inputs")


def _pitch(random: np.random.Generator) -> float:
    return float(np.clip(random.normal(0, 0.25), -0.6, 0.6))


def _face(
    rgba: np.ndarray, angles: tuple[float, float], kind: str, random: np.random.Generator
) -> Face:
    """An input of premultiplied RGBA [S, S, 4], before a grey wall."""
    alpha = rgba[..., 3].copy()
    crop = (rgba[..., :3] + 127 * (1 - alpha[..., None] / 255)).astype(np.uint8)
    if kind == "wrong camera":
        angles = (angles[0] + random.normal(0, 0.2), angles[1] + random.normal(0, 0.2))
    if kind == "covered":
        top, left, side = (int(random.integers(*ends)) for ends in ((80, 200), (60, 180), (30, 80)))
        part = slice(top, top + side), slice(left, left + side)
        is_hole = random.random() < 0.5
        alpha[part] = 0 if is_hole else 255
        if not is_hole:
            crop[part] = random.integers(0, 255, 3)
    label = geometry.label(geometry.label_camera(*angles))
    return Face(crop, alpha, label, np.eye(2, 3), confidence=1.0)


@torch.inference_mode()
def _worth(
    network: TriPlaneNet, face: Face, targets: list[tuple[geometry.Array, np.ndarray]]
) -> tuple[float, float]:
    """Confidence, and mean PSNR in dB of the model with detail on the targets."""
    (head,) = Inversion(network).invert([face])
    source, scores = torch.from_numpy(face.camera)[None], []
    for camera, rgba in targets:
        label = torch.from_numpy(geometry.label(camera))[None]
        view = network.render(head.planes[None], head.latents[None], label)
        colours, alphas = premultiplied(view.image.float(), view.alpha)
        seen = Seen(label, view.depth, view.alpha)
        layers = sharpen(colours, alphas, seen, [face.crop], [face.alpha], source)
        picture, _ = paint(layers, [of_crop(face.crop, face.alpha)], SIDE_PX)
        truth = pixels.to_tensor([rgba], torch.device("cpu")).add(1).div(2)
        scores.append(float(psnr(picture, truth[:, :3], (truth[:, 3:] > 0.5).float())))
    return head.confidence, float(np.mean(scores))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 20)
