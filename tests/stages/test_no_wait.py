"""On a GPU nothing but a finished picture is waited for. A device without memory, "meta", stands
for the GPU: what it computes has a shape and no values, so that a wait for a value fails, and what
crosses from the host to it or back is seen."""

from __future__ import annotations

import traceback
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import pytest
import torch
from tiny import SIZES, random_face
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tpvideo.pipeline.frame import Earlier, Face, Head, Image, Inverted, Stamp
from tpvideo.stages import pixels
from tpvideo.stages.backdrop import parse_backdrop
from tpvideo.stages.invert import network_input
from tpvideo.stages.networks.triplanenet import TriPlaneNet
from tpvideo.stages.render import NovelView

ROOT = Path(__file__).resolve().parents[2]
META = torch.device("meta")
INDEXING = (Tensor.__getitem__, Tensor.__setitem__)
MAKING = (Tensor.new_tensor, torch.tensor)


class Lists(TorchFunctionMode):
    """Lists of numbers that become tensors of the device, as indices do."""

    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self.found = found

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        index = args[1] if func in INDEXING else ()
        parts = index if isinstance(index, tuple) else (index,)
        is_listed = any(isinstance(part, list) for part in parts) and args[0].device == META
        if is_listed or (func in MAKING and result.device == META):
            self.found.append(f"{func.__name__} at {traceback.extract_stack()[-2]}")
        return result


class Crossings(TorchDispatchMode):
    """Where operations bring the host's memory and the device's together, other than in
    pixels.uploaded, which does not wait; numbers of the host in a computation are no copies."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._lists = Lists(self.found)

    def __enter__(self) -> Self:
        self._lists.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *failure: Any) -> None:
        super().__exit__(*failure)
        self._lists.__exit__(*failure)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves((args, kwargs, result)) if isinstance(x, Tensor)]
        is_copy = "copy" in str(func)
        if len({tensor.device for tensor in tensors if tensor.ndim or is_copy}) > 1:
            ours = [
                frame
                for frame in traceback.extract_stack()
                if Path(frame.filename).is_relative_to(ROOT / "stages")
            ]
            where = [(frame.name, Path(frame.filename).name, frame.lineno) for frame in ours[-1:]]
            if not where or where[0][0] != "uploaded":
                self.found.append(f"{func} in {where}")
        return result


@pytest.fixture(autouse=True)
def no_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not know the device."""
    monkeypatch.setattr(torch, "autocast", lambda *args, **kwargs: nullcontext())


def network(**changes: Any) -> TriPlaneNet:
    with META:
        return TriPlaneNet(**{**SIZES, **changes}).eval().requires_grad_(False)


@torch.inference_mode()
@pytest.mark.parametrize(("canonical", "mirrored"), [(True, True), (False, False)])
def test_inversion_and_drawing_wait_for_nothing(canonical: bool, mirrored: bool) -> None:
    net = network(canonical=canonical, mirrored=mirrored)

    def work() -> None:
        pictures, cameras = network_input([random_face(1), random_face(2)], net.side, META)
        found = net.invert(pictures, cameras)
        net.render(found.planes, found.ws, cameras)

    work()  # layers fold constants into their weights the first time
    with Crossings() as crossings:
        work()
    assert crossings.found == []


def item(face: Face, head: Head) -> Inverted:
    return Inverted(Stamp(0, 0), face.crop, face, head)


@pytest.mark.parametrize(("on_neck", "backdrop"), [(True, None), (False, "black"), (False, "blur")])
def test_finished_pictures_are_all_that_is_waited_for(
    on_neck: bool, backdrop: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = network()
    faces = [random_face(1), random_face(2, yaw=-0.3)]
    planes = torch.empty(48, 16, 16, device=META)
    latents = torch.empty(net.decoder.latents, 16, device=META)
    heads = [Head(latents, planes, earlier=Earlier(faces[0], 0.5)), Head(latents, planes)]
    if not on_neck:
        motion = torch.zeros(3, 8, 8, device=META)
        heads = [replace(head, unedited=planes, motion=motion) for head in heads]
    finished: list[torch.Size] = []

    def as_if_finished(pictures: Tensor) -> list[Image]:
        finished.append(pictures.shape)
        return [faces[0].crop] * len(pictures)

    monkeypatch.setattr(pixels, "to_images", as_if_finished)
    view = NovelView(
        net, yaw_rad=-0.3, on_neck=on_neck, size=64, device=META, batch=2,
        backdrop=parse_backdrop(backdrop) if backdrop else None,
    )  # fmt: skip
    items = [item(*each) for each in zip(faces, heads, strict=True)]
    list(view.process(items[:1]))
    with Crossings() as crossings:
        drawn = list(view.process([replace(item, head=replace(item.head)) for item in items]))
    assert len(drawn) == 2 and (2, 3, 64, 64) in finished
    assert crossings.found == []


def test_what_waits_is_seen() -> None:
    there = torch.zeros(3, device=META)
    with Crossings() as crossings:
        there[[0, 2]]  # the indices are the host's
        there.new_tensor([1.0, 2.0])
        there + torch.zeros(3).to(META)
    assert len(crossings.found) == 3
    with Crossings() as crossings:
        pixels.to_tensor([random_face(1).crop], META)
        there[0:3:2]
    assert crossings.found == []
    with pytest.raises((NotImplementedError, RuntimeError)):
        there.sum().item()
