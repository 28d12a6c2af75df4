"""How fast synthetic heads are drawn: processor time of one process with one thread.

    OMP_NUM_THREADS=1 python bench/heads.py PACK
    OMP_NUM_THREADS=1 python bench/heads.py PACK --variety --lenses 2

The first people are drawn but not counted: compiling takes its time once. Writing a file of 1.5 MB
for each person is left out.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import cv2

from tpvideo.weights.training.heads.pack import Pack
from tpvideo.weights.training.heads.views import training_views

FIRST = 10_000
UNCOUNTED = 5
"""People; the styles of hair among them have all kinds of layers."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pack", type=Path)
    parser.add_argument("--people", type=int, default=40)
    parser.add_argument("--variety", action="store_true")
    parser.add_argument("--lenses", type=int, default=0)
    given = parser.parse_args()
    cv2.setNumThreads(1)
    pack = Pack(given.pack)
    pictures = 0
    for number in range(UNCOUNTED + given.people):
        if number == UNCOUNTED:
            pictures, start = 0, time.process_time()
        views = training_views(pack, FIRST + number, lenses=given.lenses, variety=given.variety)
        pictures += sum(len(views[key]) for key in ("rgba", "w_rgba", "lens_rgba") if key in views)
    spent = time.process_time() - start
    print(
        f"{given.people} people, {pictures} pictures: {spent / given.people:.3f} s a person, "
        f"{pictures / spent:.1f} pictures a second and core (processor time)"
    )


if __name__ == "__main__":
    main()
