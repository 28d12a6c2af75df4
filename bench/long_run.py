"""Render a long synthetic clip with the smallest networks and watch the memory.

    python bench/long_run.py [--minutes 30] [--rate 25] [--most-growth 0.05]

Every stage is the real one but for the sizes: tiny networks, pictures of 96 x 64, a face that is
always in the same place. Exits with 1 when a frame or its time is lost, or when the memory that is
resident grows by more than allowed after the first tenth of the run.
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

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/support"))
from films import frame_times
from small_run import small_networks
from synthetic import numbered

from tpvideo.pipeline import app
from tpvideo.pipeline.config import Settings
from tpvideo.pipeline.runner import Pipeline

PAGE_MIB = resource.getpagesize() / 2**20


def write_source(path: Path, frames: int, rate: int) -> None:
    """A film of numbered frames with a hum, written as it is made."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=rate, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        sound = container.add_stream("aac", rate=16000)
        samples = 16000 // rate
        hum = (1000 * np.sin(np.arange(samples) * 0.05)).astype(np.int16)[None]
        for number in range(frames):
            picture = av.VideoFrame.from_ndarray(numbered(number % 256), format="rgb24")
            picture.pts, picture.time_base = number, Fraction(1, rate)
            container.mux(video.encode(picture))
            tone = av.AudioFrame.from_ndarray(hum, format="s16", layout="mono")
            tone.rate, tone.pts, tone.time_base = 16000, samples * number, Fraction(1, 16000)
            container.mux(sound.encode(tone))
        container.mux(video.encode(None))
        container.mux(sound.encode(None))


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

    def growth(self, frames: int) -> tuple[float, float, float]:
        """(MiB in the tenth after the warm-up, most MiB in any later tenth, relative growth).

        Each is the median of the samples in a tenth of the run, so that one sample that falls
        into an allocation tells nothing.
        """
        tenths: list[list[float]] = [[] for _ in range(10)]
        for done, mib in self.samples:
            tenths[min(9, 10 * done // frames)].append(mib)
        medians = [statistics.median(tenth) for tenth in tenths[1:] if tenth]
        return medians[0], max(medians), max(medians) / medians[0] - 1


def main() -> None:
    """Run and tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rate", type=int, default=25, help="frames a second of the clip")
    parser.add_argument("--most-growth", type=float, default=0.05)
    chosen = parser.parse_args()
    frames = round(60 * chosen.rate * chosen.minutes)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "long.mp4", Path(folder) / "out.mp4"
        write_source(source, frames, chosen.rate)
        settings = Settings(
            yaw_rad=0.3, matting="none", size=64, detail="off", device="cpu", batch_size=8
        )
        pipeline = app.assemble(source, target, settings, small_networks())
        with Watch(pipeline, every_s=0.05 if chosen.minutes < 2 else 1.0) as watch:
            report = pipeline.run()
        same_times = frame_times(target) == frame_times(source)
        left = sorted(path.name for path in Path(folder).iterdir())
    begin, most, growth = watch.growth(frames)
    print(f"{frames} frames in, {report.frames} out, times equal: {same_times}; left: {left}")
    print(
        f"resident: {begin:.1f} MiB after the warm-up, at most {most:.1f} later, {growth:+.1%}, "
        f"{len(watch.samples)} samples; {os.times().user + os.times().system:.0f} s of CPU"
    )
    is_well = report.frames == frames and same_times and growth <= chosen.most_growth
    sys.exit(0 if is_well and left == ["long.mp4", "out.mp4"] else 1)


if __name__ == "__main__":
    main()
