"""Goes on with smaller batches when the device's memory is too small for large ones."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from tpvideo.pipeline.errors import DeviceError

log = logging.getLogger(__name__)

In = TypeVar("In")
Out = TypeVar("Out")

SIGNS = (
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "DefaultCPUAllocator: can't allocate memory",
)
"""What torch says, in a plain RuntimeError, where its own class does not."""


class Halving:
    """Does the work of a stage in batches; halves them, for good, when the memory is too small.

    Args:
        stage: whose work it is, for the notice.
    """

    def __init__(self, stage: str) -> None:
        self.notices: list[str] = []
        """That batches became smaller, a line each time; also logged as warnings."""
        self._stage = stage
        self._most: int | None = None

    def __call__(
        self, work: Callable[[Sequence[In]], Sequence[Out]], items: Sequence[In]
    ) -> list[Out]:
        """The results of `work` on all items, in order.

        The result of an item does not depend on its batch, so that none is lost or changed.

        Raises:
            DeviceError: the memory is too small for a single item.
        """
        done: list[Out] = []
        while len(done) < len(items):
            batch = items[len(done) :][: self._most]
            try:
                done += work(batch)
                continue
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                if len(batch) == 1:
                    raise DeviceError(
                        f"the memory of the device is too small for one frame in {self._stage}; "
                        "close other programs that use it, or try --device cpu"
                    ) from error
            # Outside of the except: the error held on to what the work had allocated.
            self._halve(len(batch))
        return done

    def _halve(self, size: int) -> None:
        self._most = (size + 1) // 2
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        notice = (
            f"{self._stage}: out of memory with {size} frames at once; goes on with {self._most}"
        )
        self.notices.append(notice)
        log.warning("%s", notice)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error of torch says that memory is exhausted."""
    return isinstance(error, torch.OutOfMemoryError) or any(sign in str(error) for sign in SIGNS)
