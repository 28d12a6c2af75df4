"""Encodes a film in two steps that survive interruption: pictures in fragments, then the whole.

While frames arrive, only pictures are written, to a hidden file beside the target and in fragments
(or clusters) that are each complete: a later run can read what an interrupted one left. When the
last frame is in, those packets and the source's sound are copied, interleaved, into a second
hidden file with its index in front; that one gets the target's name. It costs the time of one copy,
and the disk holds the pictures twice for a moment.
"""

from __future__ import annotations

import heapq
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, VideoReformatter
from av.video.stream import VideoStream

from tpvideo.pipeline.errors import OutputError
from tpvideo.pipeline.frame import Rendered, StreamInfo
from tpvideo.stages.codecs import MOVIE_FORMATS, Recipe
from tpvideo.stages.media import Trim, file_url
from tpvideo.stages.pictures import part_of
from tpvideo.stages.sound import Sound, Timed

KEYFRAMES_S = 2
"""Longest time between keyframes, and so the length of a fragment."""
FRAGMENTS = "frag_keyframe+delay_moov"
LARGEST_TIMESCALE = 2**31 - 1


class MovieWriter:
    """H.264 or another codec, tagged BT.709, with the source's times and sound."""

    def __init__(
        self,
        target: Path,
        recipe: Recipe,
        *,
        crf: int,
        sound_from: Path | None,
        trim: Trim | None,
        metadata: dict[str, str],
    ) -> None:
        """`sound_from` is the source file, or None for a silent film."""
        self.notices: list[str] = []
        self._target = target
        self._recipe = recipe
        self._crf = crf
        self._metadata = metadata
        self._sound = Sound(sound_from, trim)
        self._part_format = _part_format(target, recipe)
        self._part = part_of(target).with_suffix(f".{self._part_format}")
        self._whole = target.with_name(f".{target.stem}.whole.part{target.suffix}")
        self._container: OutputContainer | None = None
        self._stream: VideoStream | None = None
        self._reformatter = VideoReformatter()
        self._info: StreamInfo | None = None
        self._first_pts: int | None = None
        self._last_pts = 0
        self._frames = 0

    def open(self, info: StreamInfo) -> None:
        """Start the encoder and the hidden file.

        Raises:
            OutputError: the file cannot be made, or the encoder refuses the size.
        """
        self._info = info
        with encoder_errors(self._target):
            self._sound.open(self._format)
            self._part.touch()  # FFmpeg makes the file only when the first packet comes
            options = {} if self._part_format == "webm" else {"movflags": FRAGMENTS}
            self._container = av.open(
                file_url(self._part), "w", format=self._part_format, options=options
            )
            self._stream = self._add_stream(self._container, info)
            self._stream.codec_context.open()
        self.notices += self._sound.notices

    def consume(self, item: Rendered) -> None:
        """Encode one frame; rising pts, the size that open was told, padded to even sides."""
        assert self._info is not None and self._container is not None and self._stream is not None
        if item.rgb.shape[:2] != (self._info.height, self._info.width):
            height, width, _ = item.rgb.shape
            expected = f"{self._info.width}x{self._info.height}"
            raise OutputError(
                self._target, f"frame {item.stamp.index} is {width}x{height}, not {expected}"
            )
        if self._first_pts is None:
            self._first_pts = item.stamp.pts
        self._last_pts = item.stamp.pts
        self._frames += 1
        frame = self._picture(item)
        frame.pts = item.stamp.pts - self._first_pts
        frame.time_base = self._info.time_base
        with encoder_errors(self._target):
            self._container.mux(self._stream.encode(frame))

    def finish(self) -> None:
        """Join pictures and sound and give the film its name.

        Raises:
            OutputError: no frame came, or the disk is full.
        """
        if self._container is None or self._stream is None or self._first_pts is None:
            raise OutputError(self._target, "no frame came to be written")
        with encoder_errors(self._target):
            self._container.mux(self._stream.encode(None))
            self._container.close()
            self._container = self._stream = None
            self._join()
            os.replace(self._whole, self._target)

    def close(self) -> None:
        """Close and remove the hidden files."""
        self._sound.close()
        if self._container is not None:
            with suppress(av.error.FFmpegError):  # on a full disk; the file is thrown away
                self._container.close()
            self._container = self._stream = None
        for hidden in (self._part, self._whole):
            with suppress(OSError):  # not there, or its folder is gone
                hidden.unlink()

    @property
    def _format(self) -> str:
        return MOVIE_FORMATS[self._target.suffix.lower()]

    @property
    def _is_mp4(self) -> bool:
        return self._format in ("mp4", "mov")

    def _add_stream(self, container: OutputContainer, info: StreamInfo) -> VideoStream:
        codec = self._recipe.codec
        options = dict(codec.options)
        if codec.has_crf:
            options["crf"] = str(self._crf)
        stream = container.add_stream(codec.encoder, rate=info.rate, options=options)
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
        if codec.tag is not None and self._is_mp4:
            context.codec_tag = codec.tag
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

    def _join(self) -> None:
        assert self._info is not None and self._first_pts is not None
        time_base = self._info.time_base
        first_s, last_s = self._first_pts * time_base, self._last_pts * time_base
        zero_s = self._sound.plan(first_s, last_s, 1 / self._info.rate)
        shift = self._first_pts - math.floor(zero_s / time_base)  # of the first frame, in ticks
        zero_s = (self._first_pts - shift) * time_base
        scales = [time_base.denominator, *self._sound.rates]
        options = {"avoid_negative_ts": "disabled"}  # or Matroska moves all by the sound's priming
        if self._is_mp4:
            options = {"movflags": "faststart", "movie_timescale": str(common_scale(scales))}
        with (
            av.open(file_url(self._part)) as pictures,
            av.open(file_url(self._whole), "w", format=self._format, options=options) as whole,
        ):
            whole.metadata.update(self._metadata)
            stream = whole.add_stream_from_template(pictures.streams.video[0])
            stream.time_base = time_base
            stream.codec_context.framerate = self._info.rate
            if self._part_format == "webm" and self._recipe.has_alpha:
                stream.metadata["alpha_mode"] = "1"  # or browsers show it opaque
            self._sound.add_tracks(whole)
            video = self._video_packets(pictures, stream, shift * time_base)
            sound = self._sound.packets(zero_s)
            for timed in heapq.merge(video, sound, key=lambda timed: timed[0]):
                whole.mux(timed[1])

    def _video_packets(
        self, pictures: InputContainer, target: VideoStream, start_s: Fraction
    ) -> Iterator[Timed]:
        """Packets that start at start_s, each with its decoding time in seconds."""
        shift: int | None = None
        for index, packet in enumerate(pictures.demux(pictures.streams.video[0])):
            if packet.pts is None:  # the end
                continue
            if packet.dts is None:  # from WebM, whose codecs do not reorder
                packet.dts = packet.pts
            if (
                shift is None
            ):  # the first packet is the first frame: every run opens with a keyframe
                shift = round(start_s / packet.time_base) - packet.pts
            packet.pts += shift
            packet.dts += shift
            packet.stream = target
            if index == self._frames - 1:
                packet.duration = round(self._last_length_s() / packet.time_base)
            yield packet.dts * packet.time_base, packet

    def _last_length_s(self) -> Fraction:
        """How long to show the last frame, so that the rate over all is the nominal one."""
        assert self._info is not None and self._first_pts is not None
        step = 1 / self._info.rate
        rest = self._frames * step - (self._last_pts - self._first_pts) * self._info.time_base
        return rest if 0 < rest < 3 * step else step


def _part_format(target: Path, recipe: Recipe) -> str:
    """Fragmented mp4 keeps times exactly; ProRes needs mov, and the alpha of VP9 needs WebM."""
    if target.suffix.lower() == ".mov":
        return "mov"
    is_webm = target.suffix.lower() == ".webm" or (recipe.codec.name == "vp9" and recipe.has_alpha)
    return "webm" if is_webm else "mp4"


def common_scale(scales: list[int]) -> int:
    """Ticks per second in which every one of `scales` is whole, or the first where none fits.

    An mp4 counts the delay before a track in such ticks, so that a coarser one would round it.
    """
    common = math.lcm(*scales)
    return common if common <= LARGEST_TIMESCALE else scales[0]


@contextmanager
def encoder_errors(target: Path) -> Iterator[None]:
    """Let what goes wrong in FFmpeg or the file system be an OutputError about the target."""
    try:
        yield
    except (av.error.FFmpegError, OSError) as error:
        reason = error.strerror or str(error)
        raise OutputError(target, reason[:1].lower() + reason[1:]) from error
