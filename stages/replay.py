"""The same work on a GPU again and again, recorded once for a batch size as a CUDA graph.

A network of hundreds of small kernels spends its time on handing them over one by one; a recorded
graph hands over all of them at once.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import _get_current_dispatch_mode

log = logging.getLogger(__name__)

Work = Callable[..., Any]
"""Takes tensors [B, ...] and gives a tensor [B, ...] or a named tuple of such and None."""

WARM_UPS = 2
"""Calls before a recording, in which libraries choose algorithms and kernels are compiled."""

_recording = threading.Lock()
"""A device records for one thread at a time."""


@dataclass(frozen=True, slots=True)
class Recording:
    """Work that was recorded."""

    inputs: Sequence[Tensor]
    """What it reads; filled anew before each replay."""
    result: Any
    """What it writes, the same memory each time."""
    replay: Callable[[], None]


Record = Callable[[Callable[[], Any], Sequence[Tensor]], Recording]
"""Records a call that takes no arguments and reads these inputs."""


class Replay:
    """Does `work` as recorded graphs, one for each batch size that is a power of two and each set
    of options; a batch between two sizes is filled up with its last item.

    Where recording fails the work is done as ever, from then on, with one notice. So it is where
    every operation is looked at, as a counter of operations does.

    Args:
        name: of what is done, for the notice.
        work: keeps nothing between calls, and no item's result depends on its batch.
        record: how it is recorded.
    """

    def __init__(self, name: str, work: Work, record: Record | None = None) -> None:
        self.name = name
        self.work = work
        self.notices: list[str] = []
        """That recording failed; also logged as a warning."""
        self._record = record or record_graph
        self._recordings: dict[tuple[object, ...], Recording] = {}

    def __call__(self, *inputs: Tensor, **options: Any) -> Any:
        """What `work` gives for inputs [B, ...] and these options."""
        if self.notices or torch.is_grad_enabled() or _get_current_dispatch_mode() is not None:
            return self.work(*inputs, **options)
        count = len(inputs[0])
        size = 1 << (count - 1).bit_length()
        key = (size, *((each.shape[1:], each.dtype) for each in inputs), *options.items())
        recording = self._recordings.get(key)
        if recording is None:
            filled = [_filled(torch.cat([each[:1]] * size), each) for each in inputs]
            try:
                with _recording:
                    recording = self._record(lambda: self.work(*filled, **options), filled)
            except RuntimeError as error:
                self._give_up(error)
                return self.work(*inputs, **options)
            self._recordings[key] = recording
        for static, given in zip(recording.inputs, inputs, strict=True):
            _filled(static, given)
        recording.replay()
        return _each(recording.result, lambda tensor: tensor[:count].clone())

    def _give_up(self, error: RuntimeError) -> None:
        self._recordings.clear()
        reason = str(error).strip().splitlines()[0]
        notice = f"{self.name}: no CUDA graph could be recorded, goes on without: {reason}"
        self.notices.append(notice)
        log.warning("%s", notice)


def replayed(name: str, work: Work, device: torch.device) -> Work:
    """`work` as recorded graphs where the device is a GPU; else itself."""
    return Replay(name, work) if device.type == "cuda" else work


def notices_of(work: Work) -> list[str]:
    """What there is to say of work that may be recorded."""
    return work.notices if isinstance(work, Replay) else []


def record_graph(call: Callable[[], Any], inputs: Sequence[Tensor]) -> Recording:
    """Record a call on the current GPU.

    Raises:
        RuntimeError: something in it cannot be recorded, or memory is short.
    """
    aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(WARM_UPS):
            call()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    # The threads of other stages go on meanwhile, and may do what a recording may not.
    with torch.cuda.graph(graph, stream=aside, capture_error_mode="thread_local"):
        result = call()
    return Recording(inputs, result, graph.replay)


def _filled(static: Tensor, given: Tensor) -> Tensor:
    """`static` [N, ...] with what is given [B, ...], B <= N, and the last of it up to the end."""
    static[: len(given)].copy_(given)
    if len(given) < len(static):
        static[len(given) :].copy_(given[-1:])
    return static


def _each(result: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A result with every tensor in it changed."""
    if isinstance(result, Tensor):
        return change(result)
    if isinstance(result, tuple):
        changed = [_each(part, change) for part in result]
        return type(result)(*changed) if hasattr(result, "_fields") else tuple(changed)
    return result
