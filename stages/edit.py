"""Move every head along directions: a smile, another age (paper, appendix C)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from tpvideo.pipeline.errors import WeightsError
from tpvideo.pipeline.frame import Head, Inverted
from tpvideo.pipeline.stage import Stage
from tpvideo.stages.invert import in_precision
from tpvideo.stages.memory import Halving
from tpvideo.stages.networks.editing import Shift, edited
from tpvideo.stages.networks.triplanenet import TriPlaneNet


class Edit(Stage[Inverted, Inverted]):
    """The same heads with something about them changed, by the same in every frame.

    Args:
        network: in evaluation mode on `device`; the one that inverted the heads.
        shift: by what they are moved.
        dtype: of convolutions and matrix products.
        batch: most heads edited together.

    Raises:
        WeightsError: the shift is for latents of another size.
    """

    def __init__(
        self,
        network: TriPlaneNet,
        shift: Shift,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        batch: int = 4,
    ) -> None:
        _expect_fit(shift, network)
        self.network = network
        self.device = torch.device(device)
        self.shift = Shift(*(None if part is None else part.to(self.device) for part in shift))
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
        found = iter(self._halving(self.edit, news))
        done = []
        for item in items:
            if item.head is not None and item.head is not self._last_head():
                self._before = item.head, next(found)
            head = None if item.head is None or self._before is None else self._before[1]
            done.append(replace(item, head=head))
        return done

    def _last_head(self) -> Head | None:
        return None if self._before is None else self._before[0]

    def edit(self, heads: Sequence[Head]) -> list[Head]:
        """Some heads, computed as one batch; each as if it were alone."""
        with torch.inference_mode(), in_precision(self.device, self.dtype):
            ws = torch.stack([head.latents for head in heads])
            planes = torch.stack([head.planes for head in heads])
            moved, latents = edited(self.network, planes, ws, self.shift)
        return [
            Head(own, after, unedited=head.planes, motion=self.shift.motion)
            for own, after, head in zip(latents, moved, heads, strict=True)
        ]


def _expect_fit(shift: Shift, network: TriPlaneNet) -> None:
    latents = (network.decoder.latents, len(network.latent_avg))
    channels = 3 * network.decoder.decoder.get_parameter("net.0.weight").shape[1]
    if (shift.latents is not None and tuple(shift.latents.shape) != latents) or (
        shift.planes is not None and len(shift.planes) != channels
    ):
        raise WeightsError(
            f"the directions do not fit the model, which has latents of {list(latents)} and "
            f"planes of {channels} channels; find its own with tpvideo edit"
        )
