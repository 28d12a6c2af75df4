"""Several runs that differ in a few settings, and the table of what each is worth (paper, tables 4
and 5)."""

from __future__ import annotations

import json
import logging
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from tpvideo.pipeline.errors import ConfigError
from tpvideo.stages.networks.triplanenet import TriPlaneNet
from tpvideo.weights import store
from tpvideo.weights.evaluation.heldout import HeldOut
from tpvideo.weights.evaluation.report import Row
from tpvideo.weights.evaluation.variants import rows_of
from tpvideo.weights.training import checkpoints
from tpvideo.weights.training.config import TrainingConfig, put
from tpvideo.weights.training.critics import load_critics
from tpvideo.weights.training.loop import Trainer
from tpvideo.weights.training.start import fresh_network

log = logging.getLogger(__name__)

START = "as it starts"
"""Name of the row of the model that all variants begin with."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One run."""

    name: str
    config: TrainingConfig


def read(path: Path, changes: Sequence[str] = ()) -> list[Variant]:
    """The runs that a file lists.

    It names a file of settings (`base`, beside it), has a table `settings` of what is otherwise
    in all runs, and one `[[variants]]` for each run: its `name`, its own `settings`, and `like`,
    an earlier variant whose settings it begins with. Tables are joined, all else is replaced.
    Each run writes into a folder of its own in the settings' `output`.

    Args:
        changes: `table.name=value`, put in place of what all runs have.

    Raises:
        ConfigError: the file, its base or a variant's settings are not as they should be.
    """
    told = _table(path)
    try:
        unknown = set(told) - {"base", "settings", "variants"}
        common = joined(_table(path.parent / told["base"]), told.get("settings", {}))
        for change in changes:
            put(common, change)
        tables: dict[str, dict[str, Any]] = {}
        for variant in told["variants"]:
            unknown |= set(variant) - {"name", "like", "settings"}
            begin = tables[variant["like"]] if "like" in variant else common
            tables[variant["name"]] = joined(begin, variant.get("settings", {}))
    except (KeyError, TypeError, AttributeError) as cause:
        raise ConfigError(f"{path} lists no variants as it should: {cause!r}") from cause
    if unknown:
        raise ConfigError(f"{path}: unknown settings {', '.join(sorted(unknown))}")
    if len(tables) < len(told["variants"]):
        raise ConfigError(f"{path}: two variants have the same name")
    return [Variant(name, _config(name, table, path)) for name, table in tables.items()]


def _table(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as cause:
        raise ConfigError(f"cannot read settings from {path}: {cause}") from cause


def joined(table: Mapping[str, Any], further: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `table` with the values of `further`; tables within are joined likewise."""
    both = dict(table)
    for key, value in further.items():
        is_table = isinstance(value, Mapping) and isinstance(both.get(key, {}), Mapping)
        both[key] = joined(both.get(key, {}), value) if is_table else value
    return both


def _config(name: str, table: dict[str, Any], path: Path) -> TrainingConfig:
    folder = re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-")
    output = {"output": str(Path(table.get("output", "")) / folder)}
    return TrainingConfig.parse({**table, **output}, f"{path}, {name}")


def run(variants: Sequence[Variant], heads: HeldOut) -> Iterator[list[Row]]:
    """Train and score one variant after the other, after the model that they begin with.

    What a folder has already is not made again: a run that was interrupted goes on from its
    checkpoint, and one that was scored is only read.
    """
    critics = load_critics("lpips-alex", identity=True)
    first = variants[0].config
    if first.start:
        # sampled as the trained ones are when scored, not as in training
        start = replace(first, coarse=0, fine=-1)
        network = fresh_network(start).requires_grad_(False).eval()
        yield list(rows_of(network, heads, START, critics))
    for variant in variants:
        kept = variant.config.output / "scores.json"
        if not kept.exists():
            log.info("%s: %s", variant.name, variant.config.output)
            network = trained(variant.config)
            rows = list(rows_of(network, heads, variant.name, critics))
            kept.write_text(json.dumps([asdict(row) for row in rows], indent=1), "utf-8")
        yield [Row(**row) for row in json.loads(kept.read_text("utf-8"))]


def trained(config: TrainingConfig) -> TriPlaneNet:
    """The averaged model after the whole run, on the CPU."""
    trainer = Trainer(config, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    checkpoint = config.output / "checkpoint.pt"
    try:
        if checkpoint.exists():
            trainer.resume(checkpoint)
        trainer.run()
    finally:
        trainer.close()
    return saved(config)


def saved(config: TrainingConfig) -> TriPlaneNet:
    """The averaged model of a run's checkpoint, on the CPU.

    Raises:
        InputError: there is no checkpoint.
    """
    network = store.build(config.model, "the settings")
    average = checkpoints.read(config.output / "checkpoint.pt")["average"]
    store.fit(network, {name: value.cpu() for name, value in average.items()}, config.output)
    return network.requires_grad_(False).eval()
