"""Everything of a film or picture that can be compared: times of frames, packets of sound, tags."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from av.container import InputContainer
from av.packet import Packet
from PIL import Image as Pillow

from tpvideo.pipeline.errors import InputError
from tpvideo.stages.clock import Clock
from tpvideo.stages.decode import Damage, decode, describe
from tpvideo.stages.facts import colour_tags
from tpvideo.stages.limits import Limits
from tpvideo.stages.media import Trim, check_trim, open_media, pick_video, start_of
from tpvideo.stages.pictures import SEQUENCE_NAME
from tpvideo.stages.still import read_still
from tpvideo.stages.upright import Turn

ADTS_STARTS = (b"\xff\xf1", b"\xff\xf9")
ADTS_BYTES = 7
"""MPEG-TS puts this header before each AAC packet; MP4 and Matroska do not."""


@dataclass(frozen=True, slots=True)
class Track:
    """A sound track, packet by packet."""

    codec: str
    tick_s: Fraction
    """Length of a tick of its times; nothing is more exact than that."""
    times_s: list[Fraction]
    """When each packet begins."""
    digests: list[bytes]
    """Of each packet's payload."""
    whole: str
    """Digest of all payloads, one after the other."""
    end_s: Fraction
    """When the last packet ends."""
    index: int
    """Of the stream in its file."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What a film, a picture or a sequence of pictures holds; times in seconds on its own clock."""

    times_s: list[Fraction]
    """When each frame begins, in order; repaired to rise, as the decoder does."""
    is_timed: bool = True
    """False for pictures, which carry no times: they are numbered 0, 1, 2."""
    tick_s: Fraction = Fraction(1)
    step_s: Fraction = Fraction(1)
    """Nominal length of a frame."""
    last_s: Fraction = Fraction(1)
    """Length of the last frame."""
    tracks: list[Track] = field(default_factory=list)
    colours: dict[str, int] = field(default_factory=dict)
    aspect: Fraction = Fraction(1)
    """Width over height of a stored pixel."""
    turn: Turn = field(default_factory=Turn)
    damaged: int = 0
    """Packets that cannot be decoded."""
    missing: int = 0
    """Frames that the file promises, or numbers in a sequence, without a picture."""


def read_contents(path: Path, trim: Trim | None = None) -> Contents:
    """Read a file to its end, decoding every picture.

    Args:
        path: a film, a picture, a folder of numbered pictures or a name like view_%05d.png.
        trim: [from, to) in seconds from the start: keep what a run with this trim keeps.

    Raises:
        InputError: it cannot be read at all.
    """
    if path.is_dir() or ("%" in path.name and not path.exists()):
        return _read_sequence(path)
    if read_still(path, Limits()) is not None:
        return Contents([Fraction(0)], is_timed=False)
    begin, end = check_trim(trim)
    with open_media(path) as container:
        origin = start_of(container, pick_video(container, path))
        first_s = None if begin is None else origin + begin
        end_s = None if end is None else origin + end
        contents = _read_pictures(container, path, first_s, end_s)
    is_trimmed = begin is not None or end is not None
    if is_trimmed and contents.times_s:
        first_s = contents.times_s[0]
    with open_media(path) as container:
        contents.tracks.extend(_read_sound(container, first_s, end_s))
    return contents


def _read_pictures(
    container: InputContainer, path: Path, first_s: Fraction | None, end_s: Fraction | None
) -> Contents:
    stream = pick_video(container, path)
    stream.thread_type = "SLICE"  # as FileSource: frame threads lose pictures before a damaged end
    info = describe(container, stream)
    clock, damage = Clock(info.time_base, info.rate), Damage()
    times: list[Fraction] = []
    turn, last_ticks = Turn(), 0
    for frame in decode(container, stream, damage):
        moment_s = clock.repair(frame.pts) * info.time_base
        if end_s is not None and moment_s >= end_s:
            break
        if first_s is not None and moment_s < first_s:
            continue
        if not times:
            turn = Turn.of(frame)
        times.append(moment_s)
        last_ticks = frame.duration
    is_whole = first_s is None and end_s is None
    missing = max(0, stream.frames - damage.unshown - len(times)) if is_whole else 0
    step_s = 1 / info.rate
    return Contents(
        times,
        tick_s=info.time_base,
        step_s=step_s,
        last_s=last_ticks * info.time_base or step_s,
        colours=colour_tags(stream),
        aspect=Fraction(stream.sample_aspect_ratio or 1),
        turn=turn,
        damaged=damage.packets,
        missing=missing,
    )


def _read_sound(
    container: InputContainer, first_s: Fraction | None, end_s: Fraction | None
) -> Iterator[Track]:
    """The tracks that a run takes along: of a known codec, packets that begin inside the trim."""
    streams = [
        stream
        for stream in container.streams.audio
        if stream.codec_context is not None and stream.codec_context.sample_rate
    ]
    if not streams:
        return
    kept: dict[int, list[tuple[Fraction, bytes]]] = {stream.index: [] for stream in streams}
    next_s: dict[int, Fraction] = {stream.index: Fraction(0) for stream in streams}
    ends: dict[int, Fraction] = {stream.index: Fraction(0) for stream in streams}
    wholes = {stream.index: hashlib.sha256() for stream in streams}
    for packet in container.demux(streams):
        if packet.size == 0:
            continue
        index = packet.stream.index
        moment_s = next_s[index] if packet.pts is None else packet.pts * packet.time_base
        next_s[index] = moment_s + (packet.duration or 1) * packet.time_base
        is_early = first_s is not None and moment_s < first_s
        if is_early or (end_s is not None and moment_s >= end_s):
            continue
        ends[index] = next_s[index]
        payload = _payload(packet)
        wholes[index].update(payload)
        kept[index].append((moment_s, hashlib.sha256(payload).digest()))
    for stream in streams:
        packets = kept[stream.index]
        yield Track(
            stream.codec_context.codec.canonical_name,
            Fraction(stream.time_base or 1),
            [moment_s for moment_s, _ in packets],
            [digest for _, digest in packets],
            wholes[stream.index].hexdigest(),
            ends[stream.index],
            stream.index,
        )


def _payload(packet: Packet[Any]) -> bytes:
    content = bytes(packet)
    return content[ADTS_BYTES:] if content[:2] in ADTS_STARTS else content


def _read_sequence(path: Path) -> Contents:
    """Pictures numbered from 0; one that is missing or damaged counts, but is told."""
    folder, pattern = (path, SEQUENCE_NAME) if path.is_dir() else (path.parent, path.name)
    try:
        numbers = {
            int(digits): picture
            for picture in folder.iterdir()
            for digits in re.findall(r"\d+", picture.name)
            if pattern % int(digits) == picture.name
        }
    except (OSError, TypeError, ValueError) as error:
        raise InputError(path, "no pictures like that; name them like view_%05d.png") from error
    if not numbers:
        raise InputError(path, f"no picture {pattern % 0} is there")
    count = max(numbers) + 1
    return Contents(
        [Fraction(number) for number in range(count)],
        is_timed=False,
        damaged=sum(not _is_picture(picture) for picture in numbers.values()),
        missing=count - len(numbers),
    )


def _is_picture(path: Path) -> bool:
    with suppress(OSError, ValueError, SyntaxError), Pillow.open(path) as picture:
        picture.load()
        return True
    return False
