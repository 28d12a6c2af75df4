"""The page over its own WebSocket, against a running session on the smallest network."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import av
import numpy as np
import pytest
from livekit import DEADLINE_S, Pictures, running, session
from PIL import Image as Pillow

from tpvideo.pipeline.errors import OutputError
from tpvideo.pipeline.frame import Image
from tpvideo.pipeline.live import session as sessions
from tpvideo.pipeline.live.page.camera import PageCamera, decoded
from tpvideo.pipeline.live.page.guard import HEADERS
from tpvideo.pipeline.live.page.viewer import HEAD
from tpvideo.pipeline.live.session import Session, Wanted
from tpvideo.stages.captured_sound import Samples
from tpvideo.stages.live import age_s, now
from tpvideo.stages.microphone import LiveSound

PAGE = Wanted(page=True, port=0)


class Browser:
    """What page.js does, in Python."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.sent_ms: list[float] = []

    async def picture(self) -> tuple[Image, Image]:
        """The next picture and its source, answered."""
        while not isinstance(taken := await self.take(), tuple):
            pass
        return taken

    async def told_of(self, key: str) -> Any:
        """The value under a key that is told next; pictures that come meanwhile are answered."""
        while isinstance(told := await self.take(), tuple) or key not in told:
            pass
        return told[key]

    async def take(self) -> tuple[Image, Image] | dict[str, Any]:
        """What comes next."""
        message = await self.socket.receive(DEADLINE_S)
        if message.type is aiohttp.WSMsgType.TEXT:
            told: dict[str, Any] = json.loads(message.data)
            return told
        assert message.type is aiohttp.WSMsgType.BINARY, message
        index, first, sent_ms = HEAD.unpack_from(message.data)
        pictures = message.data[HEAD.size :]
        await self.socket.send_json({"drawn": index})
        self.sent_ms.append(sent_ms)
        return unpacked(pictures[:first]), unpacked(pictures[first:])

    async def figures(self, **wanted: Any) -> dict[str, Any]:
        """The next figures in which these values hold."""
        while True:
            figures: dict[str, Any] = await self.told_of("figures")
            if all(figures[name] == value for name, value in wanted.items()):
                return figures


def unpacked(data: bytes) -> Image:
    return np.array(Pillow.open(io.BytesIO(data)))


def as_jpeg(rgb: Image) -> bytes:
    file = io.BytesIO()
    Pillow.fromarray(rgb).save(file, "jpeg")
    return file.getvalue()


def origin_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def visit(url: str, scenario: Callable[[Browser, aiohttp.ClientSession], Awaitable[None]]) -> None:
    """Open the page's socket as the page itself would."""

    async def whole() -> None:
        async with (
            aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as client,
            asyncio.timeout(DEADLINE_S),
        ):
            async with client.get(url) as answer:  # takes the cookie, where there is one
                assert answer.status == 200
            live = f"{origin_of(url)}/live"
            async with client.ws_connect(live, origin=origin_of(url), max_msg_size=2**24) as socket:
                await scenario(Browser(socket), client)

    asyncio.run(whole())


# --- pictures and knobs -----------------------------------------------------------------------


def test_turning_the_yaw_on_the_page_changes_the_picture_and_is_told_to_all() -> None:
    async def scenario(browser: Browser, client: aiohttp.ClientSession) -> None:
        before, source = await browser.picture()
        assert (before.shape, source.shape) == ((64, 64, 3), (64, 96, 3))
        same, _ = await browser.picture()
        await browser.socket.send_json({"turn": {"yaw_rad": 0.6}})
        figures = await browser.figures()
        while figures["controls"]["yaw_rad"] != 0.6:
            figures = await browser.figures()
        noise = np.abs(same.astype(int) - before).mean()
        while np.abs((await browser.picture())[0].astype(int) - before).mean() <= 3 * noise + 1:
            pass  # some may have been on their way

    with running(PAGE) as (session, url):
        visit(url, scenario)
        assert session.panel.controls.yaw_rad == 0.6


