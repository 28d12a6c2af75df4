"""What an interrupted film leaves beside its target, so that a later run can go on from there.

The folder `.out.mp4.part` holds a file for each finished segment of the film, the times of their
frames, and `ledger.json`: which run this is, which segments are whole, and what the stages remember
of the frames in them. Arrays are in a file of numpy's beside it. Everything reaches the disk before
the ledger that speaks of it takes the place of the one before, so that a power cut at any moment
leaves one or the other. Nothing in the folder is ever executed: it is read as JSON, and as numbers.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import zipfile
from array import array
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from tpvideo.pipeline.checkpoint import Checkpoint
from tpvideo.pipeline.errors import OutputError, ResumeError

FORMAT = 1
LEDGER, TIMES, LOCK = "ledger.json", "times", "lock"
ARRAY = "$array"
"""Key of what stands in the JSON for an array."""
MOST_STATE_BYTES = 1 << 30
DAMAGED = "what the interrupted run left is damaged"


@dataclass(frozen=True, slots=True)
class Segment:
    """One file of the film's pictures."""

    name: str
    frames: int
    size: int
    """Bytes."""
    delay: int
    """How many frames its encoder's packets are out of order by, at most."""


class Ledger:
    """The folder of one target. Used by one thread at a time."""

    def __init__(self, target: Path) -> None:
        self.folder = target.with_name(f".{target.name}.part")
        self.segments: list[Segment] = []
        self.times = array("q")
        """Of every frame of the segments, in ticks of the source, rising; 8 bytes for each."""
        self._target = target
        self.key: Mapping[str, str] = {}
        """Everything that must be as it was when the run is resumed, in words, by its name."""
        self._kept = 0  # segments that the ledger on the disk speaks of
        self._lock: BinaryIO | None = None

    def kept_frames(self) -> int:
        """How many frames of the film an interrupted run left; 0 where it left nothing whole."""
        try:
            return sum(segment.frames for segment in _segments(self._read()))
        except (OSError, *_UNREADABLE):
            return 0

    def recover(self) -> Checkpoint | None:
        """Take over what an interrupted run left; None where it left nothing whole.

        Raises:
            ResumeError: its key is another, or the folder is damaged.
        """
        try:
            entry = self._read()
        except FileNotFoundError:
            return None
        except (OSError, *_UNREADABLE) as error:
            raise ResumeError(self._target, DAMAGED) from error
        self._expect_same(entry)
        try:
            self.segments = _segments(entry)
            self.times = self._read_times()
            states = tuple(self._read_states(entry))
            checkpoint = Checkpoint(int(entry["frames"]), int(entry["zero_pts"]), states)
        except (OSError, *_UNREADABLE) as error:
            raise ResumeError(self._target, DAMAGED) from error
        self._kept = len(self.segments)
        return checkpoint

    def begin(self) -> None:
        """Make the folder, hold it against other processes, and clear what is not in the ledger.

        Raises:
            OutputError: another process is writing the same target, or the folder is a link.
            OSError: the folder cannot be made.
        """
        if self.folder.is_symlink():  # what it leads to is not ours to clear
            raise OutputError(self._target, f"{self.folder} is a link; remove it")
        self.folder.mkdir(exist_ok=True)
        self._lock = _locked(self.folder / LOCK)
        if self._lock is None:
            raise OutputError(self._target, "another tpvideo is writing it")
        known = {LOCK}
        if self._kept:
            known |= {LEDGER, TIMES, self._states_name, *(s.name for s in self.segments)}
        for stray in self.folder.iterdir():
            if stray.name not in known:
                stray.unlink()

    def path(self, segment: Segment) -> Path:
        """Where a segment is."""
        return self.folder / segment.name

    def next_path(self, suffix: str) -> Path:
        """Where to write the segment that comes next."""
        return self.folder / f"{len(self.segments):06}{suffix}"

    def add(self, path: Path, times: Iterable[int], delay: int) -> None:
        """A segment is complete, with frames at these times; an interruption still loses it."""
        times = array("q", times)
        self.segments.append(Segment(path.name, len(times), path.stat().st_size, delay))
        self.times += times

    def keep(self, checkpoint: Checkpoint) -> None:
        """Let the segments so far, and what the stages remember, outlast the process."""
        for segment in self.segments[self._kept :]:
            _flush(self.path(segment))
        self._write_times(sum(segment.frames for segment in self.segments[: self._kept]))
        self._kept = len(self.segments)
        arrays: dict[str, NDArray[Any]] = {}
        states = [
            _without_arrays(state, f"{number}", arrays)
            for number, state in enumerate(checkpoint.states)
        ]
        with open(self.folder / self._states_name, "wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
            _flush_open(file)
        entry = {
            "format": FORMAT,
            "key": dict(self.key),
            "frames": checkpoint.frames,
            "zero_pts": checkpoint.zero_pts,
            "segments": [asdict(segment) for segment in self.segments],
            "states": states,
        }
        fresh = self.folder / f"{LEDGER}.new"
        with open(fresh, "wb") as file:
            file.write(json.dumps(entry).encode())
            _flush_open(file)
        os.replace(fresh, self.folder / LEDGER)
        _flush_folder(self.folder)
        for old in self.folder.glob("*.npz"):
            if old.name != self._states_name:
                old.unlink()

    def end(self, *, keep: bool) -> None:
        """Let go of the folder; remove it unless `keep` and something in it can be resumed."""
        if self._lock is None:
            return
        self._lock.close()
        self._lock = None
        if keep and self._kept:
            known = {LEDGER, TIMES, self._states_name}
            known |= {segment.name for segment in self.segments[: self._kept]}
            with suppress(OSError):  # its folder is gone
                for stray in [path for path in self.folder.iterdir() if path.name not in known]:
                    stray.unlink()
        else:
            self.remove()

    def remove(self) -> None:
        """Remove the folder and all that is in it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _states_name(self) -> str:
        return f"{self._kept:06}.npz"

    def _read(self) -> dict[str, Any]:
        entry: dict[str, Any] = json.loads((self.folder / LEDGER).read_bytes())
        return entry

    def _expect_same(self, entry: dict[str, Any]) -> None:
        before = entry.get("key") if isinstance(entry, dict) else None
        if not isinstance(before, dict) or entry.get("format") != FORMAT:
            raise ResumeError(self._target, "another version of tpvideo left it")
        for name in [*self.key, *(before.keys() - self.key.keys())]:
            was, now = before.get(name, "unknown"), self.key.get(name, "unknown")
            if was != now:
                reason = f"the {name} of the interrupted run was {was}, and is now {now}"
                raise ResumeError(self._target, reason)

    def _read_times(self) -> array[int]:
        times = array("q", np.fromfile(self.folder / TIMES, "<i8").tolist())
        frames = 0
        for segment in self.segments:
            frames += segment.frames
            if self.path(segment).stat().st_size != segment.size or segment.delay < 0:
                raise ValueError(f"{segment.name} is damaged")
        times = times[:frames]
        if len(times) < frames or any(later <= time for time, later in pairwise(times)):
            raise ValueError("the times are damaged")
        return times

    def _write_times(self, kept: int) -> None:
        path = self.folder / TIMES
        with open(path, "r+b" if kept else "wb") as file:
            file.truncate(8 * kept)
            file.seek(8 * kept)
            file.write(np.array(self.times[kept:], "<i8").tobytes())
            _flush_open(file)

    def _read_states(self, entry: dict[str, Any]) -> list[Any]:
        path = self.folder / f"{len(self.segments):06}.npz"
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > MOST_STATE_BYTES:
                raise ValueError(f"{path.name} is too large")
        with np.load(path, allow_pickle=False) as arrays:
            return [_with_arrays(state, arrays) for state in entry["states"]]


_UNREADABLE = (
    AttributeError,
    EOFError,
    KeyError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
)
"""What reading a damaged ledger raises."""


def _segments(entry: dict[str, Any]) -> list[Segment]:
    segments = [Segment(**segment) for segment in entry["segments"]]
    for number, segment in enumerate(segments):
        numbers = (segment.frames, segment.size, segment.delay)
        stem, _, suffix = segment.name.partition(".")
        is_ours = stem == f"{number:06}" and suffix.isalnum()  # so that no path leads elsewhere
        if not is_ours or not all(isinstance(value, int) for value in numbers):
            raise ValueError(f"no segment: {segment}")
    return segments


def _without_arrays(tree: Any, path: str, arrays: dict[str, NDArray[Any]]) -> Any:
    """The tree with each array put into `arrays`, and its place there in its stead."""
    if isinstance(tree, np.ndarray):
        arrays[path] = tree
        return {ARRAY: path}
    if isinstance(tree, Mapping):
        return {key: _without_arrays(value, f"{path}.{key}", arrays) for key, value in tree.items()}
    return tree


def _with_arrays(tree: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    if isinstance(tree, dict) and ARRAY in tree:
        return arrays[tree[ARRAY]]
    if isinstance(tree, dict):
        return {key: _with_arrays(value, arrays) for key, value in tree.items()}
    return tree


def _locked(path: Path) -> BinaryIO | None:
    """The file, held until it is closed or the process ends; None where another holds it."""
    handle = open(path, "a+b")  # noqa: SIM115 (held beyond this function)
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.close()
        return None
    return handle


def _flush(path: Path) -> None:
    with open(path, "r+b") as file:
        _flush_open(file)


def _flush_open(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Make names in a folder last; where folders cannot be opened, they do so by themselves."""
    if sys.platform == "win32":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
