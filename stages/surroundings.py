"""What is behind the person: the picture without them, from other frames or continued from around.

A plate of the shot keeps every place at which the room was seen. Where the person hides it now, the
plate shows it; what no frame has shown yet is continued smoothly from around the person. The plate
holds as long as what is seen beside the person still agrees with it: after a cut, or when the
camera moves, it begins anew. Only frames that have been are used, and one picture is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image as Pillow
from torch import Tensor

from tpvideo.pipeline.checkpoint import State
from tpvideo.pipeline.frame import Face, Image, Posed, Room, StreamInfo
from tpvideo.pipeline.stage import Stage
from tpvideo.stages.cut import at_size, cut
from tpvideo.stages.lay import Place, lay, place_of

COARSE_PX = 128
"""Side of a crop at which what is smooth is computed."""

RIM, WIDER_RIM = 3, 6
"""Cells of it by which the matte is widened for what is taken out of the picture, and for what is
not believed to be the room: a matte's rim is not sharp, and hair reaches beyond it."""

STALE_LEVELS = 10.0
"""Mean difference, in levels of 255, of the fine structure beside the person from which on the
plate is another shot's."""

ENOUGH = 0.02
"""Share of the crop that must be seen to tell."""


class Surroundings(Stage[Posed, Posed]):
    """Give every face the room that is behind it."""

    def __init__(self) -> None:
        self.plate = Plate()
        self._before: tuple[Face, Face] | None = None  # the last one as it came and as it went

    @property
    def name(self) -> str:
        """The word in tables and messages."""
        return "room"

    def open(self, info: StreamInfo) -> StreamInfo:
        """Start anew: no place of the room was seen."""
        self.plate.forget()
        self._before = None
        return info

    def process(self, items: Sequence[Posed]) -> list[Posed]:
        """The same packets; every face has a room."""
        return [self._emptied(item) for item in items]

    def state(self) -> State:
        """The plate."""
        return self.plate.state()

    def restore(self, state: State) -> None:
        """Go on with an earlier plate."""
        self.plate.restore(state)

    def _emptied(self, item: Posed) -> Posed:
        if item.face is None:
            return item
        if self._before is None or self._before[0] is not item.face:
            room = empty_room(item.rgb, item.face, self.plate)
            self._before = item.face, replace(item.face, room=room)
        return replace(item, face=self._before[1])


class Plate:
    """The room as far as it was seen, in the places of the picture."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Nothing was seen."""
        self.rgb: Image = np.zeros((0, 0, 3), np.uint8)
        """[H, W, 3]."""
        self.known: Image = np.zeros((0, 0), np.uint8)
        """[H, W], 255 where the room was seen, else 0."""

    def fit(self, picture: Image) -> None:
        """Make room for pictures of this size."""
        if self.rgb.shape != picture.shape:
            self.rgb = np.zeros_like(picture)
            self.known = np.zeros(picture.shape[:2], np.uint8)

    def add(self, picture: Image, visible: Image, place: Place) -> None:
        """Keep what is seen for the first time, where `visible` [h, w] at a place is 255."""
        known = self.known[place.rows, place.columns]
        news = (visible == 255) & (known == 0)
        self.rgb[place.rows, place.columns][news] = picture[place.rows, place.columns][news]
        known[news] = 255

    def state(self) -> State:
        """Size and the part that is known; see Stage.state."""
        rows, columns = (np.flatnonzero(self.known.any(axis=axis)) for axis in (1, 0))
        if not len(rows):
            return {"size": list(self.known.shape), "part": None}
        top, left = int(rows[0]), int(columns[0])
        part = slice(top, int(rows[-1]) + 1), slice(left, int(columns[-1]) + 1)
        kept = {"rgb": self.rgb[part].copy(), "known": self.known[part].copy()}
        return {"size": list(self.known.shape), "part": {"corner": [top, left], **kept}}

    def restore(self, state: State) -> None:
        """Go on from an earlier `state`."""
        height, width = state["size"]
        self.fit(np.zeros((height, width, 3), np.uint8))
        if (part := state["part"]) is not None:
            top, left = part["corner"]
            rows, columns = part["known"].shape
            self.rgb[top : top + rows, left : left + columns] = part["rgb"]
            self.known[top : top + rows, left : left + columns] = part["known"]