def test_figures_tell_rate_latency_and_state() -> None:
    async def scenario(browser: Browser, client: aiohttp.ClientSession) -> None:
        for _ in range(12):
            await browser.picture()
        figures = await browser.figures()
        while not figures["fps"]:
            await browser.picture()
            figures = await browser.figures()
        assert figures["state"] == "a grey wall"
        assert 0 < figures["p50"] <= figures["p95"] <= figures["p99"] <= 1000 * age_s(begin)
        assert figures["dropped"] >= 0
        assert 0 <= figures["confidence"] <= 1
        assert figures["presets"] == ["fast", "balanced", "quality"]

    begin = now()
    with running(PAGE) as (session, url):
        visit(url, scenario)
        seen = session.seen.all()
    assert seen is not None and seen.pictures >= 12


def test_one_picture_is_on_its_way_at_a_time() -> None:
    async def scenario(browser: Browser, client: aiohttp.ClientSession) -> None:
        seen: list[int] = []
        made_before = 0
        while not seen or made() < made_before + 5:
            message = await browser.socket.receive(DEADLINE_S)
            if message.type is aiohttp.WSMsgType.BINARY:
                seen.append(HEAD.unpack_from(message.data)[0])
                made_before = made()
        assert len(seen) == 1  # not one more came before the answer
        await browser.socket.send_json({"drawn": seen[0]})
        await browser.picture()

    def made() -> int:
        latency = session.made.all()
        return latency.pictures if latency else 0

    with running(PAGE) as (session, url):
        visit(url, scenario)


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ({"turn": {"yaw_rad": 9}}, "yaw must be within"),
        ({"turn": {"volume": 1}}, "no knob called volume"),
        ({"turn": 3}, "turn names knobs"),
        ({"record": "now"}, "record is true or false"),
        ({"open": "/etc/passwd"}, "no command 'open'"),
        ("hello", "that is no command"),
        ({"turn": {"background": "x" * 5000}}, "that is no command"),
    ],
)
def test_what_the_page_may_not_ask_is_answered_and_changes_nothing(
    command: object, complaint: str
) -> None:
    async def scenario(browser: Browser, client: aiohttp.ClientSession) -> None:
        await browser.socket.send_json(command)
        assert complaint in await browser.told_of("error")
        await browser.picture()

    with running(PAGE) as (session, url):
        before = session.panel.controls
        visit(url, scenario)
        assert session.panel.controls == before


def test_a_snapshot_is_the_picture_as_it_was_drawn() -> None:
    async def scenario(browser: Browser, client: aiohttp.ClientSession) -> None:
        await browser.picture()
        origin = f"http://{browser.socket._response.url.authority}"
        async with client.get(f"{origin}/snapshot.png") as answer:
            assert answer.status == 200
            picture = unpacked(await answer.read())
        assert picture.shape == (64, 64, 3) and picture.std() > 1

    with running(PAGE) as (_session, url):
        visit(url, scenario)


def test_a_recording_made_on_the_page_is_a_film_with_true_times() -> None:
    films: list[bytes] = []

    async def scenario(browser: Browser, client: aiohttp.ClientSession) -> None:
        await browser.picture()
        await browser.socket.send_json({"record": True})
        await browser.figures(recording=True)
        for _ in range(8 + 3):  # two may be older than the recording, and one come after its end
            await browser.picture()
        await browser.socket.send_json({"record": False})
        await browser.figures(recording=False)
        origin = f"http://{browser.socket._response.url.authority}"
        async with client.get(f"{origin}/recording.mp4") as answer:
            assert answer.status == 200
            films.append(await answer.read())

    with running(PAGE) as (session, url):
        visit(url, scenario)
        folder = session._clips.newest
        assert folder is not None and folder.exists()
    assert not folder.exists()  # it went with the session
    with av.open(io.BytesIO(films[0])) as film:
        times = [frame.time for frame in film.decode(video=0)]
    assert len(times) >= 8 and times[0] == 0
    assert times == sorted(set(times))


# --- sound ------------------------------------------------------------------------------------


class Ticking(LiveSound):
    """Tells pieces by hand."""

    def _read(self) -> None:
        self._is_over.wait()

    def tick(self, moment: int, samples: Samples) -> None:
        for listener in self._listeners:
            listener(moment, samples)


