"""A window on this machine, in a process of its own: whatever a toolkit does, the session lives."""

from __future__ import annotations

import json
import logging
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any

from tpvideo.pipeline.errors import OutputError
from tpvideo.pipeline.frame import StreamInfo
from tpvideo.pipeline.live.outputs import Closed
from tpvideo.pipeline.live.view import Shown
from tpvideo.pipeline.live.window_process import HEAD

log = logging.getLogger(__name__)

START_S = 20.0
DRAW_S = 1.0
"""How long a picture may take to be drawn before the next is offered anyway."""

PROGRAM = ("-m", "tpvideo.pipeline.live.window_process")


class Window:
    """Shows every picture as soon as the last is drawn, and tells which keys are pressed.

    Args:
        on_key: called with Tk's name of each key, in a thread of its own.
        program: what draws; arguments of this Python.
    """

    name = "window"

    def __init__(
        self, on_key: Callable[[str], object] = lambda key: None, program: tuple[str, ...] = PROGRAM
    ) -> None:
        self._on_key = on_key
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None
        self._listener: threading.Thread | None = None
        self._drawn: queue.Queue[bool] = queue.Queue()
        """True: ready, or one picture is drawn; False: the window is gone."""
        self._why_not = ""

    def open(self, info: StreamInfo) -> None:
        """Open the window.

        Raises:
            OutputError: there is no display, or no toolkit.
        """
        self._process = subprocess.Popen(
            [sys.executable, *self._program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        self._listener = threading.Thread(
            target=self._listen, args=(self._process.stdout,), name="tpvideo-window"
        )
        self._listener.start()
        if not self._answer(START_S):
            why = self._why_not or "it does not answer"
            raise OutputError("to a window", f"{why}; --page shows the same in a browser")

    def consume(self, item: Shown) -> None:
        """Draw one picture, and return when it is seen.

        Raises:
            Closed: the window was closed.
        """
        assert self._process is not None and self._process.stdin is not None
        height, width, _ = item.rgb.shape
        try:
            self._process.stdin.write(HEAD.pack(width, height) + item.rgb.tobytes())
            self._process.stdin.flush()
        except OSError as error:
            raise Closed("the window is closed") from error
        if not self._answer(DRAW_S):
            raise Closed(self._why_not or "the window is closed")

    def finish(self) -> None:
        """Nothing is to be completed."""

    def close(self) -> None:
        """Close the window."""
        if self._process is None:
            return
        assert self._process.stdin is not None and self._process.stdout is not None
        with suppress(OSError):  # it has ended already
            self._process.stdin.close()
        try:
            self._process.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._listener is not None:
            self._listener.join()
        self._process.stdout.close()
        self._process = None

    def _answer(self, patience_s: float) -> bool:
        """Whether the window is there once it has answered, or kept silent for so long."""
        assert self._process is not None
        try:
            return self._drawn.get(timeout=patience_s)
        except queue.Empty:
            log.debug("the window is slow")
            return self._process.poll() is None and patience_s != START_S

    def _listen(self, lines: IO[bytes]) -> None:
        for line in lines:
            told: dict[str, Any] = json.loads(line)
            if "key" in told:
                self._on_key(told["key"])
            elif "failed" in told:
                self._why_not = told["failed"]
            else:
                self._drawn.put(True)
        self._drawn.put(False)
