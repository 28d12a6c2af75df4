"""A live run put together: camera, stages that follow the knobs, outputs, and what it tells."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tpvideo.pipeline import app
from tpvideo.pipeline.config import Settings
from tpvideo.pipeline.errors import ConfigError, MissingExtraError
from tpvideo.pipeline.live.assembly import assemble
from tpvideo.pipeline.live.controls import RANGES, Controls, Panel
from tpvideo.pipeline.live.latency import Budget, Meter
from tpvideo.pipeline.live.outputs import FanOut, Output
from tpvideo.pipeline.live.presets import PRESETS
from tpvideo.pipeline.live.recording import Clips, Recording
from tpvideo.pipeline.live.virtual_camera import VirtualCamera
from tpvideo.pipeline.live.window import Window
from tpvideo.pipeline.metrics import Report
from tpvideo.stages.live import LiveSource
from tpvideo.stages.microphone import FilmSound, LiveSound, Microphone
from tpvideo.stages.paced import PacedFile
from tpvideo.stages.provenance import Provenance

KEYS = {
    "Left": ("yaw_rad", -0.05),
    "Right": ("yaw_rad", 0.05),
    "Up": ("pitch_rad", 0.05),
    "Down": ("pitch_rad", -0.05),
    "plus": ("zoom", 0.05),
    "minus": ("zoom", -0.05),
    "m": ("mirror", 0.0),
    "0": ("front", 0.0),
}
"""What keys do in the window: a knob and how far it is turned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which outputs a session is to have."""

    page: bool = False
    host: str = "127.0.0.1"
    port: int = 8765
    window: bool = False
    virtual_cam: str | None = None
    """A device's name, or "auto"."""
    record: Path | None = None
    mic: str | None = None
    """A microphone for the recordings: its name, or "auto": the system's own choice, or the sound
    of the film that is the camera."""
    overwrite: bool = False
    max_latency_s: float | None = None
    """Latency that 95 % of the pictures are to keep, at the price of a cheaper preset."""
    in_flight: int | None = None
    """Most frames between camera and output; None chooses by device."""
    seconds: float | None = None
    """End the session after so long."""


