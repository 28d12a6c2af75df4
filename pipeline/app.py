"""Settings to networks to stages to a Pipeline: the one place that knows all the parts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import torch
from onnxruntime import InferenceSession

from tpvideo.pipeline.config import PRESET_THRIFT, Settings
from tpvideo.pipeline.cores import network_cores, usable_cores
from tpvideo.pipeline.errors import ConfigError
from tpvideo.pipeline.frame import Decoded, Inverted, Matted, Posed, Rendered
from tpvideo.pipeline.metrics import Report
from tpvideo.pipeline.record import settings_as_json
from tpvideo.pipeline.resume import resumable
from tpvideo.pipeline.run_key import run_key
from tpvideo.pipeline.runner import Flow, Pipeline, read
from tpvideo.pipeline.stage import Stage
from tpvideo.stages.backdrop import parse_backdrop
from tpvideo.stages.codecs import default_suffix
from tpvideo.stages.crop_matting import CropMatting
from tpvideo.stages.cut import has_kernel
from tpvideo.stages.decode import FileSource
from tpvideo.stages.edit import Edit
from tpvideo.stages.encode import FileSink
from tpvideo.stages.face import LOOK_AHEAD, FaceCrop
from tpvideo.stages.facefinder import FaceFinder, Finder
from tpvideo.stages.head_memory import HeadMemory
from tpvideo.stages.in_frame import InFrame
from tpvideo.stages.insight import DETECTOR, LANDMARKS, InsightFaceFinder
from tpvideo.stages.invert import Inversion
from tpvideo.stages.limits import Limits
from tpvideo.stages.matting import Matting, matting_file, open_matting
from tpvideo.stages.media import expect_file
from tpvideo.stages.networks.editing import Shift
from tpvideo.stages.networks.lean import make_lean, march_for
from tpvideo.stages.networks.triplanenet import TriPlaneNet
from tpvideo.stages.precision import working_dtype
from tpvideo.stages.provenance import Provenance
from tpvideo.stages.render import NovelView
from tpvideo.stages.surroundings import Surroundings
from tpvideo.stages.views import EachFile, EachView, SeveralViews
from tpvideo.weights import directions, store

INSIGHTFACE_PACK = "buffalo_l"
"""Folder of the weights store with InsightFace's models."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Where networks run, and how finely they compute."""

    device: torch.device
    dtype: torch.dtype
    batch: int
    """Most frames inverted or rendered at once."""
    lanes: int = 1
    """Threads that invert; one less draws, for it is done sooner, but one at least."""


@dataclass(frozen=True, slots=True)
class Networks:
    """What is worth loading once for many sources."""

    triplane: TriPlaneNet
    finder: Finder
    """Finds faces."""
    matting: InferenceSession | None = None
    """None opens what the settings name anew for each source."""


def render(
    source: str | os.PathLike[str], target: str | os.PathLike[str] | None, settings: Settings
) -> Report:
    """Write a source as the settings say; see `tpvideo.render`."""
    source = Path(source)
    target = Path(target or default_target(source, settings))
    with resumable(target):
        return assemble(source, target, settings).run()


def assemble(
    source: Path,
    target: str | os.PathLike[str],
    settings: Settings,
    networks: Networks | None = None,
) -> Pipeline:
    """The chain of stages for one source, ready to run.

    What can be known to be wrong is refused before any weights are read.

    Args:
        source: a video or a photograph.
        target: a file, a folder or a numbered name; see FileSink.
        settings: what to make of it.
        networks: of an earlier load_networks; None loads them.
    """
    sink = file_sink(source, target, settings)
    expect_file(source)
    sink.check_target()
    edit_shift(settings)
    machine = pick_machine(settings)
    share_cores()
    begin = sink.recover(_key(source, settings, machine))
    networks = networks or load_networks(settings, machine)
    machine = busy_machine(working_machine(machine, networks), networks.triplane)
    view = drawing(settings, machine, networks.triplane)
    chain = inverted(source, settings, machine, networks, skip=begin.frames if begin else 0)
    return chain.then(view).into(
        sink,
        capacity=settings.queue,
        checkpoints=True,
        resume=begin,
        stall_timeout_s=settings.stall_timeout_s,
    )


