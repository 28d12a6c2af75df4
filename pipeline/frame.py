"""What travels through the pipeline: one packet type for each edge, and the stream they belong to.

Pictures between stages are uint8, [H, W, 3], RGB; time is an integer in ticks of a Fraction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Stamp:
    """Which frame this is; travels unchanged from decoder to encoder."""

    index: int
    """0, 1, 2, ... in the order read."""
    pts: int
    """Presentation time in ticks of StreamInfo.time_base."""


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """What a stage tells the next one before the first frame."""

    width: int
    """Pixels, upright and with square pixels."""
    height: int
    rate: Fraction
    """Nominal frames per second; the truth is in the stamps, so variable rates survive."""
    time_base: Fraction
    """Seconds per tick of every Stamp.pts."""
    frames: int | None
    """How many frames will come, as far as the container knows; None for live input."""
    still: bool = False
    """The source is one photograph, not a video."""


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """An upright picture in full-range BT.709 RGB."""

    stamp: Stamp
    rgb: Image
    """[H, W, 3]."""


@dataclass(frozen=True, slots=True, eq=False)
class Matted:
    """A picture and how much of each place is the person."""

    stamp: Stamp
    rgb: Image
    alpha: Image
    """[h, w], 0..255, covering the same picture; often coarser than rgb."""


@dataclass(frozen=True, slots=True, eq=False)
class Room:
    """A part of a picture without the person in it."""

    rgb: Image
    """[h, w, 3]."""
    top: int
    left: int
    """Where it is in the picture."""


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """One head, cut out in EG3D's framing, with the camera it was seen by."""

    crop: Image
    """[S, S, 3] RGB; the head upright."""
    alpha: Image
    """[S, S], 0..255: the matte of the crop."""
    camera: NDArray[np.float32]
    """[25] EG3D label: row-major camera-to-world 4x4 (position of length 2.7), then the
    row-major normalised intrinsics 3x3."""
    image_from_crop: NDArray[np.float64]
    """[2, 3] similarity: crop pixels to source pixels; holds the head's roll."""
    confidence: float
    """0..1, how sure the tracker is that this is a face seen from a usable side."""
    room: Room | None = None
    """What is behind the person, where that was asked for."""

    @property
    def side_px(self) -> float:
        """Side of the crop in the source, pixels."""
        turn = self.image_from_crop
        return math.hypot(turn[0, 0], turn[1, 0]) * float(self.crop.shape[0])


@dataclass(frozen=True, slots=True, eq=False)
class Posed:
    """A picture and its face; no face is a value."""

    stamp: Stamp
    rgb: Image
    face: Face | None
    cut: bool = False
    """The face was found anew here: memories of earlier frames no longer hold."""


@dataclass(frozen=True, slots=True, eq=False)
class Earlier:
    """The same head in an earlier frame, which saw the side that is hidden now."""

    face: Face
    share: float
    """0..1, how far it counts."""


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """A face lifted into 3D, on the device that computed it."""

    latents: Any
    """torch [L, D] W+ latents."""
    planes: Any
    """torch [3 * C, H, W] refined tri-planes T + ΔT."""
    confidence: float = 1.0
    """0..1, how far it can be trusted to look right from elsewhere."""
    unedited: Any = None
    """The planes before an edit; None where there was none. What they do not differ in is still
    what the source shows."""
    motion: Any = None
    """torch [3, h, w] by how much the edited surface was elsewhere before; None where it stayed,
    or where that is not known."""
    earlier: Earlier | None = None
    """What is remembered of its hidden side; None for nothing, and once it is edited."""


@dataclass(frozen=True, slots=True, eq=False)
class Inverted:
    """A picture, its face, and the face in 3D."""

    stamp: Stamp
    rgb: Image
    face: Face | None
    head: Head | None
    cut: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Rendered:
    """The finished picture."""

    stamp: Stamp
    rgb: Image
    """[S, S, 3], or wider for side by side."""
    alpha: Image | None = None
    """[S, S], 0..255, when the background is transparent; rgb is then straight."""


@dataclass(frozen=True, slots=True, eq=False)
class Views:
    """One frame from several sides."""

    stamp: Stamp
    rgb: Image
    """[H, W, 3] the source's picture."""
    pictures: tuple[Rendered, ...]
    """One for each viewpoint, of one size."""
