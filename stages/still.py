"""Reads photographs: upright by their EXIF, in sRGB, transparency over white."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import ImageCms, ImageOps, UnidentifiedImageError

from tpvideo.pipeline.errors import InputError
from tpvideo.pipeline.frame import Image
from tpvideo.stages.limits import Limits
from tpvideo.stages.media import expect_file

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
NEVER_MOVING = frozenset({"JPEG", "MPO", "BMP", "TIFF"})
"""Formats whose further pictures are previews or pages, not frames."""


def read_still(path: Path, limits: Limits) -> Image | None:
    """The photograph as [H, W, 3] uint8 sRGB, or None when the file is something else.

    Animated pictures are something else: they are videos. sRGB and BT.709 share their primaries,
    and between stages no difference is made between the two transfer curves.

    Raises:
        InputError: the file is missing, a damaged photograph, or beyond the limits.
    """
    expect_file(path)
    try:
        with _without_pillows_limit(), Pillow.open(path, formats=FORMATS) as photo:
            limits.expect_size(path, *photo.size)
            if photo.format not in NEVER_MOVING and getattr(photo, "is_animated", False):
                return None
            return _upright_rgb(photo)
    except UnidentifiedImageError:
        return None
    except PermissionError as error:
        raise InputError(path, "permission denied") from error
    except InputError:
        raise
    except Exception as error:  # Pillow lets IndexError, struct.error and more out of damaged files
        raise InputError(path, "a damaged picture; open and save it in another program") from error


@contextmanager
def _without_pillows_limit() -> Iterator[None]:
    """Our own limit is looked at as soon as the size is known; Pillow's cannot be raised."""
    usual, Pillow.MAX_IMAGE_PIXELS = Pillow.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Pillow.MAX_IMAGE_PIXELS = usual


def _upright_rgb(photo: Pillow.Image) -> Image:
    profile = photo.info.get("icc_profile")
    upright = ImageOps.exif_transpose(photo)
    if upright.mode.startswith(("I", "F")):  # 16-bit grey
        grey = np.asarray(upright, np.float64)
        scale = 255 / 65535 if grey.max() > 255 else 1
        upright = Pillow.fromarray(np.clip(grey * scale, 0, 255).astype(np.uint8))
    if "A" in upright.getbands() or "transparency" in upright.info:
        layered = upright.convert("RGBA")
        white = Pillow.new("RGBA", layered.size, (255, 255, 255, 255))
        upright = Pillow.alpha_composite(white, layered).convert("RGB")
    elif profile and upright.mode == "RGB":
        upright = _to_srgb(upright, profile)
    return np.asarray(upright.convert("RGB"), np.uint8).copy()


def _to_srgb(picture: Pillow.Image, profile: bytes) -> Pillow.Image:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"))
    except (ImageCms.PyCMSError, OSError):
        return picture  # a broken profile says nothing; viewers ignore it too
    return converted if converted is not None else picture