def _key(source: Path, settings: Settings, machine: Machine) -> dict[str, str]:
    facts = {"device": machine.device, "precision": machine.dtype, "batch": machine.batch}
    return run_key(source, settings, facts, model_files(settings))


def assemble_views(
    source: Path,
    yaws_rad: Sequence[float],
    sink: EachView,
    settings: Settings,
    networks: Networks,
) -> Pipeline:
    """The chain for one source seen from several sides: one inversion, a rendering for each.

    Args:
        source: a video or a photograph.
        yaws_rad: where the cameras stand; the settings' own yaw is not used.
        sink: takes a picture for each of them; an EachFile whose files are made to resume goes
            on where a run like this stopped.
        settings: everything else.
        networks: of an earlier load_networks.

    Raises:
        ResumeError: what an interrupted run left does not fit this one.
    """
    expect_file(source)
    machine = pick_machine(settings)
    share_cores()  # an earlier source's lanes may have divided them otherwise
    asked = [replace(settings, yaw_rad=yaw_rad) for yaw_rad in yaws_rad]
    # What the stages remember is of all views together.
    together = {"views": " ".join(map(str, yaws_rad))}
    begin = None
    if isinstance(sink, EachFile):
        begin = sink.recover([_key(source, each, machine) | together for each in asked])
    machine = busy_machine(working_machine(machine, networks), networks.triplane)
    views = [drawing(each, machine, networks.triplane) for each in asked]
    chain = inverted(source, settings, machine, networks, skip=begin.frames if begin else 0)
    return chain.then(SeveralViews(views)).into(
        sink,
        capacity=settings.queue,
        checkpoints=True,
        resume=begin,
        stall_timeout_s=settings.stall_timeout_s,
    )


def file_sink(source: Path, target: str | os.PathLike[str], settings: Settings) -> FileSink:
    """Where the frames of a source go."""
    return FileSink(
        os.fspath(target),
        source=source,
        codec=settings.codec,
        crf=settings.crf,
        audio=settings.audio,
        trim=settings.trim,
        overwrite=settings.overwrite,
        resume=settings.resume,
        transparent=settings.background == "transparent",
        provenance=provenance(settings) if settings.provenance else None,
    )


def provenance(settings: Settings) -> Provenance:
    """The note that a result made with these settings carries."""
    trim = settings_as_json(settings)["trim"]
    return Provenance(
        version=version("tpvideo"),
        yaw_rad=settings.yaw_rad,
        pitch_rad=settings.pitch_rad,
        view=settings.view,
        model=Path(settings.model).name,
        edit=settings.edit,
        audio=settings.audio,
        trim=None if trim is None else (trim[0], trim[1]),
    )


def inverted(
    source: Path, settings: Settings, machine: Machine, networks: Networks, *, skip: int = 0
) -> Flow[Inverted]:
    """The chain from a source's frames, but the first `skip`, to their heads in 3D; the same for
    every viewpoint."""
    matting = matting_stage(settings, machine, networks)
    face = FaceCrop(networks.finder, choose=settings.face, smooth=settings.smooth, ahead=LOOK_AHEAD)
    inversion = Inversion(
        networks.triplane,
        device=machine.device,
        dtype=machine.dtype,
        batch=machine.batch,
        lanes=machine.lanes,
        memory=HeadMemory(settings.smooth),
        min_confidence=settings.min_confidence,
        first_every=first_every(settings.preset, networks.triplane),
    )
    faces = posed(read(_file_source(source, settings, skip)), matting, face)
    if settings.layout == "frame" or settings.background == "source":
        faces = faces.then(Surroundings())
    return edited(faces.then(inversion), settings, machine, networks)


def edited(
    heads: Flow[Inverted], settings: Settings, machine: Machine, networks: Networks
) -> Flow[Inverted]:
    """The heads as the settings' edits change them; as they are where there are none."""
    shift = edit_shift(settings)
    if shift is None:
        return heads
    return heads.then(
        Edit(
            networks.triplane,
            shift,
            device=machine.device,
            dtype=machine.dtype,
            batch=machine.batch,
        )
    )


def edit_shift(settings: Settings) -> Shift | None:
    """By what the edits move a face; None where there are none.

    Raises:
        ConfigError: there is no direction of a name.
        WeightsError: the directions are missing, damaged or of another model.
    """
    if not settings.edit:
        return None
    path = directions.locate(settings.directions, settings.model)
    return directions.read(path, settings.model).shift(settings.edit, path)


