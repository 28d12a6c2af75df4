"""Chromium without a screen, driven over its DevTools protocol with aiohttp and nothing else."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

DEADLINE_S = 60.0
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
)


def chromium() -> str | None:
    """Where Chromium is; None where it is not."""
    return next(
        (path for name in ("chromium", "chromium-browser") if (path := shutil.which(name))), None
    )


class Tab:
    """One page of a running browser."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, folder: Path) -> None:
        self.downloads = folder / "downloads"
        self.complaints: list[str] = []
        """What the page wrote to its console as an error, and what was refused to it."""
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}

    async def ask(self, method: str, **arguments: Any) -> Any:
        """Call a method of the protocol and wait for its result."""
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": arguments})
        return await asyncio.wait_for(answer, DEADLINE_S)

    async def run(self, script: str) -> Any:
        """The value of a JavaScript expression; promises are waited for."""
        answer = await self.ask(
            "Runtime.evaluate",
            expression=script,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def until(self, script: str, deadline_s: float = DEADLINE_S) -> Any:
        """Wait until an expression is true."""
        async with asyncio.timeout(deadline_s):
            while not (value := await self.run(script)):
                await asyncio.sleep(0.1)
        return value

    async def go(self, url: str) -> None:
        """Load a page."""
        await self.ask("Page.navigate", url=url)
        await self.until("document.readyState === 'complete'")

    async def press(self, key: str, code: int = 0) -> None:
        """Press and release a key."""
        for kind in ("keyDown", "keyUp"):
            text = {"text": key} if len(key) == 1 and kind == "keyDown" else {}
            await self.ask(
                "Input.dispatchKeyEvent",
                type=kind, key=key, windowsVirtualKeyCode=code, **text,
            )  # fmt: skip

    async def size(self, width: int, height: int, *, is_phone: bool = False) -> None:
        """Be as large as a device."""
        await self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=2 if is_phone else 1, mobile=is_phone,
        )  # fmt: skip

    async def screenshot(self, path: Path) -> None:
        """Write what is seen as PNG."""
        answer = await self.ask("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(answer["data"]))

    async def downloaded(self, suffix: str, deadline_s: float = DEADLINE_S) -> Path:
        """Wait for a file of this kind to be whole in the folder of downloads."""
        async with asyncio.timeout(deadline_s):
            while not (found := sorted(self.downloads.glob(f"*{suffix}"))):
                await asyncio.sleep(0.1)
        return found[-1]

    async def listen(self) -> None:
        """Sort what comes, until the connection ends."""
        async for message in self._socket:
            told = json.loads(message.data)
            if "id" in told:
                answer = self._answers.pop(told["id"])
                if answer.done():
                    continue
                if "error" in told:
                    answer.set_exception(RuntimeError(told["error"]["message"]))
                else:
                    answer.set_result(told.get("result", {}))
            elif told.get("method") == "Runtime.exceptionThrown":
                self.complaints.append(str(told["params"]["exceptionDetails"]))
            elif told.get("method") == "Log.entryAdded":
                entry = told["params"]["entry"]
                if entry["level"] == "error":
                    self.complaints.append(entry["text"])


@asynccontextmanager
async def browsing(*flags: str) -> AsyncIterator[Tab]:
    """A browser with an empty profile, and one page in it."""
    program = chromium()
    assert program, "Chromium is not installed; make test-live installs it"
    with tempfile.TemporaryDirectory(prefix="tpvideo-browser-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        process = subprocess.Popen(
            [program, *FLAGS, *flags, f"--user-data-dir={folder / 'profile'}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            async with _tab(folder) as tab:
                yield tab
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, 15)
            process.wait(timeout=20)


@asynccontextmanager
async def _tab(folder: Path) -> AsyncIterator[Tab]:
    port_file = folder / "profile" / "DevToolsActivePort"
    async with asyncio.timeout(DEADLINE_S):
        while not (port_file.is_file() and len(port_file.read_text().split()) == 2):
            await asyncio.sleep(0.05)
    port = port_file.read_text().split()[0]
    async with aiohttp.ClientSession() as client:
        async with client.get(f"http://127.0.0.1:{port}/json/list") as answer:
            targets = await answer.json(content_type=None)
        url = next(target for target in targets if target["type"] == "page")["webSocketDebuggerUrl"]
        async with client.ws_connect(url, max_msg_size=2**26, heartbeat=None) as socket:
            tab = Tab(socket, folder)
            listening = asyncio.create_task(tab.listen())
            try:
                for domain in ("Page", "Runtime", "Log"):
                    await tab.ask(f"{domain}.enable")
                tab.downloads.mkdir()
                await tab.ask(
                    "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tab.downloads)
                )
                yield tab
            finally:
                listening.cancel()


def drive(scenario: Callable[[Tab], Awaitable[None]], *flags: str) -> None:
    """Run a scenario in a browser of its own."""

    async def whole() -> None:
        async with browsing(*flags) as tab:
            await scenario(tab)

    asyncio.run(whole())
