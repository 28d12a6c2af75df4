"""Time whole runs of the program: frames per second, the stage table, peak memory.

    python bench/run.py [SOURCE] [--repeat K] [--options OPTIONS] [--against OPTIONS]

Without SOURCE the sample clip is used. With `--against`, runs with both sets of options alternate,
and their ratio is printed: only ratios within one call mean anything on a noisy machine.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CHILD = """
import json, resource, sys, time
from tpvideo.pipeline.cli import main
begun = time.perf_counter()
try:
    main(sys.argv[1:])
except SystemExit as done:
    code = done.code or 0
usage = resource.getrusage(resource.RUSAGE_SELF)
print("BENCH " + json.dumps({
    "code": code, "wall_s": time.perf_counter() - begun,
    "cpu_s": usage.ru_utime + usage.ru_stime, "peak_mib": usage.ru_maxrss / 1024}))
"""


def run_once(source: Path, options: list[str]) -> dict[str, float]:
    """One run in a process of its own: seconds, CPU seconds, peak memory, frames."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "out.mp4"
        command = [sys.executable, "-c", CHILD, str(source), "-o", str(target), *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        line = next((x for x in done.stdout.splitlines() if x.startswith("BENCH ")), None)
        if line is None or not target.exists():
            sys.exit(done.stderr or done.stdout)
        figures: dict[str, float] = json.loads(line.removeprefix("BENCH "))
        figures["frames"] = count_frames(target)
    figures["fps"] = figures["frames"] / figures["wall_s"]
    figures["cpu_ms_per_frame"] = 1000 * figures["cpu_s"] / figures["frames"]
    return figures


def count_frames(path: Path) -> int:
    """Video packets in a file."""
    import av

    with av.open(str(path)) as container:
        return sum(packet.size > 0 for packet in container.demux(video=0))


def main() -> None:
    """Parse the command line, run, print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", nargs="?", type=Path, default=ROOT / "samples" / "talk.mp4")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--options", default="--yaw -0.3", help="options of the program")
    parser.add_argument("--against", help="other options, run in turn with the first")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    variants = [args.options] + ([args.against] if args.against else [])
    found: dict[str, list[dict[str, float]]] = {variant: [] for variant in variants}
    for _ in range(args.repeat):
        for variant in variants:
            found[variant].append(run_once(args.source, shlex.split(variant)))
    summary = {
        variant: {
            name: statistics.median(run[name] for run in runs)
            for name in ("fps", "wall_s", "cpu_ms_per_frame", "peak_mib", "frames")
        }
        for variant, runs in found.items()
    }
    if args.json:
        print(json.dumps({"cores": os.cpu_count(), "runs": summary}, indent=1))
        return
    for variant, row in summary.items():
        shown = "  ".join(f"{name} {value:.1f}" for name, value in row.items())
        print(f"{variant}: {shown}")
    if args.against:
        first, second = (summary[variant]["fps"] for variant in variants)
        print(f"ratio of frames per second: {first / second:.3f}")


if __name__ == "__main__":
    main()
