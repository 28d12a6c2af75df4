"""Lift faces into EG3D's space: crops and cameras in, latents and refined tri-planes out."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import torch
from torch import Tensor

from tpvideo.pipeline.checkpoint import State
from tpvideo.pipeline.errors import NoFaceError
from tpvideo.pipeline.frame import Face, Head, Inverted, Posed, StreamInfo
from tpvideo.pipeline.gauge import Gauge
from tpvideo.pipeline.stage import Stage
from tpvideo.stages import pixels
from tpvideo.stages.confidence import LOW, confidence
from tpvideo.stages.first_branch import FirstBranch
from tpvideo.stages.head_memory import HeadMemory
from tpvideo.stages.memory import Halving
from tpvideo.stages.networks.generator import resize
from tpvideo.stages.networks.triplanenet import TriPlaneNet
from tpvideo.stages.replay import notices_of, replayed


def in_precision(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Run convolutions and matrix products in `dtype`; float32 leaves everything as it is."""
    if dtype == torch.float32:
        return nullcontext()
    return torch.autocast(device.type, dtype)


def network_input(faces: Sequence[Face], side: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Crops without their background, and their cameras.

    Returns:
        [B, 3, side, side] pictures in -1..1, black where the matte is clear, and [B, 25] labels.
    """
    colours = pixels.to_tensor([face.crop for face in faces], device)
    alphas = pixels.to_tensor([face.alpha for face in faces], device).add(1).div(2)
    pictures = resize((colours + 1) * alphas - 1, side)
    return pictures, pixels.to_rows([face.camera for face in faces], device)


class Inversion(Stage[Posed, Inverted]):
    """TriPlaneNet on every frame that shows a face; the others pass by in their place.

    Args:
        network: in evaluation mode on `device`.
        dtype: of convolutions and matrix products.
        batch: most faces inverted together.
        memory: of what earlier frames of a shot saw; None leaves every frame to itself.
        min_confidence: heads that are less sure pass by like frames without a face.
        first_every: the first branch looks at every n-th frame of a shot only; from 2 on, frames
            are inverted one by one. See first_branch.py.
        linger_s: see Stage.
    """

    def __init__(
        self,
        network: TriPlaneNet,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        batch: int = 4,
        memory: HeadMemory | None = None,
        min_confidence: float = 0.0,
        first_every: int = 1,
        linger_s: float | None = None,
    ) -> None:
        self.network = network
        self.device = torch.device(device)
        self.dtype = dtype
        self.first_branch = FirstBranch(network, first_every) if first_every > 1 else None
        self._invert = replayed(self.name, network.invert, self.device)
        self.batch = batch if self.first_branch is None else 1
        self.memory = memory
        self.gauge = Gauge("confidence", least=min_confidence, low_at=LOW)
        """How sure each head is; see confidence.py."""
        self.linger_s = linger_s
        self._halving = Halving(self.name)
        self._before: tuple[Face, Head] | None = None

    @property
    def name(self) -> str:
        """The word in tables and messages."""
        return "invert"

    @property
    def notices(self) -> list[str]:
        """That the memory was too small for whole batches, a line each time, or that nothing could
        be recorded on a GPU."""
        return [*self._halving.notices, *notices_of(self._invert)]

    def open(self, info: StreamInfo) -> StreamInfo:
        """Start anew: nothing is remembered of an earlier stream."""
        self._before = None
        self.gauge.clear()
        self._forget()
        return info

    def process(self, items: Sequence[Posed]) -> list[Inverted]:
        """1..batch packets in, as many out; a face that is the one before it costs nothing."""
        if self.first_branch is not None and any(item.cut for item in items):
            self.first_branch.forget()
        faces = [item.face for item in items if item.face is not None]
        news = [
            face
            for face, last in zip(faces, [self._last_face(), *faces], strict=False)
            if face is not last
        ]
        found = iter(self._halving(self.invert, news))
        inverted = []
        for item in items:
            if item.face is not None and item.face is not self._last_face():
                self._before = item.face, self._remembered(item, item.face, next(found))
            head = None if item.face is None or self._before is None else self._before[1]
            whole = Inverted(item.stamp, item.rgb, item.face, head, cut=item.cut)
            inverted.append(self._trusted(whole))
        return inverted

    def flush(self) -> tuple[()]:
        """Nothing is held; but a run of which no frame is good enough has failed."""
        reading = self.gauge.read()
        if reading is not None and reading.below == reading.frames:
            raise NoFaceError(
                f"no frame reaches the confidence of {reading.least:g}, the best has "
                f"{reading.quantiles[-1][1]:.2f}; give --min-confidence less"
            )
        return ()

    def state(self) -> State:
        """What is remembered of the shot."""
        return {key: part.state() for key, part in self._parts().items()}

    def restore(self, state: State) -> None:
        """Remember the same."""
        for key, part in self._parts().items():
            part.restore(state[key])

    def _parts(self) -> dict[str, HeadMemory | FirstBranch]:
        """Those that remember something of the shot."""
        parts = {"memory": self.memory, "first_branch": self.first_branch}
        return {key: part for key, part in parts.items() if part is not None}

    def _forget(self) -> None:
        """Begin a new shot."""
        for part in self._parts().values():
            part.forget()

    def _trusted(self, item: Inverted) -> Inverted:
        """The same, or what a frame without a face is where its head is not sure enough."""
        if item.head is None:
            return item
        self.gauge.add(item.head.confidence, item.stamp)
        if item.head.confidence >= self.gauge.least:
            return item
        return Inverted(item.stamp, item.rgb, None, None)

    def _remembered(self, item: Posed, face: Face, head: Head) -> Head:
        if self.memory is None:
            return head
        if item.cut:
            self.memory.forget()
        return replace(head, earlier=self.memory(face))

    def _last_face(self) -> Face | None:
        return None if self._before is None else self._before[0]

    def invert(self, faces: Sequence[Face]) -> list[Head]:
        """The heads of some faces, computed as one batch; each as if it were alone."""
        with torch.inference_mode(), in_precision(self.device, self.dtype):
            pictures, labels = network_input(faces, self.network.side, self.device)
            find = self._invert if self.first_branch is None else self.first_branch
            found = find(pictures, labels)
        errors = [0.0] * len(faces) if found.error is None else found.error.tolist()
        return [
            Head(latents, planes, confidence(face, error))
            for face, latents, planes, error in zip(
                faces, found.ws, found.planes, errors, strict=True
            )
        ]
