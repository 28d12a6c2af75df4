"""Encodes a film in two steps that survive interruption: pictures in segments, then the whole.

While frames arrive, only pictures are written, to a hidden folder beside the target: see
ledger.py. When the last frame is in, those packets and the source's sound are copied, interleaved,
into one more hidden file with its index in front; that one gets the target's name. It costs the
time of one copy, and the disk holds the pictures twice for a moment.
"""

from __future__ import annotations

import heapq
import math
import os
import shutil
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import av
from av.video.stream import VideoStream

from tpvideo.pipeline.checkpoint import Checkpoint
from tpvideo.pipeline.errors import OutputError
from tpvideo.pipeline.frame import Rendered, StreamInfo
from tpvideo.stages.codecs import MOVIE_FORMATS, Recipe
from tpvideo.stages.ledger import Ledger
from tpvideo.stages.media import Trim, file_url
from tpvideo.stages.segment import SegmentWriter, segment_format
from tpvideo.stages.sound import Sound, Timed

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
        sound: Sound | None = None,
    ) -> None:
        """`sound_from` is the source file, or None for a silent film; `sound` takes its place."""
        self.notices: list[str] = []
        self._target = target
        self._recipe = recipe
        self._crf = crf
        self._metadata = metadata
        self._sound = sound or Sound(sound_from, trim)
        self.losses = self._sound.losses
        self._segment_format = segment_format(target, recipe)
        self.ledger = Ledger(target)
        self._segment: SegmentWriter | None = None
        self._info: StreamInfo | None = None
        self._is_finished = False

    def open(self, info: StreamInfo) -> None:
        """Start the encoder and the hidden folder.

        Raises:
            OutputError: the files cannot be made, the encoder refuses the size, or another
                process is writing the same target.
        """
        self._info = info
        with encoder_errors(self._target):
            self._sound.open(self._format)
            self.ledger.begin()
            self._segment = self._next_segment(info)
        self.notices += self._sound.notices

    def consume(self, item: Rendered) -> None:
        """Encode one frame; rising pts, the size that open was told, padded to even sides."""
        assert self._info is not None
        if item.rgb.shape[:2] != (self._info.height, self._info.width):
            height, width, _ = item.rgb.shape
            expected = f"{self._info.width}x{self._info.height}"
            raise OutputError(
                self._target, f"frame {item.stamp.index} is {width}x{height}, not {expected}"
            )
        with encoder_errors(self._target):
            if self._segment is None:
                self._segment = self._next_segment(self._info)
            self._segment.encode(item)

    def take(self, path: Path, times: Sequence[int], delay: int) -> None:
        """Take over a segment that was encoded elsewhere; its file is moved away.

        Args:
            path: of a file such as SegmentWriter makes, at this film's size and with its recipe.
            times: of its frames, in ticks of the source, later than all before.
            delay: what SegmentWriter.finish returned.
        """
        with encoder_errors(self._target):
            self._end_segment()
            place = self.ledger.next_path(path.suffix)
            shutil.move(path, place)
            self.ledger.add(place, times, delay)

    def keep(self, checkpoint: Checkpoint) -> None:
        """End the segment here and let everything so far outlast the process.

        Raises:
            OutputError: the disk is full.
        """
        with encoder_errors(self._target):
            self._end_segment()
            self.ledger.keep(checkpoint)

    def finish(self) -> None:
        """Join pictures and sound and give the film its name.

        Raises:
            OutputError: no frame came, or the disk is full.
        """
        with encoder_errors(self._target):
            self._end_segment()
            if not self.ledger.times:
                raise OutputError(self._target, "no frame came to be written")
            whole = self.ledger.folder / f"whole{self._target.suffix}"
            self._join(whole)
            os.replace(whole, self._target)
        self._is_finished = True

    def close(self) -> None:
        """Close the hidden files and remove them, but for what a later run can go on from."""
        self._sound.close()
        if self._segment is not None:
            self._segment.discard()
            self._segment = None
        self.ledger.end(keep=not self._is_finished)

    @property
    def _format(self) -> str:
        return MOVIE_FORMATS[self._target.suffix.lower()]

    def _next_segment(self, info: StreamInfo) -> SegmentWriter:
        path = self.ledger.next_path(f".{self._segment_format}")
        tag = self._recipe.codec.tag if self._format in ("mp4", "mov") else None
        return SegmentWriter(path, self._segment_format, self._recipe, self._crf, info, tag)

    def _end_segment(self) -> None:
        segment = self._segment
        if segment is None:
            return
        if segment.times:
            delay = segment.finish()
            self.ledger.add(segment.path, segment.times, delay)
        else:
            segment.discard()
        self._segment = None

    def _join(self, path: Path) -> None:
        assert self._info is not None
        time_base, times = self._info.time_base, self.ledger.times
        first_s, last_s = times[0] * time_base, times[-1] * time_base
        zero_s = self._sound.plan(first_s, last_s, 1 / self._info.rate)
        zero = math.floor(zero_s / time_base)
        scales = [time_base.denominator, *self._sound.rates]
        options = {"avoid_negative_ts": "disabled"}  # or Matroska moves all by the sound's priming
        if self._format in ("mp4", "mov"):
            options = {"movflags": "faststart", "movie_timescale": str(common_scale(scales))}
        with av.open(file_url(path), "w", format=self._format, options=options) as whole:
            whole.metadata.update(self._metadata)
            with av.open(file_url(self.ledger.path(self.ledger.segments[0]))) as pictures:
                stream = whole.add_stream_from_template(pictures.streams.video[0])
            stream.time_base = time_base
            stream.codec_context.framerate = self._info.rate
            if self._segment_format == "webm" and self._recipe.has_alpha:
                stream.metadata["alpha_mode"] = "1"  # or browsers show it opaque
            self._sound.add_tracks(whole)
            video = self._video_packets([time - zero for time in times], stream)
            sound = self._sound.packets(zero * time_base)
            with closing(video):  # also when it fails, or a file stays open
                for timed in heapq.merge(video, sound, key=lambda timed: timed[0]):
                    whole.mux(timed[1])

    def _video_packets(self, times: list[int], target: VideoStream) -> Generator[Timed, None, None]:
        """The packets of all segments, each with its decoding time in seconds."""
        assert self._info is not None
        time_base = self._info.time_base
        decoded = decoding_times(times, max(segment.delay for segment in self.ledger.segments))
        ends = [*times[1:], times[-1] + self._last_length()]
        begin = 0
        for segment in self.ledger.segments:
            path = self.ledger.path(segment)
            places = packet_places(path)
            if len(places) != segment.frames:
                raise OutputError(self._target, f"{path} is damaged; --overwrite begins anew")
            with av.open(file_url(path)) as pictures:
                for packet in pictures.demux(pictures.streams.video[0]):
                    if packet.pts is None:  # the end
                        continue
                    place = begin + places[packet.pts]
                    packet.time_base = time_base
                    packet.pts, packet.dts = times[place], next(decoded)
                    packet.duration = ends[place] - times[place]
                    packet.stream = target
                    yield packet.dts * time_base, packet
            begin += segment.frames

    def _last_length(self) -> int:
        """Ticks to show the last frame, so that the rate over all is the nominal one."""
        assert self._info is not None
        times, step_s = self.ledger.times, 1 / self._info.rate
        rest_s = len(times) * step_s - (times[-1] - times[0]) * self._info.time_base
        return round((rest_s if 0 < rest_s < 3 * step_s else step_s) / self._info.time_base)


def packet_places(path: Path) -> Mapping[int, int]:
    """The place in the order of presentation of each packet, by its time in the file."""
    with av.open(file_url(path)) as pictures:
        packets = pictures.demux(pictures.streams.video[0])
        times = sorted(packet.pts for packet in packets if packet.pts is not None)
    return {time: place for place, time in enumerate(times)}


def decoding_times(times: list[int], delay: int) -> Iterator[int]:
    """When to decode each packet, one after the other: rising, and never after it is shown.

    Args:
        times: [N] presentation times of the film's frames, rising.
        delay: how many frames packets are out of order by, at most; as x264 does, the first so
            many are decoded ahead of time.
    """
    lead = times[min(delay, len(times) - 1)] - times[0]
    for place, time in enumerate(times):
        yield time - lead if place < delay else times[place - delay]


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
