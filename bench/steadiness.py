"""How steady crop and camera are made, and how late they come: causally, and with a look ahead.

    python bench/steadiness.py CLIP... [--smooth 0.5]

follows the face through each clip as the program does, smooths what is read both ways, and prints a
line for each clip. Lag is what is missing of the motion (readings less smoothed) over its speed;
unsteadiness is the acceleration from frame to frame over that of the readings. Both are means over
centre, side, roll, yaw and pitch, of the longest part without a cut or a loss.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tpvideo.stages.decode import FileSource
from tpvideo.stages.face import LOOK_AHEAD
from tpvideo.stages.facefinder import FaceFinder, FaceReading
from tpvideo.stages.pose_smoothing import Pose, PoseFitter, PoseSmoother, numbers_of
from tpvideo.stages.tracker import Tracker
from tpvideo.weights import store

Timed = tuple[FaceReading, float]


def longest_shot(clip: Path) -> list[Timed]:
    """The face in a row of frames, and their times in seconds."""
    source, tracker = FileSource(clip), Tracker(FaceFinder.load(store.find("face")), "largest")
    time_base = source.open().time_base
    shots: list[list[Timed]] = [[]]
    for frame in source:
        reading = tracker.follow(frame.rgb)
        if reading is None or tracker.is_new:
            shots.append([])
        if reading is not None:
            shots[-1].append((reading, float(frame.stamp.pts * time_base)))
    source.close()
    return max(shots, key=len)


def numbers(poses: Iterable[Pose]) -> NDArray[np.float64]:
    """[N, 6] centre in sides of the first square, logarithm of the side, three angles."""
    rows = [
        [*fit.centre, math.log(fit.side_px), fit.roll_rad, yaw, pitch] for fit, yaw, pitch in poses
    ]
    found = np.array(rows)
    found[:, :2] /= math.exp(found[0, 2])
    found[:, 3] = np.unwrap(found[:, 3])
    return found


def both_ways(shot: list[Timed], smooth: float) -> tuple[NDArray[np.float64], ...]:
    """[N, 6] as read, smoothed causally, and with a look ahead."""
    bare, causal, fitter = PoseSmoother(0.0), PoseSmoother(smooth), PoseFitter(smooth, LOOK_AHEAD)
    timed = [(numbers_of(reading), time_s) for reading, time_s in shot]
    ahead = [fitter(*each, timed[n + 1 : n + 1 + LOOK_AHEAD]) for n, each in enumerate(timed)]
    return (
        numbers(bare(*each) for each in shot),
        numbers(causal(*each) for each in shot),
        numbers(ahead),
    )


def lag_ms(read: NDArray[np.float64], smoothed: NDArray[np.float64], step_s: float) -> float:
    """By how much the smoothed come later than what was read."""
    width = 5  # the speed of the readings alone is mostly noise
    even = np.ones(width) / width
    speed = np.gradient(read, step_s, axis=0)
    speed = np.stack([np.convolve(column, even, "same") for column in speed.T], axis=1)
    late_s = ((read - smoothed) * speed).sum(axis=0) / (speed**2).sum(axis=0)
    return 1000 * float(late_s.mean())


def unsteadiness(read: NDArray[np.float64], smoothed: NDArray[np.float64]) -> float:
    """Acceleration of the smoothed over that of the readings."""
    before, after = (np.diff(each, 2, axis=0).std(axis=0) for each in (read, smoothed))
    return float((after / before).mean())


def main() -> None:
    """Parse the command line and print a line for each clip."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--smooth", type=float, default=0.5)
    args = parser.parse_args()
    print("clip, frames: lag causal, ahead; unsteadiness causal, ahead")
    for clip in args.clips:
        shot = longest_shot(clip)
        if len(shot) < 3:
            raise SystemExit(f"{clip} shows no face for three frames in a row")
        read, causal, ahead = both_ways(shot, args.smooth)
        step_s = (shot[-1][1] - shot[0][1]) / (len(shot) - 1)
        lags = (lag_ms(read, each, step_s) for each in (causal, ahead))
        rest = (unsteadiness(read, each) for each in (causal, ahead))
        print("{}, {}: {:.0f} ms, {:.0f} ms; {:.2f}, {:.2f}".format(
            clip.stem, len(shot), *lags, *rest))  # fmt: skip


if __name__ == "__main__":
    main()
