"""What is seen behind the turned head."""

from __future__ import annotations

import re
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from tpvideo.pipeline.errors import ConfigError

NAMED = {"black": (0, 0, 0), "white": (255, 255, 255)}


class Backdrop(Protocol):
    """Makes the picture behind one head."""

    def __call__(self, crop: Tensor, alpha: Tensor, size: int) -> Tensor:
        """[3, size, size] in 0..1.

        Args:
            crop: [3, S, S] the source's crop, 0..1.
            alpha: [1, S, S] its matte, 0..1.
        """


class Plain:
    """One colour."""

    def __init__(self, colour: tuple[int, int, int]) -> None:
        self.colour = torch.tensor(colour).float().div(255)[:, None, None]

    def __call__(self, crop: Tensor, alpha: Tensor, size: int) -> Tensor:
        """See Backdrop."""
        return self.colour.to(crop.device).expand(-1, size, size)


class Behind:
    """The source's own surroundings, the person replaced by what is around them.

    Args:
        blur: soften all of it, as a lens out of focus does.
    """

    def __init__(self, *, blur: bool) -> None:
        self.blur = blur

    def __call__(self, crop: Tensor, alpha: Tensor, size: int) -> Tensor:
        """See Backdrop."""
        # Normalised averages of the visible background over ever wider neighbourhoods; the
        # narrowest that saw anything wins. The matte is widened first: its rim is not sharp.
        small = F.interpolate(crop[None], size=(64, 64), mode="area")
        person = F.max_pool2d(F.interpolate(alpha[None], size=(64, 64), mode="area"), 5, 1, 2)
        visible = 1 - person
        filled = (small * visible).sum((2, 3), keepdim=True) / visible.sum().clamp(min=1e-3)
        filled = filled.expand_as(small)
        for width in (33, 17, 9, 5):
            weight = F.avg_pool2d(visible, width, 1, width // 2)
            mean = F.avg_pool2d(small * visible, width, 1, width // 2) / weight.clamp(min=1e-4)
            filled = torch.lerp(filled, mean, (4 * weight).clamp(max=1))
        filled = F.avg_pool2d(F.pad(filled, (2, 2, 2, 2), mode="replicate"), 5, 1)
        wide = F.interpolate(filled, size=(size, size), mode="bicubic").clamp(0, 1)[0]
        if self.blur:
            return wide
        sharp = F.interpolate(crop[None], size=(size, size), mode="bilinear", antialias=True)[0]
        shown = F.interpolate(visible, size=(size, size), mode="bilinear")[0]
        return torch.lerp(wide, sharp, shown)


def parse_backdrop(text: str) -> Backdrop | None:
    """The backdrop of a name: black, white, #rrggbb, blur, source; None for transparent.

    Raises:
        ConfigError: none of these.
    """
    if text == "transparent":
        return None
    if text in NAMED:
        return Plain(NAMED[text])
    if text in {"blur", "source"}:
        return Behind(blur=text == "blur")
    if re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        red, green, blue = bytes.fromhex(text[1:])
        return Plain((red, green, blue))
    raise ConfigError(
        f"background must be black, white, #rrggbb, blur, source or transparent, got {text!r}"
    )
