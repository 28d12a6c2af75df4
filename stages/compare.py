"""Holds a result to its source, rule by rule: every frame at its time, the sound untouched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from tpvideo.pipeline.metrics import clock_text
from tpvideo.stages.compare_sound import Holder, compare_sound
from tpvideo.stages.contents import Contents, read_contents
from tpvideo.stages.media import Trim
from tpvideo.stages.provenance import read_provenance

UNSPECIFIED = 2
"""ITU-T H.273, for primaries, transfer and matrix."""
BT709 = {"primaries": 1, "transfer": 1, "matrix": 1, "range": 1}
NEAR = Fraction(1, 4)
"""Of a frame's length: two frames closer than this are the same frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a result leaves out of its source on purpose."""

    trim: Trim | None = None
    has_sound: bool = True


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one rule."""

    rule: str
    """frames, times, sound, duration, colour, shape or note."""
    holds: bool
    said: str
    """How it was found to hold, or what is wrong and where."""


def plan_of(out: Path) -> Plan:
    """What the note in a result says about how it was made; without one, nothing is left out."""
    first = out
    if out.is_dir() or ("%" in out.name and not out.exists()):
        folder = out if out.is_dir() else out.parent
        first = next(iter(sorted(folder.glob(f"*{out.suffix or '.png'}"))), out)
    note = read_provenance(first) if first.is_file() else None
    return Plan() if note is None else Plan(trim=note.trim_s, has_sound=note.audio != "none")


def compare(source: Path, out: Path, plan: Plan) -> list[Verdict]:
    """Hold a result to its source.

    Args:
        source: what it was made of: a film or a picture.
        out: a film, a picture, a folder of numbered pictures or a name like view_%05d.png.
        plan: what is missing on purpose.

    Raises:
        InputError: one of them cannot be read at all.
    """
    wanted, found = read_contents(source, plan.trim), read_contents(out)
    verdicts = [_frames(wanted, found)]
    if not (wanted.is_timed and found.is_timed):
        said = "pictures carry no times, sound or colour tags"
        return [*verdicts, Verdict("times", True, said), _note(out)]
    shift_s = _shift(wanted, found)
    holder = Holder(source, out)
    sound = compare_sound(wanted, found, shift_s, holder, has_sound=plan.has_sound)
    return [
        *verdicts,
        _times(wanted, found, shift_s),
        Verdict("sound", *sound),
        _duration(wanted, found, plan),
        _colour(wanted, found),
        _shape(wanted, found),
        _note(out),
    ]


def _frames(wanted: Contents, found: Contents) -> Verdict:
    """One frame for each that can be decoded, and every one of them can be decoded again."""
    complaints = []
    if found.damaged:
        complaints.append(f"{found.damaged} of them are damaged")
    if found.missing:
        complaints.append(f"{found.missing} that it promises are missing")
    if len(wanted.times_s) != len(found.times_s):
        complaints.append("; ".join(_holes(wanted, found)))
    said = f"{len(found.times_s)} of {len(wanted.times_s)}"
    return Verdict("frames", not complaints, "; ".join([said, *filter(None, complaints)]))


def _holes(wanted: Contents, found: Contents) -> Iterator[str]:
    """Where frames are missing or too many, in words."""
    if not (wanted.is_timed and found.is_timed):
        return
    shift_s = _shift(wanted, found)
    moved = [moment_s + shift_s for moment_s in found.times_s]
    missing = _unmatched(wanted.times_s, moved, wanted.step_s * NEAR)
    extra = _unmatched(moved, wanted.times_s, wanted.step_s * NEAR)
    for word, indices, times in (
        ("missing", missing, wanted.times_s),
        ("too many", extra, moved),
    ):
        if indices:
            first, last = indices[0], indices[-1]
            yield (
                f"{len(indices)} {word}, frames {first} to {last} of "
                f"{'the source' if times is wanted.times_s else 'the result'} "
                f"({_clock(times[first], wanted)} to {_clock(times[last], wanted)})"
            )


def _unmatched(times: list[Fraction], others: list[Fraction], near_s: Fraction) -> list[int]:
    """Indices of times that have none of the others near; both rise."""
    indices, at = [], 0
    for index, moment_s in enumerate(times):
        while at < len(others) and others[at] < moment_s - near_s:
            at += 1
        if at < len(others) and others[at] <= moment_s + near_s:
            at += 1
        else:
            indices.append(index)
    return indices


def _shift(wanted: Contents, found: Contents) -> Fraction:
    """Seconds to add to the result's clock: the guess that lets most frames meet."""
    if not wanted.times_s or not found.times_s:
        return Fraction(0)
    guesses = [
        wanted.times_s[0] - found.times_s[0],
        wanted.times_s[-1] - found.times_s[-1],
        *(
            ours.times_s[0] - theirs.times_s[0]
            for ours, theirs in zip(wanted.tracks, found.tracks, strict=False)
            if ours.times_s and theirs.times_s
        ),
    ]

    def lost(guess_s: Fraction) -> int:
        moved = [moment_s + guess_s for moment_s in found.times_s]
        return len(_unmatched(wanted.times_s, moved, wanted.step_s * NEAR))

    return min(guesses, key=lost)  # the first of equals


