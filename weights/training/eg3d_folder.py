"""Folders in EG3D's format, as `photographs` reads them: from files of the head generator, and of
heads that a model's own generator draws (the paper's synthetic samples, appendix A)."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from torch import Tensor

from tpvideo.pipeline.errors import ConfigError
from tpvideo.stages import geometry, pixels
from tpvideo.stages.networks.triplanenet import TriPlaneNet
from tpvideo.weights.training.batch import Sampler

log = logging.getLogger(__name__)

TOGETHER = 8
"""Heads drawn at once."""


class Picture(NamedTuple):
    """A head and its camera."""

    rgba: NDArray[np.uint8]
    """[S, S, 3 or 4] not premultiplied."""
    label: NDArray[np.float32]
    """[25]."""
    depth: NDArray[np.float16] | None = None
    """[D, D] along the optical axis, scene units; 0 where nothing is."""


def write(pictures: Iterator[Picture], folder: Path) -> int:
    """Write `dataset.json`, the pictures and, where they are known, depths; returns how many.

    `dataset.json` comes last, so that a folder that has it is whole.
    """
    listed = []
    for number, picture in enumerate(pictures):
        name = f"{number // 1000:05d}/img{number:08d}.png"
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Pillow.fromarray(picture.rgba).save(path)
        if picture.depth is not None:
            depth = (folder / "depth" / name).with_suffix(".npy")
            depth.parent.mkdir(parents=True, exist_ok=True)
            np.save(depth, picture.depth)
        listed.append([name, picture.label.tolist()])
    (folder / "dataset.json").write_text(json.dumps({"labels": listed}), "utf-8")
    return len(listed)


def of_heads(folder: Path, *, views: int = 1, most: int | None = None) -> Iterator[Picture]:
    """The first views of each of the head generator's files, with mattes and depths.

    Raises:
        ConfigError: there are no files.
    """
    files = sorted(folder.glob("*.npz"))[:most]
    if not files:
        raise ConfigError(f"no head views (*.npz) in {folder}; make them with the head generator")
    for file in files:
        with np.load(file) as held:
            seen = zip(held["rgba"][:views], held["c2w"], held["depth"], strict=False)
            for rgba, camera, depth in seen:
                yield Picture(_straight(rgba), geometry.label(camera), depth.astype(np.float16))


def shifted(picture: Picture, share: float) -> Picture:
    """A picture moved to the right by a share of its side, edges repeated; its camera stays, as
    where a crop was misplaced (paper, figure 8). There is no true depth of such a one."""
    columns = picture.rgba.shape[1]
    move = round(share * columns)
    if not move:
        return picture
    source = np.clip(np.arange(columns) - move, 0, columns - 1)
    return Picture(np.ascontiguousarray(picture.rgba[:, source]), picture.label)


def of_generator(
    network: TriPlaneNet, source: Sampler, count: int, seed: int = 0
) -> Iterator[Picture]:
    """Heads of the model's own making, before cameras of a dataset.

    From a model with a mapping network, heads that its generator draws without truncation, as the
    paper's are. The small default model has none and is no GAN: what its backbone alone draws has
    no features. From it, heads that it makes of the dataset's pictures, seen from other cameras.

    Args:
        network: in evaluation mode, on the CPU.
        source: where cameras and pictures come from.
    """
    random = torch.Generator().manual_seed(seed)
    for begin in range(0, count, TOGETHER):
        size = min(TOGETHER, count - begin)
        shown, labels = source.batch(size), source.batch(size).labels
        with torch.inference_mode():
            if hasattr(network.decoder.backbone, "mapping"):
                ws = _drawn(network, labels, random)
                planes = network.decoder.planes(ws)
            else:
                found = network.invert(shown.images, shown.labels)
                ws, planes = found.ws, found.planes
            pictures = network.render(planes, ws, labels).image.float().clamp(-1, 1)
        for picture, label in zip(pictures, labels, strict=True):
            yield Picture(_as_rgba(picture), label.numpy())


def _drawn(network: TriPlaneNet, labels: Tensor, random: torch.Generator) -> Tensor:
    """[B, L, D] from the mapping network."""
    mapping = network.decoder.backbone.mapping
    size = mapping.fc0.weight.shape[1] - mapping.embed.weight.shape[0]
    z = torch.randn(len(labels), size, generator=random)
    ws: Tensor = mapping(z, labels, network.decoder.latents)
    return ws


def _as_rgba(picture: Tensor) -> NDArray[np.uint8]:
    """[S, S, 3 or 4] of a picture [3 or 4, S, S], -1..1, premultiplied."""
    rgb = pixels.to_images(picture[None, :3])[0]
    if len(picture) == 3:
        return rgb
    return _straight(np.dstack([rgb, pixels.to_images(picture[None, 3:])[0]]))


def _straight(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The same colours without their share of alpha; black where nothing is."""
    share = rgba[..., 3:].astype(np.float32) / 255
    rgb = np.divide(rgba[..., :3], share, out=np.zeros(rgba[..., :3].shape, np.float32),
                    where=share > 0)  # fmt: skip
    return np.dstack([rgb.round().clip(0, 255).astype(np.uint8), rgba[..., 3]])
