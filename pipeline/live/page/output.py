"""The page as an output: a small web server in a thread, fed by the sink's thread."""

from __future__ import annotations

import asyncio
import base64
import io
import threading
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

from aiohttp import web
from PIL import Image as Pillow
from PIL.PngImagePlugin import PngInfo

from tpvideo.pipeline.errors import OutputError
from tpvideo.pipeline.frame import Image, StreamInfo
from tpvideo.pipeline.live.latency import Meter
from tpvideo.pipeline.live.page.camera import PageCamera
from tpvideo.pipeline.live.page.guard import Guard
from tpvideo.pipeline.live.page.viewer import Coded, Command, Viewer, coded
from tpvideo.pipeline.live.view import Shown
from tpvideo.stages.captured_sound import Samples
from tpvideo.stages.live import age_s
from tpvideo.stages.microphone import LiveSound
from tpvideo.stages.pictures import PNG_XMP
from tpvideo.stages.provenance import Provenance

FILES = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
"""All that is served from the disk."""

LARGEST_MESSAGE = 4 * 2**20
MOST_VIEWERS = 8
FIGURES_S = 0.5
START_S = 20.0


class Page:
    """Serves the page from `open` to `close`.

    Args:
        host, port: where; port 0 is any free one.
        figures: everything the page tells in numbers and words, asked for twice a second.
        commands: what the page may ask for, by name; called in the server's thread.
        meter: gets the time from capture until a browser has drawn.
        camera: where the pictures of a browser's camera go; None offers no such thing.
        sound: what the page can play, as late as it shows the pictures; None offers none.
        recording: the path of the newest recording made by the page's button.
        note: what a snapshot says of how it was made.
        on_ready: told the page's address.
    """

    name = "page"

    def __init__(
        self,
        host: str,
        port: int,
        *,
        figures: Callable[[], dict[str, Any]],
        commands: dict[str, Command],
        meter: Meter,
        camera: PageCamera | None = None,
        sound: LiveSound | None = None,
        recording: Callable[[], Path | None] = lambda: None,
        note: Callable[[], Provenance | None] = lambda: None,
        on_ready: Callable[[str], object] = lambda url: None,
    ) -> None:
        self._host, self._port = host, port
        self._figures = figures
        self._commands = commands
        self._meter = meter
        self._camera = camera
        self._camera_of: Viewer | None = None
        self._sound = sound
        self._deafen: Callable[[], None] = lambda: None
        self._recording = recording
        self._note = note
        self._on_ready = on_ready
        self._guard = Guard(host)
        self._viewers: set[Viewer] = set()
        self._newest: Image | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over = asyncio.Event()
        self._ready = threading.Event()
        self._failure: OSError | None = None

    @property
    def url(self) -> str:
        """Where a browser finds the page, with its token; known once it is open."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}/{self._guard.query}"

    def open(self, info: StreamInfo) -> None:
        """Start the server.

        Raises:
            OutputError: the address cannot be had.
        """
        self._thread = threading.Thread(target=self._run, name="tpvideo-page", daemon=True)
        self._thread.start()
        is_ready = self._ready.wait(START_S)
        if self._failure is not None or not is_ready:
            reason = _reason(self._failure) if self._failure else "it does not start"
            raise OutputError(
                f"the page at {self._host}:{self._port}", f"{reason}; try another --port"
            )
        if self._sound is not None:
            self._deafen = self._sound.listen(self._hear)
        self._on_ready(self.url)

    def consume(self, item: Shown) -> None:
        """Offer a picture to every viewer that has drawn the last one."""
        self._newest = item.rgb
        if self._loop is None or not self._viewers:
            return
        sent_ms = self._camera.sent_ms.get(item.stamp.pts, 0.0) if self._camera else 0.0
        picture = coded(item, sent_ms)
        self._loop.call_soon_threadsafe(self._show, picture)

    def finish(self) -> None:
        """Nothing is to be completed."""

    def close(self) -> None:
        """End the server; its viewers are told by their connections' ends."""
        self._deafen()
        if self._thread is not None:
            if self._loop is not None and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._over.set)
            self._thread.join()
            self._thread = None

    def _hear(self, moment: int, samples: Samples) -> None:
        """Pass sound on when the picture of its moment is seen."""
        seen = self._meter.recent()
        if self._loop is None or seen is None or not any(v.is_listening for v in self._viewers):
            return
        late_s = max(0.0, seen.p50_s - age_s(moment))
        self._loop.call_soon_threadsafe(self._loop.call_later, late_s, self._play, samples)

    # --- in the server's thread from here on --------------------------------------------------

    def application(self) -> web.Application:
        """The server's routes."""
        app = web.Application(middlewares=[self._guard.middleware], client_max_size=2**16)
        for path in FILES:
            app.router.add_get(path, self._file)
        app.router.add_get("/live", self._socket)
        app.router.add_get("/snapshot.png", self._snapshot)
        app.router.add_get("/recording.mp4", self._movie)
        return app

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except OSError as error:
            self._failure = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        runner = web.AppRunner(self.application(), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            site = web.TCPSite(runner, self._host, self._port)
            await site.start()
            self._port = runner.addresses[0][1]
            self._ready.set()
            while not self._over.is_set():
                for viewer in self._viewers:
                    viewer.say({"figures": self._figures()})
                await _wait(self._over, FIGURES_S)
            for viewer in tuple(self._viewers):
                await viewer.leave()
        finally:
            await runner.cleanup()

    def _show(self, picture: Coded) -> None:
        for viewer in self._viewers:
            viewer.show(picture)

    def _play(self, samples: Samples) -> None:
        message = {"sound": base64.b64encode(samples.tobytes()).decode()}
        for viewer in self._viewers:
            if viewer.is_listening:
                viewer.say(message)

    async def _file(self, request: web.Request) -> web.Response:
        name, kind = FILES[request.path]
        text = (files(__package__) / name).read_text(encoding="utf-8")
        return web.Response(text=text, content_type=kind)

    async def _snapshot(self, request: web.Request) -> web.Response:
        if self._newest is None:
            raise web.HTTPNotFound(text="there is no picture yet")
        note = self._note()
        body = await asyncio.to_thread(_png, self._newest, note.xmp() if note else None)
        return web.Response(body=body, content_type="image/png")

    async def _movie(self, request: web.Request) -> web.StreamResponse:
        path = self._recording()
        if path is None or not path.is_file():
            raise web.HTTPNotFound(text="nothing was recorded yet")
        return web.FileResponse(path, headers={"Content-Type": "video/mp4"})

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        if len(self._viewers) >= MOST_VIEWERS:
            raise web.HTTPServiceUnavailable(text="too many viewers")
        socket = web.WebSocketResponse(max_msg_size=LARGEST_MESSAGE, heartbeat=20, compress=False)
        await socket.prepare(request)
        viewer = Viewer(socket, self._commands, self._was_shown, self._take)
        self._viewers.add(viewer)
        try:
            offers = {"camera": self._camera is not None, "listen": self._sound is not None}
            viewer.say({"figures": self._figures(), **offers})
            await viewer.serve()
        finally:
            self._viewers.discard(viewer)
            if self._camera_of is viewer:
                self._camera_of = None
        return socket

    def _was_shown(self, pts: int) -> None:
        self._meter.add(age_s(pts))

    def _take(self, viewer: Viewer, sent_ms: float, data: bytes) -> None:
        """A picture of a browser's camera; the first browser that sends any is the camera."""
        if self._camera is None:
            viewer.say({"error": "this session has a camera; start it with --page-camera"})
            return
        if self._camera_of is None:
            self._camera_of = viewer
        if self._camera_of is viewer:
            self._camera.give(sent_ms, data)
        else:
            viewer.say({"error": "another browser is the camera already", "camera": False})


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return


def _png(rgb: Image, xmp: bytes | None) -> bytes:
    file = io.BytesIO()
    told = PngInfo()
    if xmp is not None:
        told.add_itxt(PNG_XMP, xmp.decode())
    Pillow.fromarray(rgb).save(file, "png", compress_level=4, pnginfo=told)
    return file.getvalue()
