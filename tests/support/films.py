"""Reads clips whole, passes them through both ends, and looks into what was written."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from tpvideo.pipeline.frame import Decoded, Rendered, StreamInfo
from tpvideo.stages.decode import FileSource
from tpvideo.stages.encode import FileSink
from tpvideo.stages.media import Trim


def read_all(source: FileSource) -> tuple[StreamInfo, list[Decoded]]:
    """Open, read to the end, close."""
    try:
        info = source.open()
        return info, list(source)
    finally:
        source.close()


def pass_through(
    source: Path, target: Path, *, trim: Trim | None = None, most: int | None = None, **options: Any
) -> FileSink:
    """Copy a clip frame by frame; `most` stops early, as Ctrl-C does."""
    reader = FileSource(source, trim=trim)
    sink = FileSink(target, source=source, trim=trim, **options)
    try:
        sink.open(reader.open())
        for frame in reader:
            sink.consume(Rendered(frame.stamp, frame.rgb))
            if frame.stamp.index + 1 == most:
                break
        sink.finish()
    finally:
        sink.close()
        reader.close()
    return sink


def frame_times(path: Path) -> list[Fraction]:
    """Presentation times of the pictures in seconds, sorted."""
    with av.open(f"file:{path}") as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        return sorted(Fraction(packet.pts or 0) * packet.time_base for packet in packets)


def sound_packets(path: Path, track: int = 0) -> tuple[list[Fraction], list[str]]:
    """Times in seconds, and hashes of the payloads without the ADTS headers of MPEG-TS."""
    times, hashes = [], []
    with av.open(f"file:{path}") as container:
        for packet in container.demux(container.streams.audio[track]):
            if packet.size and packet.pts is not None:
                times.append(packet.pts * packet.time_base)
                payload = bytes(packet)
                has_header = payload[:2] in (b"\xff\xf1", b"\xff\xf9")
                hashes.append(hashlib.md5(payload[7:] if has_header else payload).hexdigest())
    return times, hashes


def click_times(path: Path) -> list[float]:
    """When the loud bursts of the sound track begin, as a player hears them."""
    heard: list[float] = []
    with av.open(f"file:{path}") as container:
        for frame in container.decode(audio=0):
            level = np.abs(frame.to_ndarray().astype(float))[0]
            loud = np.flatnonzero(level > 0.5 * (1 if level.max() <= 2 else 20000))
            if len(loud) and frame.time is not None:
                moment = frame.time + loud[0] / frame.sample_rate
                if not heard or moment - heard[-1] > 0.2:
                    heard.append(moment)
    return heard
