"""Views of synthetic heads as one array, and batches of (input view, target view) drawn from it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from tpvideo.pipeline.errors import ConfigError
from tpvideo.stages import geometry
from tpvideo.stages.networks.triplanenet import mirror
from tpvideo.weights.training.batch import Batch, Geometry, HeldOut
from tpvideo.weights.training.flaws import change_light, spoil

log = logging.getLogger(__name__)


ARRAYS: dict[str, tuple[str, type]] = {
    "rgba": ("rgba.npy", np.uint8),
    "depth": ("depth.npy", np.float16),
    "lens_rgba": ("lens.npy", np.uint8),
}
"""Arrays of the generator's files, and where they are packed."""

LENS_SHARE = 0.6
"""Probability that an input is seen through another lens, where that was rendered."""


def pack(folder: Path, target: Path, limit: int | None = None) -> None:
    """Join the generator's npz files into arrays that can be mapped into memory.

    Writes rgba.npy [N, V, 256, 256, 4] uint8 premultiplied, depth.npy [N, V, 128, 128] float16
    and labels.npy [N, V, 25] float32 into `target`; and, where the files have views through other
    lenses, lens.npy [N, L, 256, 256, 4] of the first L views.

    Raises:
        ConfigError: there are no files, or one is unlike the first.
    """
    files = sorted(folder.glob("*.npz"))[:limit]
    if not files:
        raise ConfigError(f"no head views (*.npz) in {folder}; make them with the head generator")
    with np.load(files[0]) as first:
        shapes = {key: first[key].shape for key in ARRAYS if key in first.files}
    target.mkdir(parents=True, exist_ok=True)
    (target / ARRAYS["lens_rgba"][0]).unlink(missing_ok=True)
    arrays = {key: _create(target / ARRAYS[key][0], ARRAYS[key][1], (len(files), *shape))
              for key, shape in shapes.items()}  # fmt: skip
    labels = np.empty((len(files), shapes["rgba"][0], 25), np.float32)
    for row, file in enumerate(files):
        with np.load(file) as views:
            found = {key: views[key].shape for key in shapes if key in views.files}
            if found != shapes:
                raise ConfigError(
                    f"{file} holds {found} but {files[0].name} {shapes}; pack files made with the "
                    f"same --views, --size and --lenses"
                )
            for key, array in arrays.items():
                array[row] = views[key]
            labels[row] = [geometry.label(camera) for camera in views["c2w"]]
        if row % 500 == 0:
            log.info("packed %d of %d heads", row, len(files))
    for array in arrays.values():
        array.flush()
    np.save(target / "labels.npy", labels)


def _create(path: Path, kind: type, shape: tuple[int, ...]) -> np.memmap[Any, np.dtype[Any]]:
    return np.lib.format.open_memmap(path, mode="w+", dtype=kind, shape=shape)


