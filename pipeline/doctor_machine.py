"""The part of `tpvideo doctor` that looks at the machine and the installed libraries."""

from __future__ import annotations

import shutil
import sys
import warnings
from collections.abc import Iterator
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path

import av
import numpy as np
import onnxruntime
import torch

from tpvideo.pipeline.cores import usable_cores
from tpvideo.pipeline.errors import WeightsError
from tpvideo.pipeline.finding import Finding
from tpvideo.stages.codecs import CODECS
from tpvideo.stages.matting import CUDA, open_session
from tpvideo.weights import folder

SIDE_PX = 256
"""Of the frame that each encoder is tried on."""

CAMERA_FORMATS = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}

EXTRAS = {
    "insightface": "finds faces with InsightFace's models (--face-model insightface)",
    "decord": "decodes with decord (--decoder decord)",
    "gdown": "fetches from Google Drive (tpvideo weights pull)",
}
"""Optional packages, and what they are for."""


def examine() -> Iterator[Finding]:
    """Torch, devices, ONNX Runtime, encoders, cameras, optional packages."""
    built_for = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built for CPU"
    yield Finding("system", "torch", "ok", f"{torch.__version__}, {built_for}")
    yield _processor()
    yield from _gpus()
    yield from _providers()
    yield from _encoders()
    yield _cameras()
    yield from _extras()


def _processor() -> Finding:
    amx, avx512_bf16 = has_amx(), has_avx512_bf16()
    cores = usable_cores()
    capability = torch.backends.cpu.get_cpu_capability()
    abilities = [name for name, has in (("AMX", amx), ("AVX-512 BF16", avx512_bf16)) if has]
    fast = f"bfloat16 by {' and '.join(abilities)}" if abilities else "no fast bfloat16"
    threads = torch.get_num_threads()
    said = f"{cores} cores, {threads} threads, {capability}, {fast}"
    figures: dict[str, float | bool | str | list[str]] = {
        "cores": cores, "threads": threads, "amx": amx, "avx512_bf16": avx512_bf16,
        "bf16": amx or avx512_bf16, "capability": capability,
    }  # fmt: skip
    return Finding("device", "cpu", "ok", said, figures=figures)


def has_amx() -> bool:
    """Whether the CPU has AMX tiles."""
    return bool(torch.cpu._is_amx_tile_supported())


def has_avx512_bf16() -> bool:
    """Whether the CPU multiplies bfloat16 in AVX-512."""
    return bool(torch.cpu._is_avx512_bf16_supported())


def _gpus() -> Iterator[Finding]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        has_cuda = torch.cuda.is_available()
    if not has_cuda:
        yield _no_gpu([str(warning.message).splitlines()[0] for warning in caught])
        return
    for index in range(torch.cuda.device_count()):
        name = f"cuda:{index}"
        try:
            about = torch.cuda.get_device_properties(index)
            free, total = torch.cuda.mem_get_info(index)
            with torch.cuda.device(index):
                bf16 = torch.cuda.is_bf16_supported()
        except RuntimeError as error:
            said = str(error).splitlines()[0]
            yield Finding("device", name, "failed", said, "use --device cpu, or mend the driver")
            continue
        said = (
            f"{about.name}, capability {about.major}.{about.minor}, {free / 2**30:.1f} of "
            f"{total / 2**30:.1f} GiB free, {'bfloat16' if bf16 else 'float16'}"
        )
        figures: dict[str, float | bool | str | list[str]] = {
            "capability": f"{about.major}.{about.minor}", "bytes": total, "free_bytes": free,
            "bf16": bf16,
        }  # fmt: skip
        yield Finding("device", name, "ok", said, figures=figures)


def _no_gpu(complaints: list[str]) -> Finding:
    if not (shutil.which("nvidia-smi") or Path("/dev/nvidia0").exists()):
        return Finding("device", "cuda", "notice", "no NVIDIA GPU here; the CPU does the work")
    if torch.version.cuda is None:
        fix = "install the build of torch for CUDA: https://pytorch.org/get-started/locally"
        return Finding("device", "cuda", "notice", "a GPU is here, but torch is for the CPU", fix)
    said = complaints[0] if complaints else "a GPU is here, but torch cannot use it"
    fix = "update NVIDIA's driver, or install the torch for the CUDA that the driver has"
    return Finding("device", "cuda", "notice", said, fix)


