"""The last stage of a live run: draws heads as the knobs say, and bridges times without one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image as Pillow

from tpvideo.pipeline.frame import Image, Inverted, Stamp, StreamInfo
from tpvideo.pipeline.live.controls import Controls, Panel
from tpvideo.pipeline.live.presets import WITHOUT_DETAIL, drawn_px
from tpvideo.pipeline.stage import Stage
from tpvideo.stages.backdrop import parse_backdrop
from tpvideo.stages.render import NovelView, resized

HOLD_S = 1.0
"""How long the last picture stays when the face is gone."""

FADE_S = 0.6
"""How long the change to what is shown without a face takes, and back."""

SOURCE_PX = 480
"""Longest side of the source's picture that is handed on."""


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """A finished live picture, and what it was made from."""

    stamp: Stamp
    rgb: Image
    """[S, S, 3]."""
    source: Image
    """[h, w, 3] the camera's picture, at most SOURCE_PX long."""
    has_face: bool


class LiveView(Stage[Inverted, Shown]):
    """NovelView with knobs. No face: hold, then a fade to the source or the background.

    Args:
        view: draws; its camera, backdrop and cost follow the panel, its on_lost is what is faded
            to.
        panel: the knobs.
        time_base_s: seconds per tick of the stamps.
    """

    def __init__(self, view: NovelView, panel: Panel, time_base_s: float) -> None:
        self.view = view
        self.batch = 1
        self.size = view.size
        self._panel = panel
        self._may_take_detail = view.detail
        self._tick_s = time_base_s
        self._seen: Controls | None = None
        self._forget()

    @property
    def name(self) -> str:
        """The word in tables and messages."""
        return "render"

    def open(self, info: StreamInfo) -> StreamInfo:
        """The output is a square of constant size, whatever the preset."""
        self._forget()
        return replace(self.view.open(info), width=self.size, height=self.size)

    def process(self, items: Sequence[Inverted]) -> Iterator[Shown]:
        """As many out as in."""
        for item in items:
            self._steer()
            rgb = self._picture(item)
            assert self._seen is not None
            if self._seen.mirror:
                rgb = rgb[:, ::-1]
            source = thumbnail(item.rgb, SOURCE_PX)
            yield Shown(item.stamp, np.ascontiguousarray(rgb), source, item.head is not None)

    def close(self) -> None:
        """As the view does."""
        self.view.close()

    def _forget(self) -> None:
        self._last: Image | None = None
        self._seen_s: float | None = None  # when a face was last seen
        self._drawn_s: float | None = None
        self._faded = 0.0  # 0: the head; 1: what is shown without one

    def _steer(self) -> None:
        controls = self._panel.controls
        if controls is self._seen:
            return
        view = self.view
        view.yaw_rad, view.pitch_rad, view.zoom = (
            controls.yaw_rad,
            controls.pitch_rad,
            controls.zoom,
        )
        if self._seen is None or controls.background != self._seen.background:
            view.backdrop = parse_backdrop(controls.background)
        view.size = drawn_px(controls.preset, self.size)
        view.detail = self._may_take_detail and controls.preset != WITHOUT_DETAIL
        self._seen = controls

    def _picture(self, item: Inverted) -> Image:
        """[size, size, 3] the head, what is shown without one, or something between."""
        moment_s = item.stamp.pts * self._tick_s
        if item.head is not None:
            self._seen_s = moment_s
            self._last = self._draw(item)
        self._fade(moment_s)
        if self._last is None:  # never a face yet
            self._faded = 1.0
            return self._draw(replace(item, face=None, head=None))
        if self._faded == 0:
            return self._last
        without = self._draw(replace(item, face=None, head=None)).astype(np.float32)
        share = self._faded * self._faded * (3 - 2 * self._faded)  # gentle at both ends
        return np.rint(self._last + share * (without - self._last)).astype(np.uint8)

    def _fade(self, moment_s: float) -> None:
        step = 1.0 if self._drawn_s is None else (moment_s - self._drawn_s) / FADE_S
        self._drawn_s = moment_s
        is_gone = self._seen_s is None or moment_s - self._seen_s > HOLD_S
        is_gone = is_gone and self.view.on_lost != "hold"
        self._faded = float(np.clip(self._faded + (step if is_gone else -step), 0, 1))

    def _draw(self, item: Inverted) -> Image:
        self.view.losses.clear()  # a session without end would collect them without end
        (drawn,) = self.view.process([item])
        return resized(drawn.rgb, self.size)


def thumbnail(rgb: Image, longest_px: int) -> Image:
    """A picture [H, W, 3] whose longer side is at most longest_px."""
    height, width = rgb.shape[:2]
    scale = longest_px / max(height, width)
    if scale >= 1:
        return rgb
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(
        Pillow.fromarray(rgb).resize(size, Pillow.Resampling.BILINEAR, reducing_gap=2.0)
    )
