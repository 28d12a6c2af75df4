"""Put the turned head back into its own picture: the person turns where they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from tpvideo.pipeline.checkpoint import State
from tpvideo.pipeline.frame import Face, Image, Inverted, Rendered, StreamInfo
from tpvideo.pipeline.losses import Losses
from tpvideo.pipeline.stage import Stage
from tpvideo.stages.cut import at_size
from tpvideo.stages.lay import lay, place_of
from tpvideo.stages.neck import NECK, eased
from tpvideo.stages.render import NovelView

EDGE = 0.06
"""Share of the crop's side over which the drawn head gives way to the picture: at the left, the
right and the upper edge. At the lower one it is what NECK leaves."""

BODY, NECK_WIDTH = 0.68, 0.5
"""From this height in the crop on, less and less beside the middle is taken for the head; and what
is still where the neck ends, as a share of the crop's width."""

STEP_PX = 64
SIZES_PX = (128, 1024)
"""Heads are drawn as large as they are in the picture, in steps, within these."""


class InFrame(Stage[Inverted, Rendered]):
    """The source's pictures with the head in them turned; without a face, as they are.

    Args:
        view: draws the head, with transparency, on its neck; its faces have a room.
    """

    def __init__(self, view: NovelView) -> None:
        self.view = view
        self.batch = view.batch
        self.linger_s = view.linger_s

    @property
    def name(self) -> str:
        """The word in tables and messages."""
        return self.view.name

    @property
    def losses(self) -> Losses:
        """The frames without a head."""
        return self.view.losses

    @property
    def notices(self) -> list[str]:
        """What the view has to tell."""
        return self.view.notices

    def open(self, info: StreamInfo) -> StreamInfo:
        """The output has the source's size."""
        self.view.open(info)
        return info

    def process(self, items: Sequence[Inverted]) -> Iterator[Rendered]:
        """1..batch packets in, as many out."""
        for size, group in groupby(items, lambda item: self._drawn_px(item.face)):
            alike = list(group)
            self.view.size = size
            for item, drawn in zip(alike, self.view.process(alike), strict=True):
                if item.face is None or item.head is None:
                    yield Rendered(item.stamp, item.rgb)
                else:
                    yield Rendered(item.stamp, composed(item.rgb, item.face, drawn))

    def flush(self) -> tuple[()]:
        """Nothing is held; raises NoFaceError where no frame showed a face."""
        return self.view.flush()

    def state(self) -> State:
        """What the view remembers."""
        return self.view.state()

    def restore(self, state: State) -> None:
        """Let the view remember."""
        self.view.restore(state)

    def _drawn_px(self, face: Face | None) -> int:
        """Side of the picture that a face is drawn at."""
        if face is None:
            return self.view.size
        least, most = SIZES_PX
        return min(max(least, -int(-face.side_px // STEP_PX) * STEP_PX), most)


def composed(rgb: Image, face: Face, drawn: Rendered) -> Image:
    """The picture [H, W, 3] with a drawn head in the place of its own.

    Where the drawn head counts by the share w and covers by its opacity a, the result is
    w (a head + (1 - a) room) + (1 - w) picture.

    Args:
        rgb: the picture.
        face: where the head is in it, and the room behind.
        drawn: the head, [S, S, 3] and [S, S] opacity, of the same square as the face's crop.
    """
    assert face.room is not None and drawn.alpha is not None
    size = drawn.rgb.shape[0]
    turn = at_size(face.image_from_crop, face.crop.shape[0], size)
    place = place_of(turn, size, rgb)
    share = counts(size)
    cover = share * (drawn.alpha / 255)
    # the room's share of what the head leaves uncovered: w (1 - a) of 1 - w a
    room = (share - cover) / np.maximum(1 - cover, 1e-3)
    layer = np.dstack([drawn.rgb, _levels(cover)])
    head = Pillow.fromarray(lay(layer, turn, place))
    behind = Pillow.fromarray(lay(_levels(room), turn, place))
    part = Pillow.fromarray(face.room.rgb)
    here = Pillow.fromarray(np.ascontiguousarray(rgb[place.rows, place.columns]))
    here.paste(part, mask=behind)
    here.paste(head, mask=head.getchannel("A"))
    result = rgb.copy()
    result[place.rows, place.columns] = np.asarray(here)
    return result


@cache
def counts(size: int) -> NDArray[np.float64]:
    """[size, size] how far, 0..1, what is drawn counts: not at the edges, where the picture goes
    on, and not beside the neck, where the body does."""
    at = (np.arange(size) + 0.5) / size
    low = eased((at - BODY) / (NECK[1] - BODY))
    half = 0.5 - low * (0.5 - NECK_WIDTH / 2)  # [size] of the width that counts at each height
    inside = half[:, None] - np.abs(at - 0.5)  # [size, size]
    down = eased(at / EDGE) * eased((1 - at) / (1 - NECK[1]))
    share: NDArray[np.float64] = down[:, None] * eased(inside / EDGE)
    return share


def _levels(share: NDArray[np.float64]) -> Image:
    return np.rint(share * 255).astype(np.uint8)
