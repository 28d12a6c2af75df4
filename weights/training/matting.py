"""Train the small matting network: python -m tpvideo.weights.training.matting CONFIG.toml

Reads rendered heads (the head generator's npz files), composes crops from them on the fly,
and writes into the output folder: `state.pt` (resumes from it by itself), `matting.safetensors`
(running mean of the weights), `matting.onnx` and `log.csv` with held-out scores. Started again
on a finished run it only prints those.
"""

from __future__ import annotations

import copy
import csv
import logging
import math
import sys
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader

from tpvideo.pipeline.errors import ConfigError, InputError, TpvideoError
from tpvideo.pipeline.frame import Image
from tpvideo.stages.networks.matting import DEPTHS, WIDTHS, MattingNetwork
from tpvideo.weights import store
from tpvideo.weights.training.backdrops import Backdrops
from tpvideo.weights.training.matting_export import export_onnx
from tpvideo.weights.training.portraits import PortraitBatches, Portraits, head_files

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class MattingRecipe:
    """What a training run is made of; the fields of the TOML file."""

    heads: str
    """Folder of rendered heads to train on."""
    held_out: str
    """Folder with held-out heads, seeds 900000 to 999999."""
    panoramas: str
    """Folder of person-free equirectangular JPEG pictures."""
    output: str
    """Folder for state, weights and log."""
    steps: int = 20_000
    small_steps: int = 10_000
    """How many of the first steps see small pictures, which cost a third."""
    batch: int = 16
    learning_rate: float = 2e-3
    reuse: int = 3
    """How often a composed batch is seen, mirrored and recoloured, before it is forgotten."""
    workers: int = 0
    """Processes that compose batches; 0 composes in this one."""
    threads: int = 1
    device: str = "cpu"
    seed: int = 1
    save_every: int = 500
    short_side_px: int = 160
    """What the exported file asks its pictures' short sides to be."""

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.reuse, self.threads, self.save_every) < 1:
            raise ConfigError("steps, batch, reuse, threads and save_every must be at least 1")


@dataclass(frozen=True, slots=True)
class Scores:
    """Held-out errors of the matte, means over pixels; smaller is better."""

    mad: float
    """Absolute difference."""
    mse: float
    """Squared difference."""
    gradient: float
    """Squared difference of the gradients' lengths (Sobel)."""


def read_recipe(path: Path) -> MattingRecipe:
    """The recipe in a TOML file.

    Raises:
        ConfigError: the file is missing, not TOML or has other fields.
    """
    try:
        return MattingRecipe(**tomllib.loads(path.read_text()))
    except (OSError, tomllib.TOMLDecodeError, TypeError) as error:
        raise ConfigError(f"{path} is no matting recipe: {error}") from error


def train(recipe: MattingRecipe) -> Scores:
    """Run the recipe to its last step, from where the output folder left off.

    Raises:
        InputError: a folder holds nothing to train on.
    """
    torch.set_num_threads(recipe.threads)
    output = Path(recipe.output)
    output.mkdir(parents=True, exist_ok=True)
    run = _Run(recipe, output / "state.pt")
    backdrops = Backdrops(_panoramas(Path(recipe.panoramas)))
    held_out = held_out_batches(Path(recipe.held_out), backdrops)
    portraits = Portraits(head_files(Path(recipe.heads), held_out=False), backdrops)
    started, losses = time.monotonic(), []
    for pictures, mattes in _batches(recipe, portraits, run.step):
        losses.append(run.advance(pictures, mattes))
        if run.step % recipe.save_every == 0 or run.step == recipe.steps:
            run.save()
            scores = score(run.mean, held_out, recipe.device)
            sizes = {"widths": WIDTHS, "depths": DEPTHS}
            store.save(output / "matting.safetensors", run.mean.state_dict(), sizes)
            notes = {
                "framing": "crop",
                "short_side": str(recipe.short_side_px),
                "steps": str(run.step),
                "seed": str(recipe.seed),
            }
            export_onnx(run.mean, output / "matting.onnx", notes)
            seconds = time.monotonic() - started
            row = [run.step, round(seconds), np.mean(losses), scores.mad, scores.mse,
                   scores.gradient]  # fmt: skip
            with (output / "log.csv").open("a", newline="") as file:
                csv.writer(file).writerow(row)
            log.info("step %d, %d s, loss %.4f, %s", run.step, seconds, np.mean(losses), scores)
            losses.clear()
    return score(run.mean, held_out, recipe.device)


def matting_loss(logits: Tensor, alpha: Tensor) -> Tensor:
    """Mean of weighted cross-entropy, absolute and Laplacian-pyramid differences.

    Args:
        logits: [B, 1, H, W] the network's, before the sigmoid.
        alpha: [B, 1, H, W] the truth, 0..1.
    """
    share = functional.avg_pool2d(alpha, 8)
    border = functional.max_pool2d(4 * share * (1 - share), 3, stride=1, padding=1)
    # Borders decide what a matte looks like.
    weight = 1 + 3 * functional.interpolate(border, scale_factor=8)
    weight = weight / weight.mean()
    entropy = functional.binary_cross_entropy_with_logits(logits, alpha, weight)
    difference = torch.sigmoid(logits) - alpha
    total = entropy + (weight * difference.abs()).mean()
    for _ in range(4):  # the Laplacian pyramid is linear: that of the difference will do
        coarse = functional.avg_pool2d(difference, 2)
        total = total + (difference - functional.interpolate(coarse, scale_factor=2)).abs().mean()
        difference = coarse
    return total + difference.abs().mean()


