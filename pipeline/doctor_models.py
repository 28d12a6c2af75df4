"""The part of `tpvideo doctor` that looks at the model files and runs each on one frame."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from tpvideo.pipeline import doctor_machine
from tpvideo.pipeline.errors import TpvideoError, WeightsError
from tpvideo.pipeline.finding import Finding
from tpvideo.stages import matting
from tpvideo.stages.facefinder import FaceBox, FaceFinder
from tpvideo.stages.insight import InsightFaceFinder
from tpvideo.stages.precision import one_frame, shows_something
from tpvideo.weights import folder, manifest, store
from tpvideo.weights.manifest import ModelFile

Array = NDArray[np.float64]

ENOUGH_DB = 40.0
"""Least PSNR against float32 on the CPU."""

MOST_DB = 120.0
"""What an identical picture is said to have."""

SIDE_PX = 256
"""Of the picture that faces are looked for in and that is matted."""

NEEDED = (*folder.SHIPPED, "modnet")
"""Without these the default model cannot run; MODNet is taken wherever its file is."""

BROKEN = (TpvideoError, RuntimeError, MemoryError, ValueError, OSError)
"""What a damaged file or a full memory raises."""


def examine() -> Iterator[Finding]:
    """Every model file that is known or here; each that is whole is run."""
    directory = folder.directory()
    yield _folder(directory)
    for model in manifest.known().values():
        if model.kind == "training" and not model.is_here:
            continue  # nothing needs it to run
        finding = _file(model)
        yield finding
        if finding.state == "ok":
            yield from _runs(model.name, model.path)
    known = {model.path for model in manifest.known().values()}
    for path in sorted(directory.glob("*")) if directory.is_dir() else []:
        if path.suffix in {".safetensors", ".onnx"} and path not in known:
            finding = _own_file(path)
            yield finding
            if finding.state == "ok":
                yield from _runs(path.stem, path)


def _folder(directory: Path) -> Finding:
    if directory.exists() and not directory.is_dir():
        fix = "set TPVIDEO_WEIGHTS to a folder"
        return Finding("weights", "folder", "failed", f"{directory} is no folder", fix)
    said = "" if directory.exists() else ", made when the first file arrives"
    return Finding("weights", "folder", "ok", f"{directory}{said}")


# --- files ---------------------------------------------------------------------------------------


def _file(model: ModelFile) -> Finding:
    """Whether a file of the manifest is here, and what it was when it came."""
    if not model.is_here and model.kind != "shipped":
        fix = f"to have it: tpvideo weights pull {model.name}"
        return Finding("weights", model.name, "notice", f"not here: {model.about}", fix)
    try:
        _expect_readable(model.path)
        health = manifest.health(model)
    except BROKEN as error:
        is_needed = model.name in NEEDED
        return Finding("weights", model.name, "failed", _line(error), _fix(model), is_needed)
    if health == "damaged":
        said = f"damaged: {model.path} does not have the bytes it came with"
        return Finding("weights", model.name, "failed", said, _fix(model))
    said = "intact" if health == "intact" else "here"
    return Finding("weights", model.name, "ok", f"{said}: {model.path}")


def _own_file(path: Path) -> Finding:
    """Whether a file that the user put here can be read, and is what it was if that is known."""
    fix = f"delete {path}, or convert the original again with `tpvideo weights import FILE`"
    try:
        wanted = manifest.recorded(path.name)
        if wanted is not None and manifest.sha256_of(path) != wanted:
            raise WeightsError(f"damaged: {path} does not have the bytes it came with")
        _expect_readable(path)
    except BROKEN as error:
        return Finding("weights", path.stem, "failed", _line(error), fix)
    return Finding("weights", path.stem, "ok", f"yours: {path}")


def _expect_readable(path: Path) -> None:
    """Raise WeightsError unless the file can be opened as what its suffix says."""
    if path.suffix == ".onnx":
        matting.open_session(path, "cpu", threads=1)
    elif path.name == folder.SHIPPED["face"]:
        store.tensors(path)  # two networks of fixed sizes: its header says nothing
    elif path.suffix == ".safetensors":
        store.header(path)


def _fix(model: ModelFile) -> str:
    if model.kind == "shipped":
        return "install tpvideo again: pip install --force-reinstall tpvideo"
    again = f"tpvideo weights pull {model.name}"
    if model.kind == "checkpoint":
        again += f" (or `tpvideo weights import {model.original}`)"
    return f"delete {model.path} and get it again: {again}"


# --- one frame through each ----------------------------------------------------------------------


class Way(NamedTuple):
    """A device, and how finely it computes."""

    device: torch.device
    dtype: torch.dtype

    def __str__(self) -> str:
        return f"{self.device} {str(self.dtype).removeprefix('torch.')}"


def ways() -> list[Way]:
    """All that are worth trying here; the first is float32 on the CPU."""
    cpu = torch.device("cpu")
    found = [Way(cpu, torch.float32)]
    if doctor_machine.has_amx() or doctor_machine.has_avx512_bf16():
        found.append(Way(cpu, torch.bfloat16))
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        gpu = torch.device("cuda", index)
        found += [Way(gpu, torch.float32), Way(gpu, torch.float16)]
        with torch.cuda.device(index):
            if torch.cuda.is_bf16_supported():
                found.append(Way(gpu, torch.bfloat16))
    return found


def _runs(name: str, path: Path) -> Iterator[Finding]:
    if path.is_dir():  # the one pack of several files that there is
        yield from _insightface(name, path)
    elif path.suffix == ".onnx":
        yield from _mattes(name, path)
    elif name == "face":
        yield from _faces(name, path)
    elif path.suffix == ".safetensors" and store.header(path)[1].get("kind") != "generator":
        yield from _pictures(name, path)  # a generator alone, without its encoders, shows nothing


def _pictures(name: str, path: Path) -> Iterator[Finding]:
    """A tri-plane model, every way there is."""
    try:
        network, _ = store.load(path)
    except BROKEN as error:
        yield _broken(name, error)
        return
    wanted: Array | None = None
    for way in ways():
        began = time.perf_counter()
        try:
            network.to(way.device)
            picture = one_frame(network, way.device, way.dtype).cpu()
        except BROKEN as error:
            yield _broken(f"{name} on {way}", error, is_needed=name == "default" and wanted is None)
            continue
        seconds = time.perf_counter() - began
        found = picture.double().numpy()
        if wanted is None:
            wanted = found
            yield _first(name, way, shows_something(picture), seconds)
        else:
            yield _compared(name, way, found, wanted, 2.0, seconds)


def _first(name: str, way: Way, is_shown: bool, seconds: float) -> Finding:
    """What everything else is compared with."""
    about = f"{name} on {way}"
    if is_shown:
        said = f"runs, one frame in {seconds:.1f} s"
        return Finding("run", about, "ok", said, figures={"seconds": round(seconds, 3)})
    return _broken(
        about, WeightsError("the picture is NaN or of one colour"), is_needed=name == "default"
    )


def _compared(
    name: str, way: Way | str, found: Array, wanted: Array, span: float, seconds: float
) -> Finding:
    """A result beside that of the CPU in float32; values lie in a range of width `span`."""
    about = f"{name} on {way}"
    if not np.isfinite(found).all():
        said, fix = "the picture holds values that are no numbers", "use --precision float32"
        return Finding("run", about, "notice", said, fix)
    psnr_db = psnr(found, wanted, span)
    said = f"{psnr_db:.1f} dB to float32 on the CPU, in {seconds:.1f} s"
    figures: dict[str, float | bool | str | list[str]] = {
        "psnr_db": round(psnr_db, 2), "seconds": round(seconds, 3),
    }  # fmt: skip
    if psnr_db < ENOUGH_DB:
        fix = f"{ENOUGH_DB:.0f} dB are wanted; use --precision float32, or --device cpu"
        return Finding("run", about, "notice", said, fix, figures=figures)
    return Finding("run", about, "ok", said, figures=figures)


def psnr(found: Array, wanted: Array, span: float) -> float:
    """Decibels, at most MOST_DB; `span` is the width of the range of values."""
    error = float(np.mean((found - wanted) ** 2))
    return min(MOST_DB, 10 * float(np.log10(span**2 / max(error, 1e-30))))


def _faces(name: str, path: Path) -> Iterator[Finding]:
    """The face networks: landmarks in a gradient, as shares of the picture."""
    picture = _gradient()
    box = FaceBox(np.array([SIDE_PX / 2, SIDE_PX / 2]), SIDE_PX / 2, 0.0, 1.0)

    def landmarks(device: torch.device) -> Array:
        finder = FaceFinder.load(path, device)
        finder.find(picture)
        return finder.read(picture, box).points / SIDE_PX

    yield from _in_float32(name, landmarks)


def _mattes(name: str, path: Path) -> Iterator[Finding]:
    """A matting network, where it keeps the contract."""
    values = _gradient().astype(np.float32).transpose(2, 0, 1)[None] / 127.5 - 1

    try:
        matting.check_contract(matting.open_session(path, "cpu", threads=1), path)
    except WeightsError as error:
        yield Finding("run", name, "notice", f"--matting cannot use it: {_line(error)}")
        return

    def matte(device: torch.device) -> Array:
        session = matting.open_session(path, str(device), threads=1)
        return np.asarray(session.run(["output"], {"input": values})[0], np.float64)

    yield from _in_float32(name, matte)


def _in_float32(name: str, run: Callable[[torch.device], Array]) -> Iterator[Finding]:
    """`run` on every device, compared with the CPU."""
    is_needed = name in NEEDED
    wanted: Array | None = None
    for way in ways():
        if way.dtype != torch.float32:
            continue
        began = time.perf_counter()
        try:
            found = run(way.device)
        except BROKEN as error:
            yield _broken(f"{name} on {way}", error, is_needed=is_needed and wanted is None)
            continue
        seconds = time.perf_counter() - began
        if wanted is None:
            wanted = found
            yield _first(name, way, bool(np.isfinite(found).all()), seconds)
        else:
            yield _compared(name, way, found, wanted, 1.0, seconds)


def _insightface(name: str, path: Path) -> Iterator[Finding]:
    if find_spec("insightface") is None:
        said, fix = "its models are here, the package is not", "pip install insightface"
        yield Finding("run", name, "notice", said, fix)
        return
    try:
        InsightFaceFinder(path).find(_gradient())
    except BROKEN as error:
        yield _broken(name, error)
    else:
        yield Finding("run", name, "ok", "searches a picture for faces")


def _gradient() -> NDArray[np.uint8]:
    """[S, S, 3] a picture, dark to bright."""
    row = np.linspace(60, 190, SIDE_PX).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(row[None, :, None], (SIDE_PX, SIDE_PX, 3)))


def _broken(about: str, error: BaseException, *, is_needed: bool = False) -> Finding:
    name = about.split(" on ")[0]
    model = manifest.known().get(name)
    fix = _fix(model) if model else "convert the original again with `tpvideo weights import FILE`"
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        fix = "free memory, or use another device or a smaller model"
    return Finding("run", about, "failed", _line(error), fix, is_needed)


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
