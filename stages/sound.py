"""Takes the source's sound along: packet by packet, untouched where the container allows."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeAlias, cast

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet

from tpvideo.pipeline.losses import Losses
from tpvideo.stages.media import Trim, check_trim, open_media, pick_video, start_of

Timed: TypeAlias = "tuple[Fraction, Packet[Any]]"
"""A packet and its decoding time in seconds."""

FALLBACKS = {"webm": "libopus"}
"""The encoder for containers that cannot hold AAC, by format."""
BIT_RATE = 192_000
STOPPED_S = 1
"""A source with pictures this long after the last one written was not read to its end."""


@dataclass(slots=True)
class Track:
    """One sound track and how it goes into the result."""

    stream: AudioStream
    encoder: str | None
    """None to copy packets; else the encoder to use."""
    target: AudioStream = field(init=False)
    next_pts: int = 0
    last_dts: int = -(2**62)


class Sound:
    """All sound tracks of a source, cut and moved like its frames.

    Without a trim every packet comes along, also where the sound is longer than the picture.
    With a trim, those that begin inside it. When the run was stopped before the source ended,
    those that begin before the last frame ends.
    """

    def __init__(self, source: Path | None, trim: Trim | None) -> None:
        """`source` is None, or has no sound, for a silent film."""
        self.notices: list[str] = []
        self.losses = Losses()
        self._source = source
        self._trim = check_trim(trim)
        self._container: InputContainer | None = None
        self._tracks: list[Track] = []
        self._from_s: Fraction | None = None
        self._to_s: Fraction | None = None

    @property
    def rates(self) -> list[int]:
        """Samples per second of each track."""
        return [track.stream.codec_context.sample_rate for track in self._tracks]

    def open(self, container_format: str) -> None:
        """Find the tracks, and how each goes into a container of this format.

        Raises:
            InputError: the source cannot be read.
        """
        if self._source is None:
            return
        self._container = open_media(self._source)
        for stream in self._container.streams.audio:
            if stream.codec_context is None or not stream.codec_context.sample_rate:
                self.losses.add("sound track of an unknown codec left out")
                self.notices.append(f"sound track {stream.index} has an unknown codec: left out")
                continue
            name = stream.codec_context.codec.canonical_name
            encoder = (
                None if holds(container_format, stream) else FALLBACKS.get(container_format, "aac")
            )
            if encoder is not None:
                self.notices.append(
                    f"{container_format} cannot hold {name} sound: encoded anew with {encoder}"
                )
            self._tracks.append(Track(stream, encoder))

    def plan(self, first_s: Fraction, last_s: Fraction, step_s: Fraction) -> Fraction:
        """Settle what to keep beside frames that begin from first_s to last_s.

        Args:
            first_s: when the first frame begins, seconds on the source's clock.
            last_s: when the last frame begins.
            step_s: nominal length of a frame.

        Returns:
            The moment on the source's clock, in seconds, that becomes zero.
        """
        if self._source is None or self._container is None:
            return first_s
        video = pick_video(self._container, self._source)
        zero_s = start_of(self._container, video)
        begin, end = self._trim
        if begin is not None or end is not None:
            self._to_s = None if end is None else zero_s + end
            self._from_s = zero_s = first_s
        if self._goes_on(last_s):
            self._to_s = last_s + step_s
        return zero_s

    def add_tracks(self, container: OutputContainer) -> None:
        """Give the result a stream for each track."""
        for track in self._tracks:
            if track.encoder is None:
                track.target = container.add_stream_from_template(track.stream)
            else:
                track.target = _encoding_stream(container, track)
            for key in ("language", "title"):
                if key in track.stream.metadata:
                    track.target.metadata[key] = track.stream.metadata[key]

    def packets(self, zero_s: Fraction) -> Iterator[Timed]:
        """Packets for the streams of add_tracks, zero_s moved to zero, in the file's order."""
        if self._container is None or not self._tracks:
            return
        tracks = {track.stream.index: track for track in self._tracks}
        for packet in self._container.demux([track.stream for track in self._tracks]):
            track = tracks[packet.stream.index]
            yield from (
                self._anew(track, packet, zero_s)
                if track.encoder
                else self._copied(track, packet, zero_s)
            )

    def close(self) -> None:
        """Close the source."""
        self._tracks = []
        if self._container is not None:
            self._container.close()
            self._container = None

    def _copied(self, track: Track, packet: Packet[Any], zero_s: Fraction) -> Iterator[Timed]:
        if packet.size == 0:  # the end
            return
        pts = track.next_pts if packet.pts is None else packet.pts
        track.next_pts = pts + (packet.duration or 1)
        if not self._keeps(pts * packet.time_base):
            return
        moved = pts - round(zero_s / packet.time_base)
        packet.pts = packet.dts = track.last_dts = max(moved, track.last_dts + 1)
        packet.stream = track.target
        yield packet.pts * packet.time_base, packet

    def _anew(self, track: Track, packet: Packet[Any], zero_s: Fraction) -> Iterator[Timed]:
        try:
            frames = cast("list[AudioFrame]", packet.decode())
        except av.error.FFmpegError:
            self.losses.add("damaged sound packet passed over")
            return
        for frame in frames:
            if frame.pts is not None and frame.time_base:
                if not self._keeps(frame.pts * frame.time_base):
                    continue
                frame.pts -= round(zero_s / frame.time_base)
            for encoded in track.target.encode(frame):
                yield (encoded.dts or 0) * encoded.time_base, encoded
        if packet.size == 0:
            for encoded in track.target.encode(None):
                yield (encoded.dts or 0) * encoded.time_base, encoded

    def _keeps(self, moment_s: Fraction) -> bool:
        after_begin = self._from_s is None or moment_s >= self._from_s
        return after_begin and (self._to_s is None or moment_s < self._to_s)

    def _goes_on(self, last_s: Fraction) -> bool:
        """Whether the source has pictures well after the last one written: a stopped run."""
        assert self._source is not None
        with open_media(self._source) as container:
            video = pick_video(container, self._source)
            try:
                container.seek(int(last_s / (video.time_base or 1)), stream=video)
                for packet in container.demux(video):
                    if packet.pts is None:
                        continue
                    moment_s = packet.pts * packet.time_base
                    if moment_s > last_s + STOPPED_S:
                        return self._to_s is None or moment_s < self._to_s
            except av.error.FFmpegError:
                return False  # damaged here: the pictures end because the file does
        return False


def holds(container_format: str, stream: AudioStream) -> bool:
    """Whether the container takes the packets of a track as they are: try it on an empty one."""
    container = av.open(io.BytesIO(), "w", format=container_format)
    try:
        container.add_stream_from_template(stream)
        container.start_encoding()
        container.close()
    except (av.error.FFmpegError, ValueError):
        return False
    return True


def _encoding_stream(container: OutputContainer, track: Track) -> AudioStream:
    source = track.stream.codec_context
    codec = av.Codec(track.encoder or "aac", "w")
    rates = codec.audio_rates or [source.sample_rate]
    rate = source.sample_rate if source.sample_rate in rates else 48000
    stream = container.add_stream(codec.name, rate=rate)
    assert isinstance(stream, AudioStream)
    stream.layout = source.layout
    stream.bit_rate = BIT_RATE
    return stream