def held_out_batches(
    folder: Path, backdrops: Backdrops, batches: int = 8
) -> list[tuple[Tensor, Tensor]]:
    """Always the same composed portraits of held-out heads; uint8 pictures and mattes."""
    portraits = Portraits(head_files(folder, held_out=True), backdrops)
    composed = PortraitBatches(portraits, batches, 16, seed=900_000)
    return [composed[index] for index in range(batches)]


@torch.inference_mode()
def score(
    network: MattingNetwork, batches: list[tuple[Tensor, Tensor]], device: str = "cpu"
) -> Scores:
    """The network's mean errors over batches of uint8 pictures and mattes."""
    network.eval()
    sobel = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]], device=device)[None, None] / 4
    sobel = torch.cat([sobel, sobel.mT])
    errors = []
    for pictures, mattes in batches:
        truth = mattes.to(device).float() / 255
        alpha = network(pictures.to(device).float() / 127.5 - 1)
        slopes = [functional.conv2d(matte, sobel).norm(dim=1) for matte in (alpha, truth)]
        difference = alpha - truth
        terms = difference.abs(), difference.square(), (slopes[0] - slopes[1]).square()
        errors.append([float(term.mean()) for term in terms])
    return Scores(*np.mean(errors, axis=0).tolist())


class _Run:
    """Network, running mean of its weights, optimiser and step; on disk between sessions."""

    def __init__(self, recipe: MattingRecipe, state: Path) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.state, self.step = recipe, state, 0
        network = MattingNetwork().to(recipe.device)
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.mean = copy.deepcopy(network).requires_grad_(False)
        self.optimiser = torch.optim.AdamW(network.parameters(), weight_decay=0.01, fused=True)
        if state.exists():
            held = torch.load(state, map_location=recipe.device, weights_only=True)
            self.network.load_state_dict(held["network"])
            self.mean.load_state_dict(held["mean"])
            self.optimiser.load_state_dict(held["optimiser"])
            self.step = held["step"]
            log.info("resumed at step %d from %s", self.step, state)

    def advance(self, pictures: Tensor, mattes: Tensor) -> float:
        """One step on uint8 pictures and mattes; the loss."""
        device = torch.device(self.recipe.device)
        warm = min(1.0, (self.step + 1) / 100)
        cooling = 0.5 + 0.5 * math.cos(math.pi * min(1.0, self.step / self.recipe.steps))
        for group in self.optimiser.param_groups:
            group["lr"] = self.recipe.learning_rate * warm * (0.01 + 0.99 * cooling)
        self.network.train()
        pictures = pictures.to(device, memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16):
            logits = self.network.logits(pictures.float() / 127.5 - 1)
        loss = matting_loss(logits.float(), mattes.to(device).float() / 255)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        self._average()
        return float(loss.detach())

    def save(self) -> None:
        """Write the state beside its place, then move it there."""
        held = {
            "network": self.network.state_dict(),
            "mean": self.mean.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
        }
        part = self.state.with_suffix(".part")
        torch.save(held, part)
        part.replace(self.state)

    @torch.no_grad()
    def _average(self) -> None:
        keep = min(0.995, self.step / (self.step + 10))
        means, values = (
            [value for value in network.state_dict().values() if value.is_floating_point()]
            for network in (self.mean, self.network)
        )
        torch._foreach_lerp_(means, values, 1 - keep)


def _batches(
    recipe: MattingRecipe, portraits: Portraits, first: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """One batch for each step still to do: new every `reuse` steps, between them an older one."""
    small = recipe.small_steps // recipe.reuse
    composed = PortraitBatches(portraits, recipe.steps, recipe.batch, recipe.seed, small)
    fresh = iter(
        DataLoader(
            composed,
            batch_size=None,
            sampler=range(first // recipe.reuse, recipe.steps),
            num_workers=recipe.workers,
        )
    )
    rng = np.random.default_rng([recipe.seed, first])
    pool: list[tuple[Tensor, Tensor]] = []
    for step in range(first, recipe.steps):
        if step % recipe.reuse == 0 or len(pool) < 20:
            pool.append(next(fresh))
            pictures, mattes = pool[-1]
        else:
            pictures, mattes = pool[rng.integers(len(pool))]
            if rng.random() < 0.5:
                pictures, mattes = pictures.flip(-1), mattes.flip(-1)
            gains = torch.from_numpy(rng.normal(1, 0.1, (len(pictures), 3, 1, 1))).float()
            offsets = torch.from_numpy(rng.normal(0, 10, (len(pictures), 3, 1, 1))).float()
            pictures = (pictures * gains + offsets).clamp(0, 255).to(torch.uint8)
        del pool[:-200]
        yield pictures, mattes


def _panoramas(folder: Path) -> list[Image]:
    """Every JPEG of the folder, RGB."""
    files = sorted(folder.glob("*.jpg"))
    if not files:
        raise InputError(folder, "no *.jpg panoramas in it")
    read = [cv2.imread(str(file), cv2.IMREAD_COLOR) for file in files]
    return [np.asarray(picture, np.uint8)[..., ::-1] for picture in read]


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tpvideo.weights.training.matting CONFIG.toml")
    try:
        log.info("held out: %s", train(read_recipe(Path(sys.argv[1]))))
    except TpvideoError as error:
        sys.exit(str(error))
