"""Lift faces into EG3D's space: crops and cameras in, latents and refined tri-planes out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tpvideo.pipeline.checkpoint import State
from tpvideo.pipeline.errors import NoFaceError
from tpvideo.pipeline.frame import Earlier, Face, Head, Inverted, Posed, StreamInfo
from tpvideo.pipeline.gauge import Gauge
from tpvideo.pipeline.stage import LanedStage
from tpvideo.stages import pixels
from tpvideo.stages.confidence import LOW, confidence
from tpvideo.stages.first_branch import FirstAnswer, FirstBranch, together
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


@dataclass(frozen=True, slots=True)
class _New:
    """A face that is not the one before it."""

    face: Face
    earlier: Earlier | None
    """What is remembered of it."""
    first: FirstAnswer | None
    """What the first branch said of it, or of a frame shortly before; None where it is asked with
    the second one."""


class Inversion(LanedStage[Posed, list[_New], list[Head], Inverted]):
    """TriPlaneNet on every frame that shows a face; the others pass by in their place.

    Args:
        network: in evaluation mode on `device`.
        dtype: of convolutions and matrix products.
        batch: most faces inverted together.
        memory: of what earlier frames of a shot saw; None leaves every frame to itself.
        min_confidence: heads that are less sure pass by like frames without a face.
        first_every: the first branch looks at every n-th frame of a shot only; see first_branch.py.
        lanes, linger_s: see LanedStage.
    """

    def __init__(
        self,
        network: TriPlaneNet,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        batch: int = 4,
        lanes: int = 1,
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
        self._refine = replayed(self.name, network.refine, self.device)
        self.batch = batch
        self.lanes = lanes
        self.memory = memory
        self.gauge = Gauge("confidence", least=min_confidence, low_at=LOW)
        """How sure each head is; see confidence.py."""
        self.linger_s = linger_s
        self._halving = Halving(self.name)
        self._begun: Face | None = None  # the last one that came
        self._finished: Face | None = None  # and the last that went,
        self._head: Head | None = None  # with its head

    @property
    def name(self) -> str:
        """The word in tables and messages."""
        return "invert"

    @property
    def notices(self) -> list[str]:
        """That the memory was too small for whole batches, a line each time, or that nothing could
        be recorded on a GPU."""
        return [*self._halving.notices, *notices_of(self._invert), *notices_of(self._refine)]

    def open(self, info: StreamInfo) -> StreamInfo:
        """Start anew: nothing is remembered of an earlier stream."""
        self._begun = self._finished = self._head = None
        self.gauge.clear()
        self._forget()
        return info

    def prepare(self, items: Sequence[Posed]) -> list[_New]:
        """1..batch packets; a face that is the one before it costs nothing."""
        news = []
        for item in items:
            if item.cut:
                self._forget()
            if item.face is None or item.face is self._begun:
                continue
            self._begun = item.face
            earlier = None if self.memory is None else self.memory(item.face)
            first = None
            if self.first_branch is not None:
                (first,) = self._halving(self._look, [item.face])
            news.append(_New(item.face, earlier, first))
        return news

    def work(self, job: list[_New]) -> list[Head]:
        """The heads of the faces, with what is remembered of them."""
        heads = self._halving(
            lambda news: self.invert(
                [new.face for new in news], [new.first for new in news if new.first is not None]
            ),
            job,
        )
        return [
            head if new.earlier is None else replace(head, earlier=new.earlier)
            for head, new in zip(heads, job, strict=True)
        ]

    def finish(self, items: Sequence[Posed], made: list[Head]) -> list[Inverted]:
        """As many packets as came."""
        return list(self._inverted(items, made))

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

    def _inverted(self, items: Sequence[Posed], made: Sequence[Head]) -> Iterator[Inverted]:
        heads = iter(made)
        for item in items:
            if item.face is not None and item.face is not self._finished:
                self._finished, self._head = item.face, next(heads)
            head = None if item.face is None else self._head
            yield self._trusted(Inverted(item.stamp, item.rgb, item.face, head, cut=item.cut))

    def _trusted(self, item: Inverted) -> Inverted:
        """The same, or what a frame without a face is where its head is not sure enough."""
        if item.head is None:
            return item
        self.gauge.add(item.head.confidence, item.stamp)
        if item.head.confidence >= self.gauge.least:
            return item
        return Inverted(item.stamp, item.rgb, None, None)

    def _look(self, faces: Sequence[Face]) -> list[FirstAnswer]:
        """The first branch's answer for the one face that is next."""
        assert self.first_branch is not None
        with torch.inference_mode(), in_precision(self.device, self.dtype):
            side = self.network.side
            return [self.first_branch(lambda: network_input(faces, side, self.device)[0])]

    def invert(self, faces: Sequence[Face], firsts: Sequence[FirstAnswer] = ()) -> list[Head]:
        """The heads of some faces, computed as one batch; each as if it were alone.

        Args:
            faces: 1 or more.
            firsts: what the first branch says of each; where it is not given, it looks.
        """
        with torch.inference_mode(), in_precision(self.device, self.dtype):
            pictures, labels = network_input(faces, self.network.side, self.device)
            if firsts:
                found = self._refine(pictures, labels, *together(firsts))
            else:
                found = self._invert(pictures, labels)
        errors = [0.0] * len(faces) if found.error is None else found.error.tolist()
        return [
            Head(latents, planes, confidence(face, error))
            for face, latents, planes, error in zip(
                faces, found.ws, found.planes, errors, strict=True
            )
        ]
