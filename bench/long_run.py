"""Render a long synthetic clip with the smallest networks and watch the memory.

    python bench/long_run.py [--minutes 30] [--rate 10] [--batch-size 1] [--most-growth 0.05]

Every stage is the real one but for the sizes: tiny networks, pictures of 96 x 64, a face that is
always in the same place; every picture differs from the one before, so that none is passed on.
Exits with 1 when the film breaks a rule of `tpvideo verify`, when something is left beside it, or
when the memory that is resident grows by more than allowed after the first tenth of the run.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import tempfile
import threading
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/support"))
from small_run import OneFace
from synthetic import numbered
from tiny import tiny_network

from tpvideo.pipeline import app
from tpvideo.pipeline.config import Settings
from tpvideo.pipeline.runner import Pipeline
from tpvideo.stages.compare import compare, plan_of

PAGE_MIB = resource.getpagesize() / 2**20
SOUND_HZ = 8000


def write_source(path: Path, frames: int, rate: int) -> None:
    """A film of numbered frames with a hum, written as it is made."""
    options = {"preset": "ultrafast", "threads": "1"}
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=rate, options=options)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        sound = container.add_stream("aac", rate=SOUND_HZ, bit_rate=8000)
        samples = SOUND_HZ // rate
        hum = (1000 * np.sin(np.arange(samples) * 0.05)).astype(np.int16)[None]
        for number in range(frames):
            picture = av.VideoFrame.from_ndarray(numbered(number % 256), format="rgb24")
            picture.pts, picture.time_base = number, Fraction(1, rate)
            container.mux(video.encode(picture))
            tone = av.AudioFrame.from_ndarray(hum, format="s16", layout="mono")
            tone.rate, tone.pts, tone.time_base = (
                SOUND_HZ,
                samples * number,
                Fraction(1, SOUND_HZ),
            )
            container.mux(sound.encode(tone))
        container.mux(video.encode(None))
        container.mux(sound.encode(None))


def smallest_networks() -> app.Networks:
    """Networks of random weights that take a few milliseconds for a frame."""
    torch.manual_seed(1)
    return app.Networks(tiny_network(raw_side=8, samples=[2, 2]), OneFace())


def resident_mib() -> float:
    """Memory of this process that is in RAM."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_MIB


class Watch:
    """Samples (frames written, MiB resident) while a run goes on."""

    def __init__(self, pipeline: Pipeline, every_s: float) -> None:
        self.samples: list[tuple[int, float]] = []
        self._pipeline = pipeline
        self._every_s = every_s
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._is_over.wait(self._every_s):
            self.samples.append((self._pipeline.report().frames, resident_mib()))

    def tenths(self, frames: int) -> list[float]:
        """MiB in each tenth of a run of so many frames, and last while the film is joined.

        Each is the median of its samples, because frames on their way come and go; 0 where there
        is none.
        """
        found: list[list[float]] = [[] for _ in range(11)]
        for done, mib in self.samples:
            found[10 * done // frames].append(mib)
        return [statistics.median(tenth) if tenth else 0.0 for tenth in found]


def main() -> None:
    """Run and tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rate", type=int, default=10, help="frames a second of the clip")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--most-growth", type=float, default=0.05)
    chosen = parser.parse_args()
    frames = round(60 * chosen.rate * chosen.minutes)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "long.mp4", Path(folder) / "out.mp4"
        write_source(source, frames, chosen.rate)
        settings = Settings(
            yaw_rad=0.3,
            matting="none",
            size=64,
            detail="off",
            device="cpu",
            batch_size=chosen.batch_size,
        )
        pipeline = app.assemble(source, target, settings, smallest_networks())
        with Watch(pipeline, every_s=min(0.2, chosen.minutes / 30)) as watch:
            report = pipeline.run()
        verdicts = compare(source, target, plan_of(target))
        left = sorted(path.name for path in Path(folder).iterdir())
    *tenths, joining = watch.tenths(frames)
    growth = max(tenths[1:]) / tenths[1] - 1
    print(f"{frames} frames in, {report.frames} out; left: {left}")
    print(*(f"{verdict.rule}: {verdict.said}" for verdict in verdicts), sep="\n")
    print("MiB resident in each tenth:", *(f"{mib:.1f}" for mib in tenths))
    print(f"while the film is joined: {joining:.1f}; {len(watch.samples)} samples")
    print(f"growth after the first tenth: {growth:+.1%}")
    print(f"{os.times().user + os.times().system:.0f} s of CPU in all")
    is_whole = report.frames == frames and all(verdict.holds for verdict in verdicts)
    is_clean = left == ["long.mp4", "out.mp4"]
    sys.exit(0 if is_whole and is_clean and growth <= chosen.most_growth else 1)


if __name__ == "__main__":
    main()