def test_sound_is_passed_on_when_the_picture_of_its_moment_is_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sound = Ticking()
    monkeypatch.setattr(sessions, "open_sound", lambda choice, source: sound)
    piece = np.arange(40, dtype=np.int16).reshape(20, 2)

    async def scenario(browser: Browser, client: aiohttp.ClientSession) -> None:
        assert await browser.told_of("listen") is True
        await browser.picture()
        await browser.socket.send_json({"listen": True})
        await browser.figures()
        await browser.figures()  # what was asked before is done
        for _ in range(200):
            session.seen.add(0.6)  # pictures are seen 0.6 s after their capture
        begin = now()
        await asyncio.to_thread(sound.tick, begin, piece)
        text = await browser.told_of("sound")
        assert age_s(begin) >= 0.55  # the median may hold earlier ones
        np.testing.assert_array_equal(
            np.frombuffer(base64.b64decode(text), np.int16).reshape(-1, 2), piece
        )

    with running(PAGE) as (session, url):
        visit(url, scenario)


# --- the browser's camera ---------------------------------------------------------------------


def test_the_browsers_camera_can_be_the_source() -> None:
    async def scenario(browser: Browser, client: aiohttp.ClientSession) -> None:
        assert await browser.told_of("camera") is True
        for number, level in enumerate((60, 180)):
            wall: Image = np.full((48, 80, 3), level, np.uint8)
            await browser.socket.send_bytes(struct.pack("<d", 1000.0 + number) + as_jpeg(wall))
            _, source = await browser.picture()
            assert source.shape == wall.shape
            assert abs(int(source.mean()) - level) <= 2  # twice through JPEG
        assert browser.sent_ms == [1000.0, 1001.0]  # its own clock comes back with each

    with running(PAGE, source=PageCamera()) as (_session, url):
        visit(url, scenario)


def test_only_one_browser_is_the_camera() -> None:
    wall = struct.pack("<d", 1.0) + as_jpeg(np.full((48, 80, 3), 60, np.uint8))

    async def scenario(browser: Browser, client: aiohttp.ClientSession) -> None:
        await browser.socket.send_bytes(wall)
        await browser.picture()
        origin = f"http://{browser.socket._response.url.authority}"
        async with client.ws_connect(f"{origin}/live", origin=origin) as other:
            await other.send_bytes(wall)
            assert "already" in await Browser(other).told_of("error")

    with running(PAGE, source=PageCamera()) as (_session, url):
        visit(url, scenario)


def test_a_page_that_sends_no_pictures_is_waited_for_and_garbage_is_passed_over() -> None:
    async def scenario(browser: Browser, client: aiohttp.ClientSession) -> None:
        await browser.socket.send_bytes(struct.pack("<d", 1.0) + b"this is no JPEG")
        figures = await browser.figures()
        while "no picture" not in figures["state"] and "waiting" not in figures["state"]:
            figures = await browser.figures()
        wall: Image = np.full((48, 80, 3), 60, np.uint8)
        await browser.socket.send_bytes(struct.pack("<d", 1.0) + as_jpeg(wall))
        await browser.picture()

    with running(PAGE, source=PageCamera()) as (_session, url):
        visit(url, scenario)


def test_a_session_with_a_camera_takes_no_pictures_from_pages() -> None:
    async def scenario(browser: Browser, client: aiohttp.ClientSession) -> None:
        await browser.socket.send_bytes(struct.pack("<d", 1.0) + b"x" * 100)
        assert "--page-camera" in await browser.told_of("error")

    with running(PAGE) as (_session, url):
        visit(url, scenario)


def test_pictures_of_senseless_size_are_not_decoded() -> None:
    assert decoded(as_jpeg(np.zeros((4, 4, 3), np.uint8))) is None
    assert decoded(as_jpeg(np.zeros((3000, 3000, 3), np.uint8))) is None
    picture = decoded(as_jpeg(np.zeros((48, 80, 3), np.uint8)))
    assert picture is not None and picture.shape == (48, 80, 3)


# --- safety -----------------------------------------------------------------------------------


def status(url: str, **headers: str) -> int:
    async def whole() -> int:
        async with aiohttp.ClientSession() as client, client.get(url, headers=headers) as answer:
            return answer.status

    return asyncio.run(whole())


