"""The window on a real display: Xvfb, which `make test-live` installs."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest
from livekit import INFO, shown

from tpvideo.pipeline.live.outputs import Closed
from tpvideo.pipeline.live.window import Window

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(shutil.which("Xvfb") is None, reason="Xvfb is not installed"),
]


@pytest.fixture
def display(monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    """A display of its own; ends with its process."""
    reading, writing = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writing), "-screen", "0", "640x480x24", "-nolisten", "tcp"],
        pass_fds=[writing],
        stderr=subprocess.DEVNULL,
    )
    os.close(writing)
    with os.fdopen(reading) as told:
        monkeypatch.setenv("DISPLAY", f":{told.readline().strip()}")
    yield server
    server.terminate()
    server.wait(timeout=10)


def test_pictures_are_drawn_in_a_window_one_after_the_other(
    display: subprocess.Popen[bytes],
) -> None:
    window = Window()
    window.open(INFO)
    for number in range(20):
        window.consume(shown(number, level=10 * number))  # returns when it is drawn
    window.finish()
    window.close()


def test_a_display_that_goes_away_closes_the_window_and_nothing_else(
    display: subprocess.Popen[bytes],
) -> None:
    window = Window()
    window.open(INFO)
    window.consume(shown(0))
    display.kill()
    with pytest.raises(Closed):
        for number in range(1, 30):
            window.consume(shown(number))
    window.close()
