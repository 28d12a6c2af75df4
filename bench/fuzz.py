"""Feed the reader damaged films and look for what must never happen.

    python bench/fuzz.py [--seconds 600] [--seed 0] [--cases N] [--keep FOLDER]

Small mp4, mkv, ts, gif and webm files are damaged in ways that a seed decides, read to the end in a
process of their own, and written again. Must never happen:

- a crash of the process, or an error that is none of ours;
- a hang: a file that is not done after HANG_S;
- a wrong success: frames out of order or of changing size, another number of frames or other times
  in the file that is written than were read, or a damaged picture without a word about it.

Exits with 1 when something of this happened; the seeds are printed, `--keep` keeps the files.
"""

from __future__ import annotations

import argparse
import collections
import random
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/support"))
from films import frame_times
from synthetic import write_clip

from tpvideo.pipeline.errors import TpvideoError
from tpvideo.pipeline.frame import Rendered
from tpvideo.stages.decode import FileSource
from tpvideo.stages.encode import FileSink

HANG_S = 60.0
KINDS = {"mp4": {}, "mkv": {}, "ts": {}, "webm": {"codec": "libvpx", "sound_codec": "libopus"}}


def main() -> None:
    """Be the parent, or a worker that reads the names of files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", type=int, default=10**9)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.worker:
        work()
        return
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(hunt(Path(folder), chosen.seconds, chosen.seed, chosen.cases, chosen.keep))


def hunt(folder: Path, seconds: float, seed: int, cases: int, keep: Path | None) -> int:
    """Damage files and have them read until the time or the cases are over; the exit code."""
    originals = [path.read_bytes() for path in samples(folder)]
    suffixes = [path.suffix for path in samples(folder)]
    counts: collections.Counter[str] = collections.Counter()
    end_s, worker, bad = time.monotonic() + seconds, Worker(), []
    for case in range(seed, seed + cases):
        if time.monotonic() > end_s:
            break
        kind = case % len(originals)
        path = folder / f"case{case}{suffixes[kind]}"
        path.write_bytes(damaged(originals[kind], random.Random(case)))
        outcome = worker.read(path)
        counts[outcome.split(":")[0]] += 1
        if outcome.startswith(("crash", "hang", "wrong")):
            bad.append(f"seed {case}: {outcome}")
            print(bad[-1], flush=True)
            if keep is not None:
                shutil.copy(path, keep)
        path.unlink()
    worker.end()
    print(f"{counts.total()} files: " + ", ".join(f"{n} {what}" for what, n in counts.items()))
    return 1 if bad else 0


def samples(folder: Path) -> list[Path]:
    """A small film of each kind; made once."""
    found = [folder / f"whole.{kind}" for kind in (*KINDS, "gif")]
    if not found[0].exists():
        for kind, options in KINDS.items():
            write_clip(folder / f"whole.{kind}", 12, sound=[(0.0, 0.5)], **options)  # type: ignore[arg-type]
        write_clip(folder / "whole.gif", 8, codec="gif", pixels="rgb8")
    return found


def damaged(content: bytes, chance: random.Random) -> bytes:
    """The file with a few places overwritten, cut, doubled, or moved."""
    data = bytearray(content)
    for _ in range(chance.choice([1, 1, 2, 4, 16])):
        at = chance.randrange(len(data))
        if chance.random() < 0.3:  # headers decide most
            at = chance.randrange(min(len(data), 600))
        length = chance.choice([1, 1, 2, 4, 8, 64, 512])
        way = chance.choice(["bit", "bytes", "extreme", "cut", "double", "remove", "swap"])
        if way == "bit":
            data[at] ^= 1 << chance.randrange(8)
        elif way == "bytes":
            data[at : at + length] = chance.randbytes(len(data[at : at + length]))
        elif way == "extreme":
            fill = chance.choice([b"\x00", b"\xff", b"\x7f", b"\x80"])
            data[at : at + length] = fill * len(data[at : at + length])
        elif way == "cut":
            del data[max(64, at) :]
        elif way == "double":
            data[at:at] = data[at : at + length]
        elif way == "remove" and len(data) > 2 * length:
            del data[at : at + length]
        else:
            other = chance.randrange(len(data))
            data[at], data[other] = data[other], data[at]
    return bytes(data)


class Worker:
    """A process that reads one file after the other; started anew after it died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def read(self, path: Path) -> str:
        """What became of a file."""
        if self._process is None:
            command = [sys.executable, __file__, "--worker"]
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, text=True,
            )  # fmt: skip
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(f"{path}\n")
        process.stdin.flush()
        watch = Alarm(process, HANG_S)
        answer = process.stdout.readline().strip()
        if watch.is_over():
            self._process = None
            return "hang: killed"
        if not answer:
            self._process = None
            return f"crash: exit code {process.wait()}"
        return answer

    def end(self) -> None:
        """Let the process go."""
        if self._process is not None:
            self._process.communicate(timeout=HANG_S)


class Alarm:
    """Kills a process that does not answer in time."""

    def __init__(self, process: subprocess.Popen[str], seconds: float) -> None:
        import threading

        self._timer = threading.Timer(seconds, process.kill)
        self._timer.start()

    def is_over(self) -> bool:
        """Whether it rang; it rings no more."""
        rang = self._timer.finished.is_set()
        self._timer.cancel()
        self._timer.join()
        return rang


def work() -> None:
    """Read the files whose names come in, and answer each with a line."""
    for line in sys.stdin:
        path = Path(line.strip())
        try:
            outcome = verdict(path)
        except TpvideoError as error:
            outcome = "refused" if "\n" not in str(error) else "wrong: a complaint of many lines"
        except Exception as error:
            outcome = f"crash: {type(error).__name__}: {error}".replace("\n", " ")
        print(outcome, flush=True)


def verdict(path: Path) -> str:
    """Read a file, write it again, and compare."""
    target = path.with_name(path.stem + ".out.mkv")
    source = FileSource(path)
    sink = FileSink(target, source=path, overwrite=True)
    times, shapes, marked = [], set(), []
    try:
        info = source.open()
        sink.open(info)
        for frame in source:
            times.append(frame.stamp.pts * info.time_base)
            shapes.add(frame.rgb.shape)
            marked.append(frame.stamp.index)
            sink.consume(Rendered(frame.stamp, frame.rgb))
        sink.finish()
        return judged(source, times, shapes, marked, frame_times(target))
    finally:
        sink.close()
        source.close()
        target.unlink(missing_ok=True)


def judged(source: FileSource, times: list, shapes: set, indices: list, written: list) -> str:  # type: ignore[type-arg]
    """What is wrong with a reading that succeeded, or whether it told of damage."""
    if indices != list(range(len(indices))) or len(shapes) != 1:
        return f"wrong: frames {indices} of sizes {shapes}"
    if any(later <= earlier for earlier, later in pairwise(times)):
        return "wrong: times do not rise"
    if len(written) != len(times):
        return f"wrong: {len(times)} frames read, {len(written)} written"
    shift = written[0] - times[0]
    if any(abs(w - t - shift) > 0.0015 for w, t in zip(written, times, strict=True)):
        return "wrong: other times were written"  # Matroska counts milliseconds
    damage = source._damage
    if (damage.packets or damage.concealed) and not source.notices:
        return "wrong: damage without a word"
    return "read with notices" if source.notices else "read"


if __name__ == "__main__":
    main()