def test_the_page_answers_to_this_machines_names_only() -> None:
    with running(PAGE) as (_session, url):
        assert urlsplit(url).hostname == "127.0.0.1"
        port = urlsplit(url).port
        for host in (f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}"):
            assert status(url, Host=host) == 200
        for host in ("evil.example", f"evil.example:{port}", "127.0.0.1.evil.example", "[", ""):
            assert status(url, Host=host) == 403


def test_a_socket_must_come_from_the_page_itself() -> None:
    async def refused(url: str, origin: str | None) -> int:
        async with aiohttp.ClientSession() as client:
            try:
                async with client.ws_connect(f"{url}live", origin=origin):
                    return 101
            except aiohttp.WSServerHandshakeError as error:
                return error.status

    with running(PAGE) as (_session, url):
        for origin in ("http://evil.example", "null", "http://127.0.0.1:1", None):
            assert asyncio.run(refused(url, origin)) == 403
        assert asyncio.run(refused(url, origin_of(url))) == 101


def test_another_address_needs_the_token_of_the_link_and_then_a_cookie() -> None:
    async def scenario(browser: Browser, client: aiohttp.ClientSession) -> None:
        await browser.picture()  # the socket's request had the cookie

    with running(Wanted(page=True, port=0, host="0.0.0.0")) as (_session, url):
        assert "?token=" in url and len(url.split("token=")[1]) >= 32
        here = url.replace("0.0.0.0", "127.0.0.1")
        bare = here.split("?")[0]
        assert status(bare) == 403
        assert status(f"{bare}?token=guess") == 403
        assert status(f"{bare}page.js") == 403
        visit(here, scenario)


def test_nothing_but_the_pages_own_files_is_served() -> None:
    with running(PAGE) as (_session, url):
        for path in ("page.js", "page.css"):
            assert status(url + path) == 200
        for path in (
            "../guard.py", "%2e%2e/guard.py", "guard.py", "page.js/../guard.py", "etc/passwd",
            "recording.mp4",
        ):  # fmt: skip
            assert status(url + path) == 404


def test_a_message_beyond_the_limit_ends_the_connection() -> None:
    async def scenario(browser: Browser, client: aiohttp.ClientSession) -> None:
        with suppress(ConnectionError):  # it may be cut off in the middle of the message
            await browser.socket.send_bytes(b"\0" * (2**22 + 1))
        while not browser.socket.closed:
            await browser.socket.receive(DEADLINE_S)
        assert browser.socket.close_code in (
            aiohttp.WSCloseCode.MESSAGE_TOO_BIG,
            aiohttp.WSCloseCode.ABNORMAL_CLOSURE,
        )

    with running(PAGE, source=PageCamera()) as (_session, url):
        visit(url, scenario)
        visit(url, lambda browser, client: browser.told_of("figures"))  # and nothing else


def test_the_page_asks_for_nothing_from_elsewhere() -> None:
    folder = Path(__file__).resolve().parents[3] / "pipeline/live/page"
    for name in ("index.html", "page.css", "page.js"):
        text = (folder / name).read_text()
        assert "http://" not in text and "https://" not in text, name
        assert "style=" not in text and "onclick=" not in text, name  # the policy forbids them
    assert "default-src 'none'" in HEADERS["Content-Security-Policy"]


def test_a_port_that_is_taken_is_told_with_the_way_out() -> None:
    with running(PAGE) as (_session, url):
        taken = Wanted(page=True, port=urlsplit(url).port or 0)
        with pytest.raises(OutputError, match="try another --port"):
            session(taken).run()


def test_the_session_ends_though_a_browser_looks_on() -> None:
    async def scenario(browser: Browser, client: aiohttp.ClientSession) -> None:
        await browser.picture()
        session.pipeline.stop()
        while (message := await browser.socket.receive(DEADLINE_S)).type in (
            aiohttp.WSMsgType.TEXT,
            aiohttp.WSMsgType.BINARY,
        ):
            pass
        assert message.data == aiohttp.WSCloseCode.GOING_AWAY

    session: Session
    with running(PAGE, source=Pictures()) as (session, url):
        visit(url, scenario)
