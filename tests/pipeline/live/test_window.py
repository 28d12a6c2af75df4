"""The window's process: what is sent to it, what it answers, and that it can only fail alone."""

from __future__ import annotations

import io
import sys

import pytest
from livekit import INFO, shown

from tpvideo.pipeline.errors import OutputError
from tpvideo.pipeline.live.outputs import Closed
from tpvideo.pipeline.live.window import Window
from tpvideo.pipeline.live.window_process import HEAD, read

ECHO = """
import sys
from tpvideo.pipeline.live.window_process import read, tell
tell(ready=True)
for number in range(2):
    picture = read(sys.stdin.buffer)
    tell(key=f"{len(picture)}")
    tell(drawn=True)
"""
"""Draws nothing, answers two pictures, and is closed."""


def test_a_window_answers_each_picture_tells_keys_and_when_it_is_closed() -> None:
    keys: list[str] = []
    window = Window(keys.append, ("-c", ECHO))
    window.open(INFO)
    window.consume(shown(1, side=32))
    window.consume(shown(2, side=32))
    with pytest.raises(Closed, match="closed"):
        for number in range(3, 6):
            window.consume(shown(number, side=32))
    window.close()
    size = str(32 * 32 * 3 + len(b"P6 32 32 255\n"))
    assert keys == [size, size]


def test_a_window_that_dies_of_a_signal_is_closed_and_the_session_lives() -> None:
    window = Window(program=("-c", "import os; print('{\"ready\": true}', flush=True); os.abort()"))
    window.open(INFO)
    with pytest.raises(Closed):
        for number in range(3):
            window.consume(shown(number))
    window.close()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is always a display")
def test_without_a_display_the_page_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    window = Window()
    with pytest.raises(OutputError, match=r"(display|tkinter).*--page"):
        window.open(INFO)
    window.close()


def test_a_picture_becomes_a_ppm_file_and_half_a_picture_nothing() -> None:
    item = shown(1, side=16)
    whole = HEAD.pack(16, 16) + item.rgb.tobytes()
    assert read(io.BytesIO(whole)) == b"P6 16 16 255\n" + item.rgb.tobytes()
    assert read(io.BytesIO(whole[:-1])) is None
    assert read(io.BytesIO(b"")) is None
    assert read(io.BytesIO(HEAD.pack(2**20, 2**20))) is None  # nobody allocates that
