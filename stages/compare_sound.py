"""Holds the sound of a result to its source's: the same packets at the same moments."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from av.audio.stream import AudioStream

from tpvideo.pipeline.metrics import clock_text
from tpvideo.stages.codecs import MOVIE_FORMATS
from tpvideo.stages.contents import Contents, Track
from tpvideo.stages.media import open_media
from tpvideo.stages.sound import holds

ANEW_S = Fraction(1, 5)
"""How far sound that is encoded anew may begin or end elsewhere: its codec warms up."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Says whether a result's container could have held a track of the source as it is."""

    source: Path
    out: Path

    def could_hold(self, track: Track) -> bool:
        kind = MOVIE_FORMATS.get(self.out.suffix.lower())
        with open_media(self.source) as media:
            stream = media.streams[track.index]
            return kind is None or (isinstance(stream, AudioStream) and holds(kind, stream))


def compare_sound(
    wanted: Contents, found: Contents, shift_s: Fraction, holder: Holder, *, has_sound: bool
) -> tuple[bool, str]:
    """Whether the sound is the source's, and how that was found or where it breaks.

    Args:
        wanted, found: of the source and of the result.
        shift_s: seconds to add to the result's clock.
        holder: tells what the result's container can hold.
        has_sound: whether the result is meant to have any.
    """
    if not has_sound:
        count = len(found.tracks)
        said = f"{count} tracks, though none was wanted" if count else "left out on purpose"
        return (not count, said)
    if len(wanted.tracks) != len(found.tracks):
        said = f"{len(found.tracks)} of {len(wanted.tracks)} tracks"
        return (False, said)
    if not wanted.tracks:
        return (True, "none, as in the source")
    tracks = []
    for number, (ours, theirs) in enumerate(zip(wanted.tracks, found.tracks, strict=True), 1):
        shift_within_s = Fraction(0) if ours.tick_s == theirs.tick_s else found.tick_s
        within_s = ours.tick_s + theirs.tick_s + shift_within_s
        complaint = (
            _packets_complaint(ours, theirs, shift_s, within_s)
            if ours.codec == theirs.codec
            else _anew_complaint(ours, theirs, shift_s, holder)
        )
        if complaint:
            return (False, f"track {number}: {complaint}")
        anew = "" if ours.codec == theirs.codec else f", encoded anew as {theirs.codec}"
        tracks.append(f"track {number}: {len(ours.times_s)} packets of {ours.codec}{anew}")
    return (True, "; ".join(tracks))


def _packets_complaint(
    ours: Track, theirs: Track, shift_s: Fraction, within_s: Fraction
) -> str | None:
    """What is wrong with a track that was to be copied."""
    if ours.digests != theirs.digests:
        if ours.codec.startswith("pcm") and ours.whole == theirs.whole:
            return None  # containers cut it into packets as they like
        pairs = enumerate(zip(ours.digests, theirs.digests, strict=False))
        same = min(len(ours.digests), len(theirs.digests))
        at = next((index for index, (a, b) in pairs if a != b), same)
        when = f" ({clock_text(float(ours.times_s[at]))})" if at < len(ours.times_s) else ""
        counts = f"{len(theirs.digests)} of {len(ours.digests)} packets"
        return f"{counts}, not the source's from packet {at}{when}"
    pairs_s = zip(ours.times_s, theirs.times_s, strict=True)
    off_s = [abs(a - shift_s - b) for a, b in pairs_s]
    if off_s and max(off_s) > within_s:
        at = off_s.index(max(off_s))
        when = clock_text(float(ours.times_s[at]))
        return f"packet {at} ({when}) is {float(off_s[at]):.4f} s off against the pictures"
    return None


def _anew_complaint(ours: Track, theirs: Track, shift_s: Fraction, holder: Holder) -> str | None:
    """What is wrong with a track of another codec."""
    if holder.could_hold(ours):
        return f"{theirs.codec}, though {ours.codec} could have been copied"
    if not ours.times_s or not theirs.times_s:
        return "it is empty" if ours.times_s else None
    for word, wanted_s, found_s in (
        ("begins", ours.times_s[0], theirs.times_s[0]),
        ("ends", ours.end_s, theirs.end_s),
    ):
        off_s = wanted_s - shift_s - found_s
        if abs(off_s) > ANEW_S:
            return f"encoded anew as {theirs.codec}, it {word} {float(abs(off_s)):.3f} s off"
    return None
