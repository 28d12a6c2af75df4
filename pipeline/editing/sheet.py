"""Edited faces side by side: figures 16 and 17 of the paper, and what components do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from tpvideo.pipeline.editing.faces import Studio
from tpvideo.pipeline.errors import OutputError
from tpvideo.pipeline.frame import Head, Image, Inverted, Posed
from tpvideo.stages.edit import Edit
from tpvideo.stages.networks.inverters import Inverter
from tpvideo.stages.networks.triplanenet import TriPlaneNet
from tpvideo.stages.paint import crop_at
from tpvideo.stages.render import NovelView
from tpvideo.weights.directions import Directions

CAPTION_PX = 18


@dataclass(frozen=True, slots=True)
class Look:
    """How the pictures of a sheet are made."""

    strengths: Sequence[float] = (-2.0, 0.0, 2.0)
    yaws_rad: Sequence[float] = (0.0,)
    side_px: int = 256
    detail: bool = True


@dataclass(frozen=True, slots=True)
class Sitter:
    """A face that was inverted."""

    name: str
    seen: Posed
    head: Head
    network: TriPlaneNet
    """What draws it; one of its own where the inverter tuned it."""


def inverted(studio: Studio, name: str, seen: Posed, invert: Inverter) -> Sitter:
    """A face put into 3D by whatever inverter."""
    assert seen.face is not None
    pictures, labels = studio.tensors([seen.face])
    network = studio.networks.triplane
    found = invert(pictures, labels, network)
    return Sitter(name, seen, Head(found.ws[0], found.planes[0]), found.tuned or network)


def edits_sheet(
    studio: Studio, sitters: Sequence[Sitter], known: Directions, name: str, look: Look
) -> Image:
    """Rows of faces; columns of the input, then every strength of a direction from every yaw."""
    headings = ["input"]
    headings += [
        f"{name} {strength:+g}, yaw {yaw_rad:+g}" if strength else f"as it is, yaw {yaw_rad:+g}"
        for strength in look.strengths
        for yaw_rad in look.yaws_rad
    ]
    rows = []
    for sitter in sitters:
        assert sitter.seen.face is not None
        row = [crop_at(sitter.seen.rgb, sitter.seen.face, look.side_px)]
        row += _edited(studio, sitter, known, name, look)
        rows.append((sitter.name, row))
    return sheet(headings, rows)


def components_sheet(studio: Studio, sitter: Sitter, known: Directions, look: Look) -> Image:
    """Rows of directions; columns of strengths."""
    headings = [f"{strength:+g}, yaw {yaw:+g}" for strength in look.strengths
                for yaw in look.yaws_rad]  # fmt: skip
    rows = [(name, list(_edited(studio, sitter, known, name, look))) for name in known.by_name]
    return sheet(headings, rows)


def _edited(
    studio: Studio, sitter: Sitter, known: Directions, name: str, look: Look
) -> Iterator[Image]:
    device, dtype = studio.machine.device, studio.machine.dtype
    seen = sitter.seen
    item = Inverted(seen.stamp, seen.rgb, seen.face, sitter.head)
    for strength in look.strengths:
        shown = item
        if strength:
            shift = known.shift([(name, strength)], name)
            [shown] = Edit(sitter.network, shift, device=device, dtype=dtype).process([item])
        for yaw_rad in look.yaws_rad:
            view = NovelView(
                sitter.network,
                yaw_rad=yaw_rad,
                detail=look.detail,
                size=look.side_px,
                device=device,
                dtype=dtype,
            )
            [drawn] = view.process([shown])
            assert drawn.alpha is not None  # no backdrop, so it is transparent
            yield (drawn.rgb * (drawn.alpha[..., None] / 255.0)).round().astype(np.uint8)


def sheet(headings: Sequence[str], rows: Sequence[tuple[str, Sequence[Image]]]) -> Image:
    """Pictures of one side in rows, each row under its name, columns under headings."""
    strips = [_caption(headings, rows[0][1][0].shape[1])]
    for name, pictures in rows:
        whole = np.concatenate(list(pictures), axis=1)
        strips += [_caption([name], whole.shape[1]), whole]
    return np.concatenate(strips)


def _caption(texts: Sequence[str], width: int) -> Image:
    """[CAPTION_PX, width of all, 3] texts in cells of a width."""
    line = Pillow.new("RGB", (width * len(texts), CAPTION_PX), "black")
    draw, font = ImageDraw.Draw(line), ImageFont.load_default(12)
    for number, text in enumerate(texts):
        draw.text((number * width + 4, 1), text, fill="white", font=font)
    return np.asarray(line)


def save(picture: Image, path: Path) -> None:
    """Write a sheet.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        Pillow.fromarray(picture).save(path)
    except (OSError, ValueError) as error:
        raise OutputError(path, str(error)) from error