def _providers() -> Iterator[Finding]:
    """What a session really gets; that a provider is named as available says little."""
    available = onnxruntime.get_available_providers()
    name = f"onnxruntime {onnxruntime.__version__}"
    wanted = ["cpu", "cuda"] if torch.cuda.is_available() or CUDA in available else ["cpu"]
    for device in wanted:
        try:
            session = open_session(folder.find("matting"), device, threads=1)
        except WeightsError as error:
            fix = "install tpvideo again: pip install --force-reinstall tpvideo"
            yield Finding("onnx", name, "failed", str(error), fix, is_needed=device == "cpu")
            continue
        obtained = session.get_providers()
        figures: dict[str, float | bool | str | list[str]] = {
            "device": device, "obtained": obtained, "available": available,
        }  # fmt: skip
        said = f"on {device}: {', '.join(obtained)}"
        if device == "cuda" and obtained[0] != CUDA:
            fix = (
                "for matting on the GPU: pip uninstall onnxruntime; pip install "
                "'onnxruntime-gpu[cuda,cudnn]'"
            )
            yield Finding("onnx", name, "notice", said, fix, figures=figures)
        else:
            yield Finding("onnx", name, "ok", said, figures=figures)


def _encoders() -> Iterator[Finding]:
    for codec in CODECS.values():
        complaint = try_encoder(codec.encoder, codec.pixels, codec.options)
        if complaint is None:
            yield Finding("encoder", codec.name, "ok", f"{codec.encoder} encodes a frame")
        else:
            fix = "install PyAV's own wheels: pip install --force-reinstall --only-binary av av"
            yield Finding(
                "encoder", codec.name, "failed", f"{codec.encoder}: {complaint}", fix,
                is_needed=codec.name == "h264",
            )  # fmt: skip
    complaint = try_encoder("h264_nvenc", "yuv420p", {})
    if complaint is None:
        said = "h264_nvenc encodes a frame; films are encoded by the CPU all the same"
        yield Finding("encoder", "h264_nvenc", "ok", said)
    else:
        said = f"{complaint}; nothing needs it, and GPUs such as H100 and H200 have no NVENC"
        yield Finding("encoder", "h264_nvenc", "notice", said)


def try_encoder(name: str, pixels: str, options: dict[str, str]) -> str | None:
    """What FFmpeg complains of when an encoder is opened and given one frame; None if nothing."""
    try:
        context = av.CodecContext.create(name, "w")
        assert isinstance(context, av.VideoCodecContext)
        context.width = context.height = SIDE_PX
        context.pix_fmt = pixels
        context.time_base = Fraction(1, 25)
        context.framerate = Fraction(25)
        context.options = options
        picture = np.full((SIDE_PX, SIDE_PX, 3), 90, np.uint8)
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixels)
        frame.pts, frame.time_base = 0, context.time_base
        packets = [*context.encode(frame), *context.encode(None)]
    except (av.error.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return f"cannot be opened ({reason})"
    return None if sum(packet.size for packet in packets) else "gave no bytes"


def _cameras() -> Finding:
    kind = CAMERA_FORMATS.get(sys.platform)
    try:
        found = [] if kind is None else av.enumerate_input_devices(kind)
    except (av.error.FFmpegError, ValueError) as error:
        said = f"cannot be listed: {str(error).splitlines()[0]}"
        return Finding("camera", kind or sys.platform, "notice", said)
    names = [f"{device.name} ({device.description})" for device in found]
    figures: dict[str, float | bool | str | list[str]] = {"found": names}
    name = kind or sys.platform
    if not names:
        said = "none found; files and photographs need none"
        return Finding("camera", name, "notice", said, figures=figures)
    return Finding("camera", name, "ok", ", ".join(names), figures=figures)


def _extras() -> Iterator[Finding]:
    for name, purpose in EXTRAS.items():
        if find_spec(name):
            yield Finding("extra", name, "ok", f"installed; {purpose}")
        else:
            fix = f"to have it: pip install {name}"
            yield Finding("extra", name, "notice", f"not installed; {purpose}", fix)