def posed(
    frames: Flow[Decoded], matting: Stage[Decoded, Matted], face: Stage[Decoded | Matted, Posed]
) -> Flow[Posed]:
    """Frames to cut out heads, matted as the matting network learnt: on frames, or on crops."""
    if isinstance(matting, Matting) and matting.is_for_crops:
        return frames.then(face).then(CropMatting(matting))
    return frames.then(matting).then(face)


def _file_source(source: Path, settings: Settings, skip: int) -> FileSource:
    return FileSource(
        source,
        decoder=settings.decoder,
        trim=settings.trim,
        limits=Limits(pixels=settings.max_pixels, frames=settings.max_frames),
        skip=skip,
    )


def matting_stage(
    settings: Settings, machine: Machine, networks: Networks
) -> Stage[Decoded, Matted]:
    """The matting that the settings name; its network from an earlier load if there is one."""
    if networks.matting is not None:
        return Matting(networks.matting, smooth=settings.smooth)
    return open_matting(settings.matting, device=str(machine.device), smooth=settings.smooth)


def load_networks(settings: Settings, machine: Machine) -> Networks:
    """The networks that the settings name.

    Raises:
        WeightsError: one is missing or damaged.
        MissingExtraError: InsightFace is asked for and not installed.
    """
    triplane, _ = store.load(settings.model, machine.device)
    matting = open_matting(settings.matting, device=str(machine.device))
    session = matting.load() if isinstance(matting, Matting) else None
    return Networks(triplane, _finder(settings.face_model, machine.device), session)


def model_files(settings: Settings) -> dict[str, Path]:
    """The files that load_networks reads, by what they are for.

    Raises:
        WeightsError: one is missing.
    """
    files = {"model": store.locate(settings.model)}
    if settings.edit:
        files["directions"] = directions.locate(settings.directions, settings.model)
    matting = matting_file(settings.matting)
    if matting is not None:
        files["matting"] = matting
    if _picks_insightface(settings.face_model):
        pack = store.directory() / INSIGHTFACE_PACK
        return files | {"face detector": pack / DETECTOR, "face landmarks": pack / LANDMARKS}
    return files | {"face": store.find("face")}


def _finder(choice: str, device: torch.device) -> Finder:
    if not _picks_insightface(choice):
        return FaceFinder.load(store.find("face"), device)
    on_gpu = ["CUDAExecutionProvider"] if device.type == "cuda" else []
    pack = store.directory() / INSIGHTFACE_PACK
    return InsightFaceFinder(pack, [*on_gpu, "CPUExecutionProvider"])


def _picks_insightface(choice: str) -> bool:
    """auto is InsightFace where its extra and its models are there, else our own."""
    if choice != "auto":
        return choice == "insightface"
    return (store.directory() / INSIGHTFACE_PACK).is_dir() and find_spec("insightface") is not None


def default_target(source: Path, settings: Settings) -> Path:
    """`talk_yaw-0.3.mp4` beside talk.mp4: a name for the result when none is given."""
    name = f"{source.stem}_yaw{settings.yaw_rad:.4g}"
    if settings.pitch_rad:
        name += f"_pitch{settings.pitch_rad:.4g}"
    name += "".join(f"_{direction}{strength:g}" for direction, strength in settings.edit)
    is_transparent = settings.background == "transparent"
    return source.with_name(name + default_suffix(source.suffix.lower(), is_transparent))


def pick_machine(settings: Settings) -> Machine:
    """The device and precision that the settings ask for, or the best there are.

    Raises:
        ConfigError: a GPU is asked for, and there is none.
    """
    has_cuda = torch.cuda.is_available()
    if settings.device == "cuda" and not has_cuda:
        raise ConfigError("torch finds no CUDA device here; use --device auto or cpu")
    device = torch.device("cuda" if has_cuda and settings.device != "cpu" else "cpu")
    batch = settings.batch_size or (8 if device.type == "cuda" else 1)
    return Machine(device, _pick_dtype(settings.precision, device), batch)


