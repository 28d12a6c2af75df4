"""How near two films of one size are, frame by frame: PSNR of whole pictures.

    tpvideo talk.mp4 --yaw -0.3 --size 256 --crf 1 -o a.mp4
    tpvideo talk.mp4 --yaw -0.3 --preset fast --crf 1 -o b.mp4
    python bench/likeness.py a.mp4 b.mp4

Both are compared as they were encoded; equal frames count as 60 dB.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tpvideo.pipeline.frame import Image
from tpvideo.stages.decode import FileSource

MOST_DB = 60.0


def pictures(path: Path) -> Iterator[Image]:
    """[H, W, 3] upright frames of a film."""
    source = FileSource(path)
    source.open()
    try:
        for frame in source:
            yield frame.rgb
    finally:
        source.close()


def likeness_db(one: Image, other: Image) -> float:
    """PSNR of two pictures [H, W, 3], at most MOST_DB."""
    error = float(((one.astype(np.float32) - other) ** 2).mean()) / 255**2
    return min(MOST_DB, -10 * float(np.log10(max(error, 1e-9))))


def main() -> None:
    """Parse the command line and print a line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("one", type=Path)
    parser.add_argument("other", type=Path)
    args = parser.parse_args()
    pairs = zip(pictures(args.one), pictures(args.other), strict=False)
    found = [likeness_db(one, other) for one, other in pairs]
    if not found:
        raise SystemExit("no frames to compare")
    print(f"{len(found)} frames: mean {np.mean(found):.1f} dB, worst {min(found):.1f} dB")


if __name__ == "__main__":
    main()
