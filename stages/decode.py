"""Reads the frames of a video file or photograph, in order, each under its own time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import get_args

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from tpvideo.pipeline import config
from tpvideo.pipeline.errors import ConfigError, InputError
from tpvideo.pipeline.frame import Decoded, Image, Stamp, StreamInfo
from tpvideo.pipeline.losses import Losses
from tpvideo.stages.clock import Clock
from tpvideo.stages.limits import Limits
from tpvideo.stages.media import INDEXED, Trim, check_trim, open_media, pick_video, start_of
from tpvideo.stages.nvdec import open_on_gpu, why_not
from tpvideo.stages.still import read_still
from tpvideo.stages.upright import Upright

log = logging.getLogger(__name__)

FULL_HD = 1920 * 1088
MOST_BROKEN_READS = 100
SEEK_MARGIN_S = 1
"""A keyframe is found by its decoding time, which comes before its presentation."""
STILL_RATE = Fraction(25)


class FileSource:
    """A video file or a photograph as a source of upright BT.709 RGB frames.

    Stamps hold the file's own pts in the stream's time base, also after a trim; whoever writes the
    frames moves picture and sound together so that the result starts at zero. Missing, repeated
    and backward times are repaired to rise strictly. Damaged packets are skipped. Whatever had to
    be done to the source is in `notices`, one line each, and logged as a warning when it ends; what
    could not be read is in `losses`.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        decoder: config.Decoder = "av",
        trim: Trim | None = None,
        limits: Limits | None = None,
        skip: int = 0,
    ) -> None:
        """
        Args:
            path: of the file.
            decoder: who reads it.
            trim: [from, to) in seconds from the source's start; None at either end is open.
            limits: how large a source is refused; None takes the usual ones.
            skip: frames that an earlier run has done; they are decoded, for what follows may
                depend on them, but not given.

        Raises:
            ConfigError: the trim is empty or backward, or the decoder is not known.
        """
        if decoder not in (known := get_args(config.Decoder)):
            raise ConfigError(f"decoder must be one of {', '.join(known)}, got {decoder}")
        self.path = Path(path)
        self.notices: list[str] = []
        self.losses = Losses()
        self._damage = Damage()
        self._decoder = decoder
        self._begin, self._end = check_trim(trim)
        self._limits = limits or Limits()
        self._skip = skip
        self._container: InputContainer | None = None
        self._frames: Iterator[Decoded] = iter(())
        self._held = ExitStack()

    def open(self) -> StreamInfo:
        """Read as far as the first frame and describe the stream.

        Raises:
            InputError: no pictures can be read from the file, or the trim leaves none of them.
            MissingExtraError: another decoder was asked for and is not installed.
        """
        photo = read_still(self.path, self._limits)
        if photo is not None:
            return self._open_still(photo)
        on_gpu = self._decoder == "nvdec"
        opened = open_on_gpu if on_gpu else open_media
        self._container = opened(self.path, most_pixels=self._limits.pixels)
        stream = pick_video(self._container, self.path)
        if on_gpu and (reason := why_not(stream)):
            self.notices.append(reason)
        info = describe(self._container, stream)
        self._expect_sane(info)
        origin = start_of(self._container, stream)
        first_s = None if self._begin is None else origin + self._begin
        end_s = None if self._end is None else origin + self._end
        if self._decoder == "decord":
            from tpvideo.stages.decord_reader import decord_frames

            pictures = decord_frames(self.path)
        elif self._decoder == "ffmpeg":
            from tpvideo.stages.ffmpeg_reader import ffmpeg_frames

            pictures = self._held.enter_context(closing(ffmpeg_frames(self.path)))
        else:
            pictures = self._av_frames(self._container, stream, first_s)
        frames = self._stamped(pictures, info, stream.frames, first_s, end_s)
        first = next(frames, None)
        if first is None:
            raise InputError(self.path, self._why_nothing(info))
        self._frames = frames if self._skip else _chain(first, frames)
        height, width, _ = first.rgb.shape
        return replace(info, width=width, height=height, frames=self._expected(info))

    def __iter__(self) -> Iterator[Decoded]:
        """Yield the frames in presentation order; once."""
        yield from self._frames
        for notice in self.notices:
            log.warning("%s: %s", self.path.name, notice)

    def close(self) -> None:
        """Close the file, and end the program that reads it."""
        self._frames = iter(())
        self._held.close()
        if self._container is not None:
            self._container.close()
            self._container = None

    def _expect_sane(self, info: StreamInfo) -> None:
        """Refuse what is beyond the limits, as far as the file itself says."""
        assert self._container is not None
        self._limits.expect_size(self.path, info.width, info.height)
        self._limits.expect_frames(self.path, self._expected(info) or 0)
        self._limits.expect_few_frames(self.path, self._container.format.name)

    def _open_still(self, photo: Image) -> StreamInfo:
        if self._begin is not None or self._end is not None:
            raise InputError(self.path, "a photograph has no length to trim; leave the trim out")
        self._frames = iter([Decoded(Stamp(0, 0), photo)])
        height, width, _ = photo.shape
        return StreamInfo(width, height, STILL_RATE, 1 / STILL_RATE, frames=1, still=True)

    def _stamped(
        self,
        pictures: Iterator[tuple[int | None, Callable[[], Image]]],
        info: StreamInfo,
        promised: int,
        first_s: Fraction | None,
        end_s: Fraction | None,
    ) -> Iterator[Decoded]:
        clock = Clock(info.time_base, info.rate)
        kept = passed_over = 0
        stamp: Stamp | None = None
        for reported, convert in pictures:
            pts = clock.repair(reported)
            if end_s is not None and pts * info.time_base >= end_s:
                break
            if first_s is None or pts * info.time_base >= first_s:
                stamp = Stamp(kept, pts)
                kept += 1
                self._limits.expect_frames(self.path, kept)
                self._note_damage(passed_over, stamp)
                if kept == 1 or kept > self._skip:  # open wants to see the first in any case
                    yield Decoded(stamp, convert())
            passed_over = self._damage.packets
        self._note_damage(passed_over, stamp)
        if clock.repaired:
            self.notices.append(
                f"{clock.repaired} frame times did not rise or were missing: repaired"
            )
        missing = promised - self._damage.unshown - kept
        if first_s is None and end_s is None and missing > 0:
            self.losses.add("frame that the file promises could not be decoded", stamp, missing)
            self.notices.append(f"the file promises {promised} frames, {kept} could be decoded")

    def _note_damage(self, passed_over: int, stamp: Stamp | None) -> None:
        if self._damage.packets > passed_over:
            self.losses.add("damaged packet passed over", stamp, self._damage.packets - passed_over)

    def _av_frames(
        self, container: InputContainer, stream: VideoStream, first_s: Fraction | None
    ) -> Iterator[tuple[int | None, Callable[[], Image]]]:
        # Frame threads hold frames back, and lose them when the file ends in a damaged packet;
        # one core decodes full HD faster than anything behind can use it.
        area = stream.codec_context.width * stream.codec_context.height
        stream.thread_type = "AUTO" if area > FULL_HD else "SLICE"
        # The first header was within the limits; a later one may lie.
        stream.codec_context.options = {"max_pixels": str(self._limits.pixels)}
        if first_s is not None:
            seek_before(container, stream, first_s)
        damage = self._damage
        upright: Upright | None = None
        for frame in decode(container, stream, damage):
            if upright is None:
                upright = Upright(frame, stream.sample_aspect_ratio)
                if upright.grade.transfer is not None:
                    name = upright.grade.transfer
                    self.notices.append(f"high dynamic range ({name}) was tone-mapped to BT.709")
            damage.concealed += frame.is_corrupt
            yield frame.pts, _later(upright, frame)
        if damage.concealed:
            self.notices.append(f"damaged pictures are shown as well as can be: {damage.concealed}")
        if damage.packets:
            self.notices.append(f"damaged packets were skipped: {damage.packets}")

    def _expected(self, info: StreamInfo) -> int | None:
        if info.frames is None or (self._begin is None and self._end is None):
            return info.frames
        length_s = info.frames / info.rate
        begin = min(self._begin or Fraction(0), length_s)
        end = length_s if self._end is None else min(self._end, length_s)
        return max(1, round((end - begin) * info.rate))

    def _why_nothing(self, info: StreamInfo) -> str:
        if self._begin is None and self._end is None:
            return "it has a video stream, but not one frame of it can be decoded"
        length = f"; it is {float(info.frames / info.rate):.2f} s long" if info.frames else ""
        return f"the trim leaves no frame{length}"