def empty_room(rgb: Image, face: Face, plate: Plate) -> Room:
    """The picture around a face without the person, and the plate as it is then.

    Args:
        rgb: [H, W, 3] the whole picture.
        face: its face, with its matte.
        plate: of earlier pictures; learns what this one shows.
    """
    plate.fit(rgb)
    crop_px = face.crop.shape[0]
    place = place_of(face.image_from_crop, crop_px, rgb)
    coarse_from = face.image_from_crop.copy()
    coarse_from[:, :2] *= crop_px / COARSE_PX
    person = _widened(face.alpha, RIM)  # [1, 1, C, C]
    outside = 1 - _widened(face.alpha, WIDER_RIM)
    seen = _planes(cut(rgb, coarse_from, COARSE_PX))
    kept = _planes(cut(plate.rgb, coarse_from, COARSE_PX))
    known = (_planes(cut(plate.known, coarse_from, COARSE_PX, "matte")) > 0.99).float()
    both = outside * known
    change = continued(seen - kept, both)
    if _is_stale(seen - kept, change, both):
        plate.forget()
        plate.fit(rgb)
    filled = lay(_levels(continued(seen, 1 - person)), coarse_from, place)
    _recall(filled, plate, change, coarse_from, place)
    hidden = Pillow.fromarray(lay(_levels(person), coarse_from, place))
    here = Pillow.fromarray(np.ascontiguousarray(rgb[place.rows, place.columns]))
    emptied = Pillow.composite(Pillow.fromarray(filled), here, hidden)
    plate.add(rgb, lay(_levels((outside > 0.5).float()), coarse_from, place), place)
    return Room(np.asarray(emptied), place.top, place.left)


def room_at(rgb: Image, face: Face, size: int) -> Image:
    """[size, size, 3] the square of a face's crop, without the person, at this size."""
    room = face.room
    assert room is not None
    emptied = rgb.copy()
    rows, columns, _ = room.rgb.shape
    emptied[room.top : room.top + rows, room.left : room.left + columns] = room.rgb
    return cut(emptied, at_size(face.image_from_crop, face.crop.shape[0], size), size)


def continued(values: Tensor, weight: Tensor) -> Tensor:
    """[1, C, S, S] values, where their weight [1, 1, S, S] is 1; elsewhere what is around, the
    smoother the farther: means over squares that grow until they hold something known."""
    total = torch.cat([values * weight, weight], dim=1)
    levels = [total]
    while levels[-1].shape[-1] > 1:
        levels.append(F.avg_pool2d(levels[-1], 2))
    filled = levels[-1][:, :-1] / levels[-1][:, -1:].clamp(min=1e-6)
    for level in reversed(levels[:-1]):
        share = level[:, -1:]
        wide = F.interpolate(filled, scale_factor=2, mode="bilinear", align_corners=False)
        own = level[:, :-1] / share.clamp(min=1e-6)
        # what is known a little says more of its place than what is far away
        filled = torch.lerp(wide, own, (share if level is total else 4 * share).clamp(max=1))
    return filled


def _recall(
    filled: Image, plate: Plate, change: Tensor, coarse_from: NDArray[np.float64], place: Place
) -> None:
    """Put what the plate knows into a filled place [h, w, 3], as bright as it is now."""
    known = plate.known[place.rows, place.columns] == 255
    if not known.any():
        return
    brighter = lay(_levels(change / 2 + 0.5), coarse_from, place)[known].astype(np.int16)
    now = plate.rgb[place.rows, place.columns][known] + 2 * (brighter - 128)
    filled[known] = now.clip(0, 255)


def _is_stale(difference: Tensor, change: Tensor, weight: Tensor) -> bool:
    """Whether what is seen differs from the plate in more than a smooth change of light."""
    total = float(weight.sum())
    if total < ENOUGH * weight.numel():
        return False
    smooth = F.avg_pool2d(change, 9, 1, 4)
    fine = (difference - smooth).abs().mean(dim=1, keepdim=True)
    return float((fine * weight).sum()) * 255 > STALE_LEVELS * total


def _widened(alpha: Image, cells: int) -> Tensor:
    """[1, 1, C, C] 0..1, a matte with a wider, soft rim."""
    side = alpha.shape[0]
    small = F.interpolate(_planes(alpha), size=(COARSE_PX, COARSE_PX), mode="area")
    wide = F.max_pool2d((4 * small).clamp(max=1), 2 * cells + 1, 1, cells)
    assert side == alpha.shape[1]
    return F.avg_pool2d(F.pad(wide, (1, 1, 1, 1), mode="replicate"), 3, 1)


def _planes(picture: Image) -> Tensor:
    """[1, C, H, W] 0..1 of a picture or a matte."""
    array = picture if picture.ndim == 3 else picture[:, :, None]
    return torch.from_numpy(array.astype(np.float32) / 255).permute(2, 0, 1)[None]


def _levels(planes: Tensor) -> Image:
    """[H, W, 3], or [H, W] of one channel, in 0..255."""
    array = (planes[0].permute(1, 2, 0) * 255).round().clamp(0, 255).to(torch.uint8).numpy()
    return np.ascontiguousarray(array[..., 0] if array.shape[-1] == 1 else array)
