"""Damaged films of fixed seeds; bench/fuzz.py looks at as many as one has time for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FUZZ = Path(__file__).resolve().parents[2] / "bench/fuzz.py"


def test_no_damaged_film_crashes_hangs_or_passes_for_whole() -> None:
    command = [sys.executable, str(FUZZ), "--seed", "1000", "--cases", "60", "--seconds", "240"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.startswith("60 files: ")
    assert "refused" in ended.stdout  # so that damage did reach the reader
    assert "read" in ended.stdout
