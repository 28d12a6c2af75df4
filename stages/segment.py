"""Encodes some frames of a film into a file of their own, with an encoder of their own.

A film is encoded segment by segment, so that a run which was interrupted between two of them goes
on with the very pictures that it would have made undisturbed.
"""

from __future__ import annotations

import errno
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, VideoReformatter
from av.video.stream import VideoStream

from tpvideo.pipeline.frame import Rendered, StreamInfo
from tpvideo.stages.codecs import Recipe
from tpvideo.stages.media import file_url

KEYFRAMES_S = 2
"""Longest time between keyframes, and so the length of a fragment."""
FRAGMENTS = "frag_keyframe+delay_moov"
PROBE_BYTES = 1 << 20


def segment_format(target: Path, recipe: Recipe) -> str:
    """Fragmented mp4 keeps times exactly; ProRes needs mov, and the alpha of VP9 needs WebM."""
    if target.suffix.lower() == ".mov":
        return "mov"
    is_webm = target.suffix.lower() == ".webm" or (recipe.codec.name == "vp9" and recipe.has_alpha)
    return "webm" if is_webm else "mp4"


class SegmentWriter:
    """One segment, written in fragments (or clusters) that are each complete."""

    def __init__(
        self,
        path: Path,
        container_format: str,
        recipe: Recipe,
        crf: int,
        info: StreamInfo,
        tag: str | None,
    ) -> None:
        """Start the encoder and the file; `tag` is the codec's four letters, None for the usual.

        Raises:
            av.error.FFmpegError, OSError: the file cannot be made, or the encoder refuses the size.
        """
        self.path = path
        self.times: list[int] = []
        """Of the frames so far, in ticks of info.time_base, rising."""
        self._info = info
        self._recipe = recipe
        self._written: list[int] = []
        self._reformatter = VideoReformatter()
        path.touch()  # FFmpeg makes the file only when the first packet comes
        options = {} if container_format == "webm" else {"movflags": FRAGMENTS}
        self._container: OutputContainer = av.open(
            file_url(path), "w", format=container_format, options=options
        )
        self._stream = self._add_stream(crf, tag)
        self._stream.codec_context.open()

    def encode(self, item: Rendered) -> None:
        """Take one frame, padded to even sides; later than all before."""
        frame = self._picture(item)
        self.times.append(item.stamp.pts)
        frame.pts = item.stamp.pts - self.times[0]
        frame.time_base = self._info.time_base
        self._mux(frame)

    def finish(self) -> int:
        """Complete the file; how many frames its packets are out of order by, at most.

        Raises:
            av.error.FFmpegError, OSError: the disk did not take all of it.
        """
        self._mux(None)
        self._container.close()
        self._expect_whole()
        places = {time: place for place, time in enumerate(sorted(self._written))}
        return max(place - places[time] for place, time in enumerate(self._written))

    def discard(self) -> None:
        """Close and remove the file."""
        with suppress(av.error.FFmpegError):  # on a full disk; the file is thrown away
            self._container.close()
        with suppress(OSError):  # not there, or its folder is gone
            self.path.unlink()

    def _expect_whole(self) -> None:
        """Read the file back: FFmpeg tells of no full disk where it writes fragments."""
        with suppress(av.error.FFmpegError), av.open(file_url(self.path)) as written:
            packets = [packet for packet in written.demux(video=0) if packet.size]
            # Sizes may differ, for a container writes H.264 in its own form.
            if len(packets) == len(self._written) and not any(p.is_corrupt for p in packets):
                return
        with open(self.path, "ab") as file:  # asked once more, the system says why
            file.write(bytes(PROBE_BYTES))
        raise OSError(errno.EIO, "the disk did not take all that was written")

    def _mux(self, frame: VideoFrame | None) -> None:
        packets = self._stream.encode(frame)
        if frame is None and len(self.times) <= 2:  # so few are never out of order
            for packet in packets:
                packet.dts = packet.pts  # x265 never sets theirs: they are what lay in memory
        self._written += [packet.pts for packet in packets if packet.pts is not None]
        self._container.mux(packets)

    def _add_stream(self, crf: int, tag: str | None) -> VideoStream:
        codec, info = self._recipe.codec, self._info
        options = dict(codec.options)
        if codec.has_crf:
            options["crf"] = str(crf)
        stream = self._container.add_stream(codec.encoder, rate=info.rate, options=options)
        assert isinstance(stream, VideoStream)
        stream.width = info.width + info.width % 2
        stream.height = info.height + info.height % 2
        stream.pix_fmt = self._recipe.pixels
        context = stream.codec_context
        context.time_base = info.time_base
        context.gop_size = max(1, round(KEYFRAMES_S * info.rate))
        context.color_range = ColorRange.MPEG
        context.colorspace = Colorspace.ITU709
        context.color_trc = ColorTrc.BT709
        context.color_primaries = ColorPrimaries.BT709
        if tag is not None:
            context.codec_tag = tag
        return stream

    def _picture(self, item: Rendered) -> VideoFrame:
        pixels, layout = item.rgb, "rgb24"
        if self._recipe.has_alpha:
            alpha = np.full(pixels.shape[:2], 255, np.uint8) if item.alpha is None else item.alpha
            pixels, layout = np.dstack([pixels, alpha]), "rgba"
        height, width, _ = pixels.shape
        if height % 2 or width % 2:
            pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        return self._reformatter.reformat(
            VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format=layout),
            format=self._recipe.pixels,
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            threads=1,
        )
