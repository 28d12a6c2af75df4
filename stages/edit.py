"""Move every head's latents along directions: a smile, another age (paper, appendix C)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from tpvideo.pipeline.errors import WeightsError
from tpvideo.pipeline.frame import Head, Inverted
from tpvideo.pipeline.stage import Stage
from tpvideo.stages.invert import in_precision
from tpvideo.stages.memory import Halving
from tpvideo.stages.networks.editing import edited_planes
from tpvideo.stages.networks.triplanenet import TriPlaneNet


class Edit(Stage[Inverted, Inverted]):
    """The same heads with something about them changed, by the same in every frame.

    Args:
        network: in evaluation mode on `device`; the one that inverted the heads.
        shift: [L, D] what is added to their latents.
        dtype: of convolutions and matrix products.
        batch: most heads edited together.

    Raises:
        WeightsError: the shift is for latents of another size.
    """

    def __init__(
        self,
        network: TriPlaneNet,
        shift: Tensor,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        batch: int = 4,
    ) -> None:
        wanted = (network.decoder.latents, len(network.latent_avg))
        if tuple(shift.shape) != wanted:
            raise WeightsError(
                f"the directions are for latents of {list(shift.shape)}, the model has "
                f"{list(wanted)}; find its own with tpvideo edit --discover"
            )
        self.network = network
        self.device = torch.device(device)
        self.shift = shift.to(self.device)
        self.dtype = dtype
        self.batch = batch
        self._halving = Halving(self.name)
        self._before: tuple[Head, Head] | None = None

    @property
    def name(self) -> str:
        """The word in tables and messages."""
        return "edit"

    @property
    def notices(self) -> list[str]:
        """That the memory was too small for whole batches, a line each time."""
        return self._halving.notices

    def process(self, items: Sequence[Inverted]) -> list[Inverted]:
        """1..batch packets in, as many out; a head that is the one before it costs nothing."""
        heads = [item.head for item in items if item.head is not None]
        before = [self._last_head(), *heads]
        news = [head for head, last in zip(heads, before, strict=False) if head is not last]
        found = iter(self._halving(self.edited, news))
        edited = []
        for item in items:
            if item.head is not None and item.head is not self._last_head():
                self._before = item.head, next(found)
            head = None if item.head is None or self._before is None else self._before[1]
            edited.append(replace(item, head=head))
        return edited

    def _last_head(self) -> Head | None:
        return None if self._before is None else self._before[0]

    def edited(self, heads: Sequence[Head]) -> list[Head]:
        """Some heads, computed as one batch; each as if it were alone."""
        with torch.inference_mode(), in_precision(self.device, self.dtype):
            ws = torch.stack([head.latents for head in heads])
            planes = torch.stack([head.planes for head in heads])
            moved = edited_planes(self.network, planes, ws, self.shift)
        return [
            Head(latents + self.shift, after, unedited=head.planes)
            for latents, after, head in zip(ws, moved, heads, strict=True)
        ]