class Session:
    """Everything that one live run needs, made before it starts.

    Args:
        source: where pictures come from; a PageCamera needs the page among what is wanted.
        settings: what to make of them; view, background, smoothing and angles are first values.
        controls: how the knobs stand at first.
        wanted: where the pictures go.
        networks: of an earlier load_networks; None loads them.
        on_ready: told the page's address, once there is one.

    Raises:
        ConfigError: no output is wanted, or a setting makes no sense live.
        WeightsError, MissingExtraError: something that is needed is not there.
    """

    def __init__(
        self,
        source: LiveSource,
        settings: Settings,
        controls: Controls,
        wanted: Wanted,
        networks: app.Networks | None = None,
        on_ready: Callable[[str], object] = lambda url: None,
    ) -> None:
        self.source = source
        self.panel = Panel(controls)
        self.made = Meter("capture to picture")
        """Until the outputs that wait for nobody (window, virtual camera) have each picture."""
        self.seen = Meter("capture to page")
        """Until a browser has drawn it."""
        self.budget = Budget(wanted.max_latency_s, self.panel)
        self._settings = settings
        self.sound = open_sound(wanted.mic, source)
        self._clips = Clips(sound=self.sound, note=self._note)
        self._wanted = wanted
        self.outputs = self._outputs(wanted, on_ready)
        if not self.outputs:
            raise ConfigError("there is no output; ask for --page, --window, --virtual-cam or more")
        self._fan_out = FanOut(self.outputs, self.budget, self.made)
        self.pipeline = assemble(
            source, self.panel, self._fan_out, settings, networks, in_flight=wanted.in_flight
        )
        source.is_over = lambda: self.pipeline.is_stopping
        self._fan_out.stop = self.pipeline.stop

    def run(self) -> Report:
        """Until the source ends, Ctrl-C is pressed, or the last output is closed."""
        timer = None
        if self._wanted.seconds is not None:
            timer = threading.Timer(self._wanted.seconds, self.pipeline.stop)
            timer.start()
        try:
            if self.sound is not None:
                self.sound.open()
            return _as_live(self.pipeline.run())
        finally:
            if self.sound is not None:
                self.sound.close()
            if timer is not None:
                timer.cancel()
                timer.join()

    def figures(self) -> dict[str, Any]:
        """What the page shows in numbers and words; latencies in milliseconds."""
        meter = self._meter()
        recent = meter.recent()
        report = self.pipeline.report()
        return {
            "state": self.source.state,
            "fps": meter.rate(),
            "p50": recent and recent.p50_s * 1000,
            "p95": recent and recent.p95_s * 1000,
            "p99": recent and recent.p99_s * 1000,
            "confidence": report.gauges[0].latest if report.gauges else None,
            "dropped": report.dropped + getattr(self.source, "overwritten", 0),
            "recording": self._clips.is_recording,
            "notice": self._clips.said or self.budget.said,
            "presets": list(PRESETS),
            "controls": asdict(self.panel.controls),
        }

    def line(self) -> str:
        """How it goes, in a line."""
        meter = self._meter()
        latency = meter.recent()
        said = f"{meter.name} {latency}" if latency else "no picture yet"
        dropped = self.pipeline.report().dropped
        return f"{self.source.state}; {meter.rate():.1f} fps; {said}; {dropped} dropped"

    def account(self, report: Report) -> str:
        """What happened, once it is over."""
        lines = [
            f"{report.frames} pictures in {report.elapsed_s:.1f} s, {report.dropped} frames dropped"
        ]
        for meter in (self.made, self.seen):
            latency = meter.all()
            if latency is not None:
                lines.append(f"{meter.name}: {latency} (p50 / p95 / p99) of {latency.pictures}")
        return "\n".join([*lines, *report.told_gauges()])

    def _meter(self) -> Meter:
        """Of what somebody sees, where somebody does."""
        return self.seen if self.seen.rate() else self.made

    def _outputs(self, wanted: Wanted, on_ready: Callable[[str], object]) -> list[Output]:
        outputs: list[Output] = []
        if wanted.page:
            outputs += [self._page(wanted, on_ready), self._clips]
        if wanted.window:
            outputs.append(Window(self._press))
        if wanted.virtual_cam is not None:
            device = None if wanted.virtual_cam == "auto" else wanted.virtual_cam
            outputs.append(VirtualCamera(device))
        if wanted.record is not None:
            outputs.append(
                Recording(
                    wanted.record, sound=self.sound, note=self._note, overwrite=wanted.overwrite
                )
            )
        return outputs

    def _page(self, wanted: Wanted, on_ready: Callable[[str], object]) -> Output:
        try:
            from tpvideo.pipeline.live.page.output import Page
        except ImportError as error:
            raise MissingExtraError("aiohttp", "live", "the page") from error
        from tpvideo.pipeline.live.page.camera import PageCamera

        return Page(
            wanted.host,
            wanted.port,
            figures=self.figures,
            commands={"turn": self._turn, "record": self._clips.record},
            meter=self.seen,
            camera=self.source if isinstance(self.source, PageCamera) else None,
            sound=self.sound,
            recording=lambda: self._clips.newest,
            note=self._note,
            on_ready=on_ready,
        )

    def _note(self) -> Provenance | None:
        """What is said in recordings and snapshots of how they were made."""
        if not self._settings.provenance:
            return None
        controls = self.panel.controls
        yaw_rad, pitch_rad = controls.yaw_rad, controls.pitch_rad
        return app.provenance(replace(self._settings, yaw_rad=yaw_rad, pitch_rad=pitch_rad))

    def _press(self, key: str) -> None:
        """A key in the window; see KEYS."""
        if key not in KEYS:
            return
        knob, step = KEYS[key]
        controls = self.panel.controls
        if knob == "mirror":
            self.panel.turn(mirror=not controls.mirror)
        elif knob == "front":
            self.panel.turn(yaw_rad=0.0, pitch_rad=0.0)
        else:
            least, most = RANGES[knob]
            self.panel.turn(**{knob: min(max(getattr(controls, knob) + step, least), most)})

    def _turn(self, changes: Any) -> None:
        if not isinstance(changes, dict):
            raise ConfigError(f"turn names knobs and values, got {changes!r}")
        self.panel.turn(**changes)


def open_sound(choice: str | None, source: LiveSource) -> LiveSound | None:
    """The live sound that a setting names, not yet listening."""
    if choice is None:
        return None
    if choice == "auto" and isinstance(source, PacedFile):
        sound = FilmSound(source.path)
        source.on_begin = sound.begin
        return sound
    return Microphone(None if choice == "auto" else choice)


def _as_live(report: Report) -> Report:
    """The account with the ends called what they are; a camera's pace is waiting, not work."""
    camera, *between, show = report.timings
    camera = replace(camera, stage="camera", starved_s=camera.busy_s, busy_s=0.0)
    return replace(report, timings=(camera, *between, replace(show, stage="show")))
