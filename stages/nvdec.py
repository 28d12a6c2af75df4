"""Decodes on a GPU's own decoder, NVDEC, through the same PyAV; where there is none, as ever.

Frames come back to the host as NV12 or P010, under the times that they have from any decoder.
"""

from __future__ import annotations

from pathlib import Path

from av.codec.hwaccel import HWAccel, hwdevices_available
from av.container import InputContainer
from av.video.stream import VideoStream

from tpvideo.pipeline.errors import InputError
from tpvideo.stages.media import open_media


def open_on_gpu(path: Path, *, most_pixels: int) -> InputContainer:
    """A file for demuxing whose pictures NVDEC decodes if it can; see `why_not`.

    Raises:
        InputError: as open_media.
    """
    if "cuda" in hwdevices_available():
        try:
            device = HWAccel("cuda", allow_software_fallback=True)
            return open_media(path, most_pixels=most_pixels, hwaccel=device)
        except InputError:  # of the device or of the file; if the latter, then again
            pass
    return open_media(path, most_pixels=most_pixels)


def why_not(stream: VideoStream) -> str | None:
    """Why a stream of `open_on_gpu` is decoded by the processor; None where it is not."""
    if stream.codec_context.is_hwaccel:
        return None
    if "cuda" not in hwdevices_available():
        return "this PyAV has no NVDEC: decoded by the processor"
    return (
        f"NVDEC cannot be used here, or not for {stream.codec_context.name}: "
        "decoded by the processor"
    )
