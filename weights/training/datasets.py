"""The datasets that a run's settings name, opened, and checked against the model."""

from __future__ import annotations

from pathlib import Path

from tpvideo.pipeline.errors import ConfigError
from tpvideo.stages.networks.triplanenet import TriPlaneNet
from tpvideo.weights.training.batch import Mixture, Sampler
from tpvideo.weights.training.config import TrainingConfig
from tpvideo.weights.training.lanes import Lanes
from tpvideo.weights.training.packed import HeadViews, mean_surface
from tpvideo.weights.training.photographs import Photographs


def open_training(config: TrainingConfig, network: TriPlaneNet) -> Sampler:
    """Everything that the run learns from, as one.

    Raises:
        ConfigError: a folder holds no dataset, or one that does not fit the model.
    """
    if config.lanes == 1:
        return _mixed(config, network, config.seed)
    seeds = [config.seed + 10_000 * lane for lane in range(config.lanes)]
    return Lanes([_mixed(config, network, seed) for seed in seeds], config.batch)


def _mixed(config: TrainingConfig, network: TriPlaneNet, seed: int) -> Sampler:
    """All folders of the settings, drawn from by their shares."""
    shares = [1 - sum(item.share for item in config.further)]
    shares += [item.share for item in config.further]
    folders = [config.views, *(item.folder for item in config.further)]
    samplers = [
        open_folder(folder, config, network, seed=seed + 100 * number)
        for number, folder in enumerate(folders)
    ]
    return samplers[0] if len(samplers) == 1 else Mixture(samplers, shares, seed)


def open_folder(
    folder: Path, config: TrainingConfig, network: TriPlaneNet, *, seed: int = 0
) -> Sampler:
    """A folder of packed views, or a dataset in EG3D's format (with a `dataset.json`).

    Raises: as `open_training`.
    """
    if (folder / "dataset.json").exists():
        return Photographs(
            folder,
            side=network.side,
            target_side=network.image_side,
            seed=seed,
            flaws=config.flaws,
        )
    views = HeadViews(
        folder,
        side=network.side,
        points=config.points,
        seed=seed,
        same_view=config.same_view,
        flaws=config.flaws,
    )
    if views.target_side != network.image_side:
        raise ConfigError(
            f"{folder} has views of {views.target_side} pixels, but a model with raw_side "
            f"{network.decoder.raw_side} shows pictures of {network.image_side}: set raw_side to "
            f"{views.target_side // 4}, or render the heads with --size {network.image_side}"
        )
    return views


def open_plain(folder: Path, network: TriPlaneNet, *, seed: int = 0) -> Sampler:
    """A folder of either kind for a network that does not learn: inputs without flaws, each its
    own target. Raises: as `open_training`."""
    if (folder / "dataset.json").exists():
        side = network.image_side
        return Photographs(folder, side=network.side, target_side=side, seed=seed)
    return HeadViews(folder, side=network.side, points=1, seed=seed, same_view=1.0, flaws=False)


def lay_mean_surface(sampler: Sampler, network: TriPlaneNet) -> None:
    """Give a model that lays its pictures on a mean head the surface of this dataset's heads,
    unless it brought one from the model that it starts from.

    Raises:
        ConfigError: it has none, and the first dataset has no depth to take one from.
    """
    if not network.canonical or network.surface.any():
        return
    first = sampler
    while isinstance(first, Mixture | Lanes):
        first = first.samplers[0]
    if not isinstance(first, HeadViews):
        raise ConfigError(
            "a model with canonical = true needs a mean head: name packed views first, or a model "
            "that has one as `start`"
        )
    network.surface.copy_(mean_surface(first, network.side, network.decoder.box))
