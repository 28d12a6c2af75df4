"""Reads photographs: upright by their EXIF, in sRGB, transparency over white."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import ImageCms, ImageOps, UnidentifiedImageError

from tpvideo.pipeline.errors import InputError
from tpvideo.pipeline.frame import Image
from tpvideo.stages.media import expect_file

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
NEVER_MOVING = frozenset({"JPEG", "MPO", "BMP", "TIFF"})
"""Formats whose further pictures are previews or pages, not frames."""
MOST_MEGAPIXELS = 100


def read_still(path: Path) -> Image | None:
    """The photograph as [H, W, 3] uint8 sRGB, or None when the file is something else.

    Animated pictures are something else: they are videos. sRGB and BT.709 share their primaries,
    and between stages no difference is made between the two transfer curves.

    Raises:
        InputError: the file is missing, a damaged photograph, or too large to be one.
    """
    expect_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Pillow.DecompressionBombWarning)  # own limit below
            with Pillow.open(path, formats=FORMATS) as photo:
                if photo.format not in NEVER_MOVING and getattr(photo, "is_animated", False):
                    return None
                expect_sane_size(path, *photo.size)
                return _upright_rgb(photo)
    except UnidentifiedImageError:
        return None
    except Pillow.DecompressionBombError as error:
        reason = f"is more than {MOST_MEGAPIXELS} megapixels; make it smaller"
        raise InputError(path, reason) from error
    except PermissionError as error:
        raise InputError(path, "permission denied") from error
    except InputError:
        raise
    except Exception as error:  # Pillow lets IndexError, struct.error and more out of damaged files
        raise InputError(path, "a damaged picture; open and save it in another program") from error


def expect_sane_size(path: Path, width: int, height: int) -> None:
    """Refuse pictures whose pixels alone would fill the memory."""
    if width * height > MOST_MEGAPIXELS * 1_000_000:
        reason = f"{width}x{height} is more than {MOST_MEGAPIXELS} megapixels; make it smaller"
        raise InputError(path, reason)


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
