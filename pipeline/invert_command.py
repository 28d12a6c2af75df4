"""`tpvideo invert IMAGE --method NAME -o DIR`: one face into EG3D's space, by any inverter."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tpvideo.pipeline import config, progress
from tpvideo.pipeline.errors import ConfigError, OutputError
from tpvideo.pipeline.options import (
    DEVICE,
    FACE,
    FACE_MODEL,
    MATTING,
    MODEL,
)

if TYPE_CHECKING:
    from torch import Tensor

    from tpvideo.stages.networks.inverters import Inverter
    from tpvideo.stages.networks.likeness import Likeness
    from tpvideo.stages.networks.triplanenet import Inversion, TriPlaneNet

YAWS_RAD = (-0.6, -0.3, 0.3, 0.6)
"""Novel views on the sheet."""
SHEET, FILE = "sheet.png", "inversion.safetensors"
TOLD = 10
"""Lines that tell how far an optimisation is."""


@click.command("invert", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("image", type=click.Path(path_type=Path))
@click.option(
    "--method",
    default="encoder",
    show_default=True,
    metavar="NAME",
    help="encoder, psp, w+, w, pti, pose, spi, planes-lbfgs, or steps joined by colons, such as "
    "w+:offsets or psp:generator.",
)
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="Gradients that each optimisation of the method takes.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of what is random.")
@click.option(
    "-o",
    "--target",
    metavar="DIR",
    required=True,
    type=click.Path(path_type=Path),
    help=f"Folder for {SHEET} and {FILE}.",
)
@click.option("--overwrite", is_flag=True, help="Replace what is in the folder.")
@MODEL
@MATTING
@FACE_MODEL
@FACE
@DEVICE
@click.option("--quiet", is_flag=True, help="Say nothing but errors.")
def invert(
    image: Path,
    method: str,
    steps: int,
    seed: int,
    target: Path,
    overwrite: bool,
    quiet: bool,
    **settings: Any,
) -> None:
    """Put the face in IMAGE, a photograph or a clip's first frame with a face, into EG3D's space.

    DIR gets the input, the same view and views at yaw -0.6, -0.3, 0.3, 0.6 side by side, and the
    latents and tri-planes as a file. docs/inversion.md has the methods.
    """
    chosen = config.Settings(precision="float32", **settings)
    say: Callable[[str], None] = (lambda text: None) if quiet else click.echo
    with progress.notices(shown=not quiet):
        _check_folder(target, overwrite)
        _run(image, method, steps, seed, target, chosen, say)


def _check_folder(folder: Path, overwrite: bool) -> None:
    for name in (SHEET, FILE):
        if (folder / name).exists() and not overwrite:
            raise OutputError(folder / name, "it exists; --overwrite replaces it")
    if folder.exists() and not folder.is_dir():
        raise OutputError(folder, "it is no folder; -o names the folder for the results")


def _run(
    image: Path,
    method: str,
    steps: int,
    seed: int,
    folder: Path,
    settings: config.Settings,
    say: Callable[[str], None],
) -> None:
    from tpvideo.pipeline.editing.faces import Studio, every_face
    from tpvideo.stages.invert import network_input
    from tpvideo.weights.evaluation.inverters import SIDE_PX, load_likeness

    _inverter(method, None, steps, seed, say)  # a wrong name is known before any work
    studio = Studio.load(settings, is_lean=False)
    network, device = studio.networks.triplane, studio.machine.device
    [(_, posed)] = every_face(studio, [image], 1)
    assert posed.face is not None
    crop, label = network_input([posed.face], SIDE_PX, device)
    likeness, perceptual = load_likeness(device)
    find = _inverter(method, likeness, steps, seed, say)
    begin = time.perf_counter(), time.process_time()
    found = find(crop, label, network)
    took = time.perf_counter() - begin[0], time.process_time() - begin[1]
    pictures = views(network, found, label, crop.shape[-1])
    _write(folder, [crop, *pictures], found, label, settings.model, method)
    say(f"same view: {_scores(pictures[0], crop, likeness, perceptual)}")
    say(f"{method}: {took[0]:.1f} s, {took[1]:.1f} s of the processor; {_effort(method, steps)}")
    say(f"wrote {folder / SHEET} and {folder / FILE}")


def _inverter(
    method: str,
    likeness: Likeness | None,
    steps: int,
    seed: int,
    say: Callable[[str], None],
) -> Inverter:
    from tpvideo.stages.networks.inverters_by_steps import inverter

    def tell(what: str, done: int, of: int, loss: float) -> None:
        if done % max(1, of // TOLD) == 0 or done == of:
            say(f"{what}: {done} of {of} steps, loss {loss:.4f}")

    try:
        return inverter(method, likeness, steps=steps, seed=seed, watch=tell)
    except ValueError as error:
        raise ConfigError(f"--method: {error}") from error


def _effort(method: str, steps: int) -> str:
    from tpvideo.stages.networks.inverters_by_steps import PREDICTIONS, expanded

    optimised = [name for name in expanded(method) if name not in PREDICTIONS]
    if not optimised:
        return "predicted, nothing was optimised"
    return f"{steps} gradients each for {', '.join(optimised)}"


def views(network: TriPlaneNet, found: Inversion, label: Tensor, side: int) -> list[Tensor]:
    """The same view and those of the sheet, [1, 3, side, side] each, -1..1.

    Args:
        label: [1, 25] the camera that the inverter was given.
    """
    import torch

    from tpvideo.stages import geometry
    from tpvideo.stages.networks.generator import resize
    from tpvideo.stages.networks.inverters import draw, followed

    cameras = [followed(found, label, label)]
    for yaw in YAWS_RAD:
        novel = geometry.label(geometry.label_camera(yaw, 0.0))
        cameras.append(torch.from_numpy(novel)[None].to(label.device))
    with torch.no_grad():
        pictures = [draw(network, found, camera).image[:, :3].float() for camera in cameras]
    return [resize(picture, side).clamp(-1, 1) for picture in pictures]


def _scores(drawn: Tensor, crop: Tensor, likeness: Likeness, perceptual: str) -> str:
    """PSNR, MSE and perceptual distance of [1, 3, S, S] pictures, -1..1."""
    import torch

    mse = float((drawn - crop).square().mean())
    psnr_db = 10 * math.log10(4 / max(mse, 1e-12))
    text = f"PSNR {psnr_db:.2f} dB, MSE {mse:.4f} (colours in -1..1)"
    if likeness.perceptual is None:
        return text
    with torch.no_grad():
        distance = float(likeness.perceptual(drawn, crop))
    return f"{text}, perceptual distance {distance:.3f} ({perceptual})"


def _write(
    folder: Path,
    pictures: list[Tensor],
    found: Inversion,
    label: Tensor,
    model: str,
    method: str,
) -> None:
    import numpy as np
    from PIL import Image

    from tpvideo.stages import pixels
    from tpvideo.weights import inversions, store
    from tpvideo.weights.manifest import sha256_of

    path = store.locate(model)
    about = {"method": method, "model": path.name, "model_sha256": sha256_of(path)}
    sheet = np.concatenate([pixels.to_images(picture)[0] for picture in pictures], axis=1)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(sheet).save(folder / SHEET)
    except OSError as error:
        raise OutputError(folder / SHEET, error.strerror or str(error)) from error
    inversions.save(folder / FILE, found, label, store.header(path)[0], about)