def _times(wanted: Contents, found: Contents, shift_s: Fraction) -> Verdict:
    """The same distance between any two frames, as finely as the result's container counts."""
    is_finer = (wanted.tick_s / found.tick_s).denominator == 1
    within_s = Fraction(0) if is_finer else found.tick_s
    if len(wanted.times_s) != len(found.times_s):
        moved = [moment_s + shift_s for moment_s in found.times_s]
        strays = len(_unmatched(moved, wanted.times_s, within_s))
        said = f"{strays} of the frames are at no time of the source"
        return Verdict("times", not strays, said)
    pairs = zip(wanted.times_s, found.times_s, strict=True)
    off_s = [abs(ours - shift_s - theirs) for ours, theirs in pairs]
    wrong = [index for index, off in enumerate(off_s) if off > within_s]
    if wrong:
        first, worst = wrong[0], max(off_s)
        said = (
            f"{len(wrong)} frames are elsewhere, the first is frame {first} "
            f"({_clock(wanted.times_s[first], wanted)}), at most {float(worst):.4f} s off"
        )
        return Verdict("times", False, said)
    return Verdict("times", True, "equal" if is_finer else f"equal within {within_s} s, its tick")


def _duration(wanted: Contents, found: Contents, plan: Plan) -> Verdict:
    """From the first frame or sound to the end of the last, within two frames."""
    ours_s, theirs_s = (_length(contents, plan.has_sound) for contents in (wanted, found))
    within_s = 2 * max(wanted.step_s, wanted.last_s)
    said = f"{float(theirs_s):.3f} s for {float(ours_s):.3f} s"
    return Verdict("duration", abs(ours_s - theirs_s) <= within_s, said)


def _length(contents: Contents, has_sound: bool) -> Fraction:
    if not contents.times_s:
        return Fraction(0)
    tracks = [track for track in contents.tracks if track.times_s and has_sound]
    begins = min([contents.times_s[0], *(track.times_s[0] for track in tracks)])
    ends = max([contents.times_s[-1] + contents.last_s, *(track.end_s for track in tracks)])
    return ends - begins


def _colour(wanted: Contents, found: Contents) -> Verdict:
    """Nothing left to guess: BT.709 in limited range, or what the source says of itself."""
    wrong = [
        f"{name} {value}"
        for name, value in found.colours.items()
        if value not in (BT709[name], wanted.colours.get(name))
        or value == (0 if name == "range" else UNSPECIFIED)
    ]
    if wrong:
        said = f"{', '.join(wrong)} is neither BT.709 nor stated as in the source"
        return Verdict("colour", False, said)
    return Verdict("colour", True, "stated, as BT.709 or as in the source")


def _shape(wanted: Contents, found: Contents) -> Verdict:
    """Upright with square pixels, or stored as the source is."""
    if found.turn != type(found.turn)() and found.turn != wanted.turn:
        return Verdict("shape", False, "it asks the player to turn the picture once more")
    if found.aspect not in (1, wanted.aspect):
        return Verdict("shape", False, f"its pixels are {found.aspect} as wide as high")
    return Verdict("shape", True, "upright, square pixels or as in the source")


def _note(out: Path) -> Verdict:
    note = read_provenance(out) if out.is_file() else None
    if note is None:
        return Verdict("note", True, "none that says how it was made")
    angles = f"yaw {note.yaw_rad:.4g}, pitch {note.pitch_rad:.4g}"
    edits = "".join(f", {name} {strength:+g}" for name, strength in note.edit)
    return Verdict("note", True, f"synthetic view by tpvideo {note.version}, {angles}{edits}")


def _clock(moment_s: Fraction, wanted: Contents) -> str:
    return clock_text(float(moment_s - wanted.times_s[0]))