def _pick_dtype(precision: str, device: torch.device) -> torch.dtype:
    if precision != "auto":
        dtype: torch.dtype = getattr(torch, precision)
        return dtype
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    # bfloat16 in AVX-512 halves the time of torch's convolutions, which is more than the compiled
    # ones of float32 take; in AMX it is far faster than either.
    is_fast = torch.cpu._is_amx_tile_supported() or (
        torch.cpu._is_avx512_bf16_supported() and not has_kernel()
    )
    return torch.bfloat16 if is_fast else torch.float32


def working_machine(machine: Machine, networks: Networks) -> Machine:
    """The same, as finely as these networks can compute on it.

    Except in float16 this makes the networks lean, in place: their weights then have the precision,
    and nothing is left for the stages to convert. What holds in float16 is known for whole networks
    only, so that it is left to autocast.
    """
    network, dtype = networks.triplane, machine.dtype
    if machine.device.type != "cpu" or dtype == torch.float16:
        dtype = working_dtype(network, machine.device, dtype)
    if dtype == torch.float16:
        network.decoder.marcher = march_for(network.decoder)
        return replace(machine, dtype=dtype)
    make_lean(network, dtype)
    return replace(machine, dtype=torch.float32)


def share_cores() -> None:
    """Leave a core to decoding, matting and encoding, unless OMP_NUM_THREADS says otherwise."""
    is_asked = "OMP_NUM_THREADS" in os.environ
    torch.set_num_threads(network_cores() if is_asked else max(1, usable_cores() - 1))


LARGE_PX = 256
"""Side of a network's pictures from which a layer is long enough to be shared among cores; lanes
would only hold more memory."""
MOST_LANES = 4


def busy_machine(machine: Machine, network: TriPlaneNet) -> Machine:
    """The same with a lane for every two cores, but two at least where there are two cores, for a
    small network on a CPU: inversion is the longest stage, and with one lane could not go on when
    its core does something else."""
    cores = network_cores()
    lanes = min(MOST_LANES, cores, max(2, cores // 2))
    if machine.device.type != "cpu" or network.side >= LARGE_PX or lanes < 2:
        return machine
    torch.set_num_threads(max(1, cores // (2 * lanes)))
    return replace(machine, lanes=lanes)


def takes_detail(choice: str, network: TriPlaneNet) -> bool:
    """auto is off for the published networks, whose own pictures are what is asked for."""
    return choice == "on" or (choice == "auto" and not is_published(network))


def first_every(preset: str, network: TriPlaneNet) -> int:
    """Every how many frames the inversion's first branch looks; see first_branch.py. The published
    networks look at each, as their authors let them, unless speed is asked for."""
    if preset == "balanced" and is_published(network):
        return 1
    return PRESET_THRIFT[preset].first_every


def is_published(network: TriPlaneNet) -> bool:
    """Whether it is one of the published networks: those draw no alpha."""
    return network.decoder.image_channels == 3


def drawing(
    settings: Settings, machine: Machine, network: TriPlaneNet
) -> Stage[Inverted, Rendered]:
    """The stage that makes finished pictures of heads."""
    view = novel_view(settings, machine, network)
    return InFrame(view) if settings.layout == "frame" else view


def volume_side(preset: str, network: TriPlaneNet) -> int:
    """Rays along a side of the volume rendering, a multiple of 4; 0 for the model's own."""
    share = PRESET_THRIFT[preset].volume
    return 0 if share == 1 else max(8, round(share * network.decoder.raw_side / 4) * 4)


def novel_view(settings: Settings, machine: Machine, network: TriPlaneNet) -> NovelView:
    """The stage that draws what the settings' camera sees."""
    is_whole = settings.layout == "frame"
    return NovelView(
        network,
        yaw_rad=settings.yaw_rad,
        pitch_rad=settings.pitch_rad,
        follow=settings.view == "follow",
        on_neck=is_whole,
        detail=takes_detail(settings.detail, network),
        backdrop=None if is_whole else parse_backdrop(settings.background),
        size=settings.size,
        volume_side=volume_side(settings.preset, network),
        surface=PRESET_THRIFT[settings.preset].surface,
        on_lost="source" if is_whole and settings.on_lost != "fail" else settings.on_lost,
        side_by_side=settings.layout == "side-by-side",
        device=machine.device,
        dtype=machine.dtype,
        batch=machine.batch,
        lanes=max(1, machine.lanes - 1),
    )