class HeadViews:
    """Packed views, and the batches drawn from them.

    Args:
        folder: what `pack` wrote.
        side: S, side of the input pictures.
        points: P, points a head for the direct supervision of the volume.
        seed: of the sampling; with `state` it resumes exactly.
        same_view: share of the samples whose target is the input's own view.
        flaws: whether the inputs are spoilt as footage is.
    """

    def __init__(
        self,
        folder: Path,
        *,
        side: int,
        points: int,
        seed: int,
        same_view: float = 0.2,
        flaws: bool = True,
    ) -> None:
        if not (folder / "rgba.npy").exists():
            raise ConfigError(f"{folder} holds no packed views; run the training's `pack` first")
        self.rgba: NDArray[np.uint8] = np.load(folder / "rgba.npy", mmap_mode="r")
        self.depth: NDArray[np.float16] = np.load(folder / "depth.npy", mmap_mode="r")
        self.labels: NDArray[np.float32] = np.load(folder / "labels.npy")
        self.lens: NDArray[np.uint8] | None = None
        if (folder / "lens.npy").exists():
            self.lens = np.load(folder / "lens.npy", mmap_mode="r")
        self.side = side
        self.points = points
        self.same_view = same_view
        self.flaws = flaws
        self.random = np.random.default_rng(seed)
        self.torch_random = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return len(self.rgba)

    @property
    def target_side(self) -> int:
        """T, side of the target pictures."""
        return int(self.rgba.shape[2])

    def batch(self, size: int) -> Batch:
        """One batch: heads and views at random, mirrored half of the time."""
        views = self.rgba.shape[1]
        heads = self.random.integers(len(self), size=size)
        sources = self.random.integers(views, size=size)
        others = (sources + self.random.integers(1, max(2, views), size=size)) % views
        targets = np.where(self.random.random(size) < self.same_view, sources, others)
        flips = torch.from_numpy(self.random.random(size) < 0.5)

        rgba = self._rgba(heads, sources, flips, self._through_lens(sources))
        target = self._rgba(heads, targets, flips)
        depth = torch.from_numpy(
            np.stack([self.depth[h, v] for h, v in zip(heads, targets, strict=True)])
        ).float()[:, None]
        depth = torch.where(flips[:, None, None, None], depth.flip(-1), depth)
        target_labels = self._labels(heads, targets, flips)

        rgba, target = change_light(rgba, target, self.torch_random)
        small = F.interpolate(rgba, size=self.side, mode="area")
        images = spoil(small, self.torch_random) if self.flaws else small[:, :3]
        return Batch(
            images * 2 - 1,
            self._labels(heads, sources, flips),
            small[:, :3] * 2 - 1,
            target * 2 - 1,
            target_labels,
            Geometry(depth, *self._points(target, depth, target_labels)),
        )

    def held_out(self, count: int) -> HeldOut:
        """View 0 of the first `count` heads as inputs, their other views as targets."""
        rgba = torch.from_numpy(np.array(self.rgba[:count])).permute(0, 1, 4, 2, 3).float() / 255
        labels = torch.from_numpy(self.labels[:count])
        inputs = F.interpolate(rgba[:, 0, :3], size=self.side, mode="area")
        return HeldOut(inputs * 2 - 1, labels[:, 0], rgba[:, 1:] * 2 - 1, labels[:, 1:])

    def _through_lens(self, views: NDArray[np.int64]) -> NDArray[np.bool_]:
        """[B] which inputs are taken from `lens`."""
        if self.lens is None:
            return np.zeros(len(views), bool)
        has_one = views < self.lens.shape[1]
        return np.asarray(has_one & (self.random.random(len(views)) < LENS_SHARE))

    def _rgba(
        self,
        heads: NDArray[np.int64],
        views: NDArray[np.int64],
        flips: Tensor,
        through_lens: NDArray[np.bool_] | None = None,
    ) -> Tensor:
        """[B, 4, T, T] in 0..1."""
        arrays = [self.rgba] * len(heads)
        if self.lens is not None and through_lens is not None:
            arrays = [self.lens if through else self.rgba for through in through_lens]
        stacked = np.stack([a[h, v] for a, h, v in zip(arrays, heads, views, strict=True)])
        pictures = torch.from_numpy(stacked).permute(0, 3, 1, 2).float() / 255
        return torch.where(flips[:, None, None, None], pictures.flip(-1), pictures)

    def _labels(self, heads: NDArray[np.int64], views: NDArray[np.int64], flips: Tensor) -> Tensor:
        labels = torch.from_numpy(self.labels[heads, views])
        return torch.where(flips[:, None], mirror(labels), labels)

    def _points(
        self, target: Tensor, depth: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Random pixels of the target, as points on the surface and in the empty space."""
        batch, _, size, _ = depth.shape
        picked = torch.randint(
            size * size, (batch, 4 * self.points), generator=self.torch_random
        )  # more than needed: solid ones and clear ones are sorted out
        z = depth.flatten(1).gather(1, picked)
        coarse = F.interpolate(target, size=size, mode="area").flatten(2)
        seen = coarse.gather(2, picked[:, None].expand(-1, 4, -1))  # [B, 4, 4 P]
        solid = (seen[:, 3] > 0.98) & (z > 0)
        order = torch.argsort(solid.to(torch.uint8), dim=1, descending=True, stable=True)
        first, last = order[:, : self.points], order[:, -self.points :]
        u = (picked % size + 0.5) / size
        v = (picked // size + 0.5) / size
        camera = labels[:, :16].reshape(-1, 4, 4)
        focal = labels[:, 16, None]
        local = torch.stack([(u - 0.5) / focal, (v - 0.5) / focal, torch.ones_like(u)], dim=-1)
        ray = local @ camera[:, :3, :3].transpose(1, 2)  # [B, 4 P, 3], z component 1
        origin = camera[:, None, :3, 3]

        def take(values: Tensor, index: Tensor) -> Tensor:
            return values.gather(1, index[..., None].expand(-1, -1, values.shape[-1]))

        surface = origin + take(ray, first) * z.gather(1, first)[..., None]
        toward = -F.normalize(take(ray, first), dim=-1)
        # A ray that hits something is clear up to a margin before it; one that hits nothing,
        # clear all the way.
        depth_last = z.gather(1, last)
        clear = (seen[:, 3].gather(1, last) < 0.02) & (depth_last == 0)
        farthest = torch.where(clear, 3.15, torch.where(depth_last > 0, depth_last - 0.03, 2.3))
        share = torch.rand(last.shape, generator=self.torch_random)
        # Many close to the surface, some anywhere before it.
        near = 2.25 + (farthest - 2.25) * torch.where(share < 0.5, 2 * share, share.sqrt())
        empty = origin + take(ray, last) * near[..., None]
        # Where a head fills the picture too few clear rays exist; solid ones serve as well.
        return surface, toward, take(seen[:, :3].transpose(1, 2), first), empty

    @property
    def state(self) -> dict[str, Any]:
        """What resumes the sampling exactly."""
        return {"numpy": self.random.bit_generator.state, "torch": self.torch_random.get_state()}

    @state.setter
    def state(self, saved: dict[str, Any]) -> None:
        self.random.bit_generator.state = saved["numpy"]
        self.torch_random.set_state(saved["torch"].cpu())  # a run on a GPU reads it onto that


def mean_surface(views: HeadViews, size: int, box: float, heads: int = 400) -> Tensor:
    """[size, size] height z of the mean head over the (x, y) plane's cells, scene units.

    The average of all points that near-frontal views see in a cell; where none falls, the
    surface sinks smoothly away from the head.
    """
    total = np.zeros((size, size))
    count = np.zeros((size, size))
    for head in range(min(heads, len(views))):
        for view in range(views.labels.shape[1]):
            label = views.labels[head, view]
            camera = label[:16].reshape(4, 4).astype(np.float64)
            if abs(geometry.angles(camera)[0]) > 0.35:
                continue
            depth = views.depth[head, view].astype(np.float64)
            v, u = np.nonzero(depth)
            z = depth[v, u]
            local = np.stack(
                [
                    ((u + 0.5) / depth.shape[1] - 0.5) / label[16] * z,
                    ((v + 0.5) / depth.shape[0] - 0.5) / label[16] * z,
                    z,
                ]
            )
            world = camera[:3, :3] @ local + camera[:3, 3:]
            cells = np.floor((world[:2] / box + 0.5) * size).astype(int)
            inside = ((cells >= 0) & (cells < size)).all(axis=0)
            np.add.at(total, (cells[1, inside], cells[0, inside]), world[2, inside])
            np.add.at(count, (cells[1, inside], cells[0, inside]), 1)
    known = count > 20
    surface = np.where(known, total / np.maximum(count, 1), -0.15)
    heights = torch.from_numpy(surface).float()[None, None]
    fixed = torch.from_numpy(known)[None, None]
    for _ in range(200):  # diffuse into the unknown
        spread = F.avg_pool2d(F.pad(heights, (2, 2, 2, 2), mode="replicate"), 5, 1)
        heights = torch.where(fixed, heights, 0.98 * spread + 0.02 * -0.15)
    smooth = F.avg_pool2d(F.pad(heights, (2, 2, 2, 2), mode="replicate"), 5, 1)
    return smooth[0, 0]