def probe(path: str | Path) -> StreamInfo:
    """Describe a source without keeping it open: upright size, rate, time base, frames.

    Raises:
        InputError: no pictures can be read from the file.
    """
    source = FileSource(path)
    try:
        return source.open()
    finally:
        source.close()


def describe(container: InputContainer, stream: VideoStream) -> StreamInfo:
    """What the container claims about a stream; the size is as stored, not yet upright."""
    time_base = stream.time_base or Fraction(1, 90000)
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    frames = stream.frames or None
    if frames is None and stream.duration:
        frames = round(stream.duration * time_base * rate)
    elif frames is None and container.duration:
        frames = round(Fraction(container.duration, av.time_base) * rate)
    context = stream.codec_context
    return StreamInfo(context.width, context.height, Fraction(rate), Fraction(time_base), frames)


@dataclass(slots=True)
class Damage:
    """How much of a stream could not be read."""

    packets: int = 0
    concealed: int = 0
    """Frames that came, but not whole: their decoder filled in what it could not read."""
    unshown: int = 0
    """Packets that the file itself says not to show, as an edit list does."""


def decode(container: InputContainer, stream: VideoStream, damage: Damage) -> Iterator[VideoFrame]:
    """Every frame that can be had; what cannot is counted in `damage`."""
    packets = container.demux(stream)
    broken_reads = 0
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.error.FFmpegError:
            damage.packets += 1
            broken_reads += 1
            if broken_reads > MOST_BROKEN_READS:
                return
            packets = container.demux(stream)
            continue
        damage.unshown += packet.is_discard
        try:
            yield from packet.decode()
        except av.error.EOFError:
            return
        except av.error.FFmpegError:
            damage.packets += 1


def seek_before(container: InputContainer, stream: VideoStream, moment_s: Fraction) -> None:
    """Go to a keyframe well before a moment where the file has an index; else stay at the start."""
    if not INDEXED.intersection(container.format.name.split(",")):
        return
    ticks = int((moment_s - SEEK_MARGIN_S) / (stream.time_base or 1))
    if moment_s > SEEK_MARGIN_S:
        container.seek(ticks, stream=stream, backward=True)


def _later(upright: Upright, frame: VideoFrame) -> Callable[[], Image]:
    return lambda: upright(frame)


def _chain(first: Decoded, rest: Iterator[Decoded]) -> Iterator[Decoded]:
    yield first
    yield from rest
