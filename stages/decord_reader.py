"""Reads frames with decord instead of PyAV, for those who have it and want to compare.

decord turns pictures upright itself and honours colour tags, but takes untagged high definition for
BT.601, keeps stored pixel shapes, and counts time in floats. This makes it agree with the other
decoder; what it cannot do at all is an error that names the way out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter

from tpvideo.pipeline.errors import InputError, MissingExtraError
from tpvideo.pipeline.frame import Image
from tpvideo.stages.colour import assumed_matrix, decoded_with_bt709
from tpvideo.stages.media import INDEXED, open_media, pick_video
from tpvideo.stages.upright import Upright

WAY_OUT = "use the decoder av"


def decord_frames(path: Path) -> Iterator[tuple[int | None, Callable[[], Image]]]:
    """Every frame: its pts in the stream's time base, and how to get its picture.

    Raises:
        InputError: decord cannot read the file, or would lose or distort frames.
        MissingExtraError: decord is not installed.
    """
    upright, is_bt709 = _expectations(path)
    reader = _open_reader(path)
    times = _presentation_times(path)
    if len(reader) != len(times):
        reason = f"decord finds {len(reader)} frames where the file has {len(times)}; {WAY_OUT}"
        raise InputError(path, reason)
    reformatter = VideoReformatter()
    for index, pts in enumerate(times):
        try:
            picture: Image = reader.next().asnumpy()
        except Exception as error:  # decord's own error type derives from Exception alone
            raise InputError(path, f"decord fails at frame {index}; {WAY_OUT}") from error
        yield pts, _finisher(picture, upright, is_bt709, reformatter)


def _expectations(path: Path) -> tuple[Upright, bool]:
    """The size to reach, and whether the pictures need the matrix of BT.709."""
    with open_media(path) as container:
        # In files without an index decord repeats, drops and swaps frames without a word.
        if not INDEXED.intersection(container.format.name.split(",")):
            reason = f"decord misplaces frames of {container.format.name} files; {WAY_OUT}"
            raise InputError(path, reason)
        stream = pick_video(container, path)
        first = next(container.decode(stream), None)
        if first is None:
            raise InputError(path, "it has a video stream, but not one frame can be decoded")
        upright = Upright(first, stream.sample_aspect_ratio)
        if upright.grade.changes_pixels:
            raise InputError(path, f"decord cannot convert its wide colours; {WAY_OUT}")
        return upright, assumed_matrix(first) is Colorspace.ITU709


def _open_reader(path: Path) -> Any:
    try:
        import decord
    except ImportError as error:
        raise MissingExtraError("decord", "decord", "the decoder decord") from error
    decord.logging.set_level(decord.logging.FATAL)
    try:
        return decord.VideoReader(str(path.absolute()), ctx=decord.cpu(0))
    except Exception as error:  # DECORDError, and RuntimeError for what it has no decoder for
        raise InputError(path, f"decord cannot read it; {WAY_OUT}") from error


def _presentation_times(path: Path) -> list[int | None]:
    with open_media(path) as container:
        stream = pick_video(container, path)
        times = [
            packet.pts
            for packet in container.demux(stream)
            if packet.size and not packet.is_discard
        ]
    known = sorted(pts for pts in times if pts is not None)
    return [*known, *[None] * (len(times) - len(known))]


def _finisher(
    picture: Image, upright: Upright, is_bt709: bool, reformatter: VideoReformatter
) -> Callable[[], Image]:
    def finish() -> Image:
        result = decoded_with_bt709(picture) if is_bt709 else picture
        height, width, _ = result.shape
        if (width, height) == (upright.width, upright.height):
            return result
        resized = reformatter.reformat(
            VideoFrame.from_ndarray(np.ascontiguousarray(result), format="rgb24"),
            width=upright.width,
            height=upright.height,
            interpolation=Interpolation.BICUBIC,
        )
        return resized.to_ndarray().astype(np.uint8, copy=False)

    return finish
