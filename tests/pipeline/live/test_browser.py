"""The page in a real browser, with the default model: what a person would do, and see.

Chromium without a screen; its fake camera plays the sample. `make test-live` installs and runs.
`TPVIDEO_SCREENSHOTS=folder` keeps what was seen.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from browser import Tab, chromium, drive
from PIL import Image as Pillow

from tpvideo.pipeline.config import Settings
from tpvideo.pipeline.live.controls import Controls
from tpvideo.pipeline.live.page.camera import PageCamera
from tpvideo.pipeline.live.session import Session, Wanted
from tpvideo.pipeline.metrics import Report
from tpvideo.stages.live import LiveSource
from tpvideo.stages.paced import PacedFile

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(chromium() is None, reason="Chromium is not installed; see make test-live"),
]

SAMPLE = Path(__file__).resolve().parents[3] / "samples/talk.mp4"
SLOW_S = 180.0
"""A shared core may take seconds for a picture."""

LAPTOP, PHONE = (1360, 800), (390, 844)

PICTURE = "document.getElementById('picture')"
PIXELS = f"""(() => {{
    const canvas = {PICTURE}, small = document.createElement("canvas");
    small.width = small.height = 64;
    small.getContext("2d").drawImage(canvas, 0, 0, 64, 64);
    return [...small.getContext("2d").getImageData(0, 0, 64, 64).data];
}})()"""


@contextmanager
def live(source: LiveSource, **knobs: Any) -> Iterator[str]:
    """A session with the default model and a page; the page's address."""
    urls: list[str] = []
    ready = threading.Event()
    reports: list[Report] = []

    def tell(url: str) -> None:
        urls.append(url)
        ready.set()

    wanted = Wanted(page=True, port=0, mic="auto" if isinstance(source, PacedFile) else None)
    session = Session(source, Settings(device="cpu"), Controls(**knobs), wanted, on_ready=tell)
    thread = threading.Thread(target=lambda: reports.append(session.run()))
    thread.start()
    try:
        assert ready.wait(SLOW_S), "the page did not come"
        yield urls[0]
    finally:
        session.pipeline.stop()
        thread.join(SLOW_S)
    assert reports, "the session failed"


def look(
    source: LiveSource, scenario: Callable[[Tab], Awaitable[None]], *flags: str, **knobs: Any
) -> None:
    """Open the page of a session in a browser, run a scenario, and expect no complaints."""

    async def whole(tab: Tab) -> None:
        await tab.size(*LAPTOP)
        await tab.go(url)
        await scenario(tab)
        assert tab.complaints == []

    with live(source, **knobs) as url:
        drive(whole, *flags)


async def pictures(tab: Tab, more: int) -> None:
    """Wait until so many more pictures were drawn."""
    count = "Number(document.body.dataset.pictures ?? 0)"
    before = await tab.run(count)
    await tab.until(f"{count} >= {before + more}", SLOW_S)


async def pixels(tab: Tab) -> Any:
    """[64, 64, 3] what the canvas shows."""
    return np.array(await tab.run(PIXELS), float).reshape(64, 64, 4)[..., :3]


async def keep(tab: Tab, name: str) -> None:
    """Write a screenshot, where they are wanted."""
    if folder := os.environ.get("TPVIDEO_SCREENSHOTS"):
        await tab.screenshot(Path(folder) / name)


async def slide(tab: Tab, knob: str, value: float) -> None:
    await tab.run(
        f"{{ const knob = document.getElementById('{knob}'); knob.value = {value};"
        " knob.dispatchEvent(new Event('input')); }"
    )


def test_the_yaw_slider_turns_the_head_and_figures_are_shown() -> None:
    async def scenario(tab: Tab) -> None:
        await pictures(tab, 3)
        left = await pixels(tab)
        assert left.std() > 20  # there is something to see
        await keep(tab, "live-laptop.png")
        await slide(tab, "yaw", 0.4)
        await pictures(tab, 4)  # two may have been on their way
        right = await pixels(tab)
        await pictures(tab, 2)
        later = await pixels(tab)
        talking = np.abs(later - right).mean()
        assert np.abs(right - left).mean() > 2 * talking + 5
        assert await tab.run("document.getElementById('yaw-said').textContent") == "0.40 rad, 23°"
        for figure in ("p50", "p95", "p99"):
            text = await tab.run(f"document.getElementById('{figure}').textContent")
            assert text.endswith(" ms") and 10 < int(text.split()[0]) < SLOW_S * 1000
        assert float(await tab.run("document.getElementById('fps').textContent")) > 0
        assert int(await tab.run("document.getElementById('dropped').textContent")) > 0

    look(PacedFile(SAMPLE, loop=True), scenario, yaw_rad=-0.4)


