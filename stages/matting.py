"""Which part of every picture is a person: an alpha matte from an ONNX file, steadied in time.

The file keeps MODNet's contract (Ke et al. 2022): `input` float32 [N, 3, H, W] RGB in -1..1 with
sides that are multiples of 32, `output` float32 [N, 1, H, W] alpha in 0..1.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image as Pillow

from tpvideo.pipeline.checkpoint import State
from tpvideo.pipeline.errors import ConfigError, WeightsError
from tpvideo.pipeline.frame import Decoded, Image, Matted, StreamInfo
from tpvideo.pipeline.stage import Stage
from tpvideo.stages.pixels import resampled, to_tensor
from tpvideo.stages.steady_matte import SteadyMatte
from tpvideo.weights import store

log = logging.getLogger(__name__)

STRIDE = 32
"""Sides of the network's picture are multiples of this."""

SHORT_SIDE_PX = 512
"""What MODNet was trained at; the default on an accelerator."""

CPU_SHORT_SIDE_PX = 256
"""The default on a CPU, where MODNet at 512 takes half a second for a 16:9 picture."""

CUDA = "CUDAExecutionProvider"

MODNET_FILE = "modnet_photographic_portrait_matting.onnx"
"""The name under which MODNet is published and looked for."""


class Matting(Stage[Decoded, Matted]):
    """Add a matte, at the network's resolution, to every picture."""

    def __init__(
        self,
        model: Path | str | onnxruntime.InferenceSession,
        *,
        short_side: int | None = None,
        smooth: float = 0.5,
        device: str = "cpu",
        threads: int | None = None,
    ) -> None:
        """Choose the network; it is opened by `open`.

        Args:
            model: an ONNX file with MODNet's contract, or a session that has one open.
            short_side: pixels of the picture's shorter side as the network sees it, rounded to
                a multiple of 32. By default what the file's metadata says under `short_side`,
                else 512 on an accelerator and 256 on a CPU. Small pictures are not enlarged
                beyond it, large ones are reduced to it.
            smooth: 0..1, how strongly the matte is held still where the picture is still.
            device: "cpu", or "cuda" with an optional index.
            threads: CPU threads of the network; by default half the cores, at most four.

        Raises:
            ConfigError: a setting is out of range.
        """
        if short_side is not None and not STRIDE <= short_side <= 2048:
            raise ConfigError(f"the matte's short side must be 32 to 2048 pixels, got {short_side}")
        self._model = model
        self._short_side = short_side
        self._device = device
        self._threads = threads or max(1, min(4, (os.cpu_count() or 1) // 2))
        self._steady = SteadyMatte(smooth)
        self._session: onnxruntime.InferenceSession | None = None
        self._network_short_side = CPU_SHORT_SIDE_PX

    @property
    def smooth(self) -> float:
        """Strength of the filter in time, 0..1; may be changed between two calls of process."""
        return self._steady.strength

    @smooth.setter
    def smooth(self, strength: float) -> None:
        self._steady.strength = strength

    def open(self, info: StreamInfo) -> StreamInfo:
        """Load and check the network.

        Raises:
            WeightsError: the file is missing, not ONNX or of another contract.
        """
        self._session = self.load()
        check_contract(self._session, self._model)
        self._network_short_side = self._short_side or _natural_short_side(self._session)
        self._steady.forget()
        return info

    def load(self) -> onnxruntime.InferenceSession:
        """The network; give it as `model` to the stages of further streams, and it is read once.

        Raises:
            WeightsError: the file is missing or not ONNX.
        """
        if isinstance(self._model, str | Path):
            return open_session(Path(self._model), self._device, self._threads)
        return self._model

    @property
    def is_for_crops(self) -> bool:
        """Whether the network says of itself (metadata `framing`) that it learnt on crops of
        heads: it then belongs after the face stage, see crop_matting.

        Raises:
            WeightsError: the file is missing or not ONNX.
        """
        notes = self.load().get_modelmeta().custom_metadata_map
        return str(notes.get("framing", "")) == "crop"

    def process(self, items: Sequence[Decoded]) -> list[Matted]:
        """The same pictures with their mattes [h, w]; h and w are multiples of 32."""
        return [Matted(item.stamp, item.rgb, self(item.rgb)) for item in items]

    def __call__(self, rgb: Image) -> Image:
        """[h, w] matte of the next picture [H, W, 3]; h and w are multiples of 32."""
        assert self._session is not None, "open comes before process"
        height, width = self._network_size(*rgb.shape[:2])
        small = _resized(rgb, height, width)
        alpha = self._session.run(["output"], {"input": to_tensor([small]).numpy()})[0][0, 0]
        steady = self._steady(small, np.clip(alpha, 0, 1))
        return np.rint(steady * 255).astype(np.uint8)

    def forget(self) -> None:
        """Begin a new shot: the next matte is as the network gives it."""
        self._steady.forget()

    def state(self) -> State:
        """The matte that the next one is steadied with."""
        return self._steady.state()

    def restore(self, state: State) -> None:
        """Steady the next matte with an earlier one."""
        self._steady.restore(state)

    def close(self) -> None:
        """Let the network go."""
        self._session = None
        self._steady.forget()

    def _network_size(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns at which the network sees a picture of this size."""
        short = self._network_short_side
        scale = short / min(height, width)
        # A panorama would become endless: the long side ends at four times the short one.
        sides = (min(side * scale, 4 * short) for side in (height, width))
        rows, columns = (max(STRIDE, round(side / STRIDE) * STRIDE) for side in sides)
        return rows, columns


class NoMatting(Stage[Decoded, Matted]):
    """Everything is the person: a matte of 255 everywhere."""

    def process(self, items: Sequence[Decoded]) -> list[Matted]:
        """The same pictures, each with a full matte of its own size."""
        return [
            Matted(item.stamp, item.rgb, np.full(item.rgb.shape[:2], 255, np.uint8))
            for item in items
        ]


def open_matting(
    choice: str = "auto",
    *,
    device: str = "cpu",
    store_dir: Path | None = None,
    smooth: float = 0.5,
    short_side: int | None = None,
) -> Stage[Decoded, Matted]:
    """The matting stage that a setting asks for.

    Args:
        choice: "auto" (MODNet when its file is in the store, else our own), "modnet", "none", or
            the path of an ONNX file with MODNet's contract.
        device: "cpu", or "cuda" with an optional index.
        store_dir: the folder of weights to look in; by default the user's.
        smooth: 0..1, strength of the filter in time.
        short_side: see `Matting`.

    Raises:
        WeightsError: MODNet is asked for and not in the store.
    """
    path = matting_file(choice, store_dir)
    if path is None:
        return NoMatting()
    log.info("matting with %s", path.name)
    return Matting(path, short_side=short_side, smooth=smooth, device=device)


def matting_file(choice: str = "auto", store_dir: Path | None = None) -> Path | None:
    """The file that a setting stands for, see `open_matting`; None for "none"."""
    if choice == "none":
        return None
    if choice not in ("auto", "modnet"):
        return Path(choice)
    folder = store.directory() if store_dir is None else store_dir
    path = folder / MODNET_FILE
    if path.is_file():
        return path
    if choice == "auto":
        return store.find("matting")
    raise WeightsError(
        f"no {MODNET_FILE} in {folder}; fetch it once with 'tpvideo weights pull modnet', "
        "or use --matting auto"
    )


def open_session(path: Path, device: str, threads: int) -> onnxruntime.InferenceSession:
    """An ONNX file made ready to run.

    Raises:
        WeightsError: the file is missing or cannot be read as ONNX.
    """
    if not path.is_file():
        raise WeightsError(f"no matting network at {path}; pass an ONNX file or --matting auto")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Waiting threads that spin would steal the cores from torch and the encoder.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=_providers(device))
    except Exception as error:  # its exceptions share no public base class
        reason = str(error).strip().splitlines()[0]
        raise WeightsError(f"{path} cannot be opened as an ONNX network: {reason}") from error
    if device.startswith("cuda") and session.get_providers()[0] != CUDA:
        log.warning("matting runs on the CPU: onnxruntime has no CUDA here (see onnxruntime-gpu)")
    return session


def check_contract(session: onnxruntime.InferenceSession, origin: object) -> None:
    """Accept only networks with MODNet's input and output.

    Raises:
        WeightsError: another name, type or rank; the line says which.
    """
    if not isinstance(origin, str | Path):
        origin = "the given session"
    inputs = {node.name: node for node in session.get_inputs()}
    outputs = {node.name: node for node in session.get_outputs()}
    wanted = "a matting network takes 'input' float32 [N, 3, H, W] and gives 'output' [N, 1, H, W]"
    for kind, nodes, name, channels in (
        ("input", inputs, "input", 3),
        ("output", outputs, "output", 1),
    ):
        if name not in nodes or (kind == "input" and len(nodes) > 1):
            raise WeightsError(f"{origin} has {kind}s {sorted(nodes)}; {wanted}")
        node = nodes[name]
        named = isinstance(node.shape, list) and len(node.shape) == 4
        fits = named and (not isinstance(node.shape[1], int) or node.shape[1] == channels)
        if not fits or node.type != "tensor(float)":
            raise WeightsError(f"{origin} has {kind} {node.type} {node.shape}; {wanted}")


def _providers(device: str) -> list[str | tuple[str, dict[str, str]]]:
    """The execution providers to ask for, best first."""
    if not device.startswith("cuda") or CUDA not in onnxruntime.get_available_providers():
        return ["CPUExecutionProvider"]
    settings = {
        "device_id": device.partition(":")[2] or "0",
        "cudnn_conv_algo_search": "HEURISTIC",  # the default searches anew for every new size
        "arena_extend_strategy": "kSameAsRequested",
    }
    return [(CUDA, settings), "CPUExecutionProvider"]


def _natural_short_side(session: onnxruntime.InferenceSession) -> int:
    """The short side that the file itself asks for, else a default by device."""
    noted = session.get_modelmeta().custom_metadata_map.get("short_side", "")
    if noted.isdecimal() and STRIDE <= int(noted) <= 2048:
        return int(noted)
    on_cpu = session.get_providers()[0] == "CPUExecutionProvider"
    return CPU_SHORT_SIDE_PX if on_cpu else SHORT_SIDE_PX


def _resized(rgb: Image, height: int, width: int) -> Image:
    """[height, width, 3] the picture, reduced without aliasing."""
    if min(rgb.shape[0] / height, rgb.shape[1] / width) >= 4:
        # A first whole-number reduction makes a 1080p picture four times cheaper to resize.
        picture = Pillow.fromarray(np.ascontiguousarray(rgb))
        resized = picture.resize((width, height), Pillow.Resampling.BILINEAR, reducing_gap=2.0)
        return np.asarray(resized)
    return resampled(rgb, height, width, "bilinear")
