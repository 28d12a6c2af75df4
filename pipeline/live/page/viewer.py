"""One browser that looks at the page: it gets the newest picture when it has drawn the last."""

from __future__ import annotations

import asyncio
import io
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web
from PIL import Image as Pillow

from tpvideo.pipeline.errors import ConfigError
from tpvideo.pipeline.frame import Image
from tpvideo.pipeline.live.view import Shown

HEAD = struct.Struct("<IId")
"""Of a picture's message: frame number, bytes of the first JPEG, the browser's own time of the
capture (milliseconds, 0 where the camera is not the browser's). Then both JPEGs: result, source."""

PICTURE = struct.Struct("<d")
"""Of a message from the browser's camera: its own time of the capture; a JPEG follows."""

LONGEST_TEXT = 4096
MOST_TEXTS = 200
"""Most messages that wait for a browser which does not take them: four seconds of sound."""

QUALITY = 85

Command = Callable[[Any], object]
"""Takes a command's argument; what it returns is ignored, a ConfigError is told to the browser."""


@dataclass(frozen=True, slots=True)
class Coded:
    """A picture as it is sent, made once for all viewers."""

    index: int
    pts: int
    message: bytes


def coded(shown: Shown, sent_ms: float) -> Coded:
    """The message for one picture."""
    result, source = jpeg(shown.rgb), jpeg(shown.source)
    head = HEAD.pack(shown.stamp.index & 0xFFFFFFFF, len(result), sent_ms)
    return Coded(shown.stamp.index, shown.stamp.pts, head + result + source)


def jpeg(rgb: Image) -> bytes:
    """A picture [H, W, 3] as JPEG."""
    file = io.BytesIO()
    Pillow.fromarray(rgb).save(file, "jpeg", quality=QUALITY)
    return file.getvalue()


class Viewer:
    """A WebSocket with at most one picture on its way.

    Args:
        socket: prepared.
        commands: what the browser may ask for, by name.
        on_shown: called with a picture's pts when the browser has drawn it.
        on_picture: takes the pictures of the browser's camera.
    """

    def __init__(
        self,
        socket: web.WebSocketResponse,
        commands: dict[str, Command],
        on_shown: Callable[[int], None],
        on_picture: Callable[[Viewer, float, bytes], None],
    ) -> None:
        self._socket = socket
        self._commands = commands
        self._on_shown = on_shown
        self._on_picture = on_picture
        self.is_listening = False
        """Whether the browser wants sound."""
        self._newest: Coded | None = None
        self._on_its_way: Coded | None = None
        self._texts: list[str] = []
        self._news = asyncio.Event()

    def show(self, picture: Coded) -> None:
        """Send a picture as soon as the last one is drawn, unless a newer one comes meanwhile."""
        self._newest = picture
        self._news.set()

    def say(self, message: dict[str, Any]) -> None:
        """Send a message, unless the browser takes none for long."""
        if len(self._texts) < MOST_TEXTS:
            self._texts.append(json.dumps(message))
        self._news.set()

    def listen(self, wanted: object) -> None:
        """Send sound as well from now on, or no longer.

        Raises:
            ConfigError: neither true nor false.
        """
        if not isinstance(wanted, bool):
            raise ConfigError(f"listen is true or false, got {wanted!r}")
        self.is_listening = wanted

    async def serve(self) -> None:
        """Until the browser goes away."""
        sending = asyncio.create_task(self._send())
        try:
            async for message in self._socket:
                if message.type is WSMsgType.TEXT:
                    self._obey(message.data)
                elif message.type is WSMsgType.BINARY and len(message.data) > PICTURE.size:
                    (sent_ms,) = PICTURE.unpack_from(message.data)
                    self._on_picture(self, sent_ms, message.data[PICTURE.size :])
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)  # it may have been cut off

    async def leave(self) -> None:
        """End the connection from this side."""
        await self._socket.close(code=WSCloseCode.GOING_AWAY)

    async def _send(self) -> None:
        while not self._socket.closed:
            await self._news.wait()
            self._news.clear()
            texts, self._texts = self._texts, []
            for text in texts:
                await self._socket.send_str(text)
            if self._newest is not None and self._on_its_way is None:
                self._on_its_way, self._newest = self._newest, None
                await self._socket.send_bytes(self._on_its_way.message)

    def _obey(self, text: str) -> None:
        try:
            asked = json.loads(text) if len(text) <= LONGEST_TEXT else None
        except ValueError:
            asked = None
        if not isinstance(asked, dict):
            self.say({"error": "that is no command"})
            return
        for name, argument in asked.items():
            try:
                self._obey_one(name, argument)
            except ConfigError as error:
                self.say({"error": str(error)})

    def _obey_one(self, name: str, argument: Any) -> None:
        if name == "drawn":
            if self._on_its_way is not None and self._on_its_way.index == argument:
                self._on_shown(self._on_its_way.pts)
                self._on_its_way = None
                self._news.set()
        elif name == "listen":
            self.listen(argument)
        elif name in self._commands:
            self._commands[name](argument)
        else:
            raise ConfigError(f"there is no command {name[:40]!r}")