def test_snapshot_and_recording_are_downloaded(tmp_path: Path) -> None:
    async def scenario(tab: Tab) -> None:
        await pictures(tab, 1)
        await tab.run("document.getElementById('snapshot').click()")
        with Pillow.open(await tab.downloaded(".png")) as picture:
            assert picture.size == (512, 512)
            assert np.asarray(picture).std() > 20
        await tab.run("document.getElementById('record').click()")
        await tab.until("!document.getElementById('recording-mark').hidden")
        await pictures(tab, 4)
        await keep(tab, "live-recording.png")
        await tab.run("document.getElementById('record').click()")
        with av.open(str(await tab.downloaded(".mp4", SLOW_S))) as film:
            times = [frame.time for frame in film.decode(video=0)]
        assert len(times) >= 3 and times[0] == 0
        assert times == sorted(set(times))

    look(PacedFile(SAMPLE, loop=True), scenario, yaw_rad=-0.3)


def test_keys_and_buttons_do_what_they_say() -> None:
    async def scenario(tab: Tab) -> None:
        await pictures(tab, 1)
        await tab.press("ArrowRight", 39)
        await tab.press("ArrowUp", 38)
        await tab.until("document.getElementById('yaw-said').textContent.startsWith('0.05')")
        await tab.until("document.getElementById('pitch-said').textContent.startsWith('0.05')")
        await tab.press("0", 48)
        await tab.until("document.getElementById('yaw-said').textContent.startsWith('0.00')")
        await tab.press("m", 77)
        await tab.until("document.getElementById('mirror').ariaPressed === 'true'")
        await tab.run("document.querySelector('[data-background=white]').click()")
        await tab.until("document.querySelector('[data-background=white]').ariaPressed === 'true'")
        await pictures(tab, 4)
        assert (await pixels(tab))[:8, :4].mean() > 200  # a white corner
        focused = set()
        for _ in range(20):  # everything can be reached with the tabulator alone
            await tab.press("Tab", 9)
            focused.add(
                await tab.run(
                    "document.activeElement.id || document.activeElement.dataset.background"
                )
            )
        assert {"yaw", "pitch", "zoom", "smooth", "mirror", "snapshot", "record", "blur"} <= focused

    look(PacedFile(SAMPLE, loop=True), scenario)


def test_the_films_sound_can_be_heard_on_the_page() -> None:
    async def scenario(tab: Tab) -> None:
        await pictures(tab, 2)
        assert await tab.run("document.body.dataset.heard") is None
        await tab.run("document.getElementById('listen').click()")
        await tab.until("Number(document.body.dataset.heard ?? 0) > 20", SLOW_S)
        await tab.run("document.getElementById('listen').click()")
        await tab.until("document.getElementById('listen').ariaPressed === 'false'")

    look(PacedFile(SAMPLE, loop=True), scenario)


def test_nothing_is_cut_off_on_a_phone() -> None:
    async def scenario(tab: Tab) -> None:
        await tab.size(*PHONE, is_phone=True)
        await pictures(tab, 2)
        assert await tab.run("document.documentElement.scrollWidth") <= PHONE[0]
        for name in ("picture", "yaw", "snapshot", "record"):
            box = await tab.run(
                f"(() => {{ const box = document.getElementById('{name}').getBoundingClientRect();"
                " return [box.left, box.right, box.height]; })()"
            )
            assert box[0] >= 0 and box[1] <= PHONE[0] and box[2] >= 24, name
        await keep(tab, "live-phone.png")

    look(PacedFile(SAMPLE, loop=True), scenario, yaw_rad=0.3)


@pytest.fixture(scope="module")
def fake_camera(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample's first two seconds as Chromium's fake camera plays them: Motion JPEG."""
    path = tmp_path_factory.mktemp("camera") / "camera.mjpeg"
    with av.open(str(SAMPLE)) as film, av.open(str(path), "w", format="mjpeg") as out:
        stream: Any = out.add_stream("mjpeg", rate=25, options={"qmin": "2", "qmax": "4"})
        stream.width, stream.height, stream.pix_fmt = 768, 432, "yuvj420p"
        for number, frame in enumerate(film.decode(video=0)):
            if number == 50:
                break
            picture = frame.reformat(format="yuvj420p")
            picture.pts, picture.time_base = number, Fraction(1, 25)
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    return path


def test_the_browsers_own_camera_is_turned(fake_camera: Path) -> None:
    async def scenario(tab: Tab) -> None:
        await tab.until("!document.getElementById('camera').hidden")
        await tab.run("document.getElementById('camera').click()")
        await pictures(tab, 3)
        turned = await pixels(tab)
        assert turned.std() > 20
        assert (await tab.run("document.getElementById('state').textContent")).startswith(
            "the page's camera: 640x"
        )
        trip = await tab.run("document.getElementById('trip').textContent")
        assert trip.endswith(" ms") and 10 < int(trip.split()[0]) < SLOW_S * 1000
        await keep(tab, "live-page-camera.png")
        await slide(tab, "yaw", 0.4)
        await pictures(tab, 4)
        assert np.abs(await pixels(tab) - turned).mean() > 5
        await tab.run("document.getElementById('camera').click()")
        await tab.until("document.getElementById('state').textContent.startsWith('waiting')")

    look(
        PageCamera(),
        scenario,
        f"--use-file-for-fake-video-capture={fake_camera}",
        yaw_rad=-0.4,
    )
