"""The stages of a live run: short queues, the newest frame first, and knobs that reach them."""

from __future__ import annotations

import logging
import time
from dataclasses import replace

import numpy as np

from tpvideo.pipeline import app
from tpvideo.pipeline.config import Settings
from tpvideo.pipeline.errors import ConfigError
from tpvideo.pipeline.frame import Face, Posed, Stamp
from tpvideo.pipeline.live.controls import Controls, Panel, Steered
from tpvideo.pipeline.live.outputs import FanOut
from tpvideo.pipeline.live.presets import WITHOUT_DETAIL
from tpvideo.pipeline.live.view import LiveView
from tpvideo.pipeline.runner import Pipeline, read
from tpvideo.stages import geometry
from tpvideo.stages.face import FaceCrop
from tpvideo.stages.head_memory import HeadMemory
from tpvideo.stages.invert import Inversion
from tpvideo.stages.live import TIME_BASE, LiveSource
from tpvideo.stages.matting import Matting
from tpvideo.stages.pose_smoothing import PoseSmoother

log = logging.getLogger(__name__)


def assemble(
    source: LiveSource,
    panel: Panel,
    sink: FanOut,
    settings: Settings,
    networks: app.Networks | None,
    *,
    in_flight: int | None,
) -> Pipeline:
    """The chain from a camera to the outputs, warm and ready to run.

    Between stages one frame waits; as many are worked on at once as there are stages of about
    the same length to work on them, so that a frame is young when it is shown.

    Args:
        source: where pictures come from.
        panel: the knobs.
        sink: where they go.
        settings: what the knobs do not say.
        networks: of an earlier load_networks; None loads them.
        in_flight: most frames at once; None chooses by device.
    """
    if settings.on_lost == "fail":
        raise ConfigError("live, a lost face is no failure: on-lost must be hold, source or blank")
    settings = replace(settings, batch_size=1)
    machine = app.pick_machine(settings)
    app.share_cores()
    networks = networks or app.load_networks(settings, machine)
    machine = app.working_machine(machine, networks)
    device, dtype = machine.device, machine.dtype
    matting = app.matting_stage(settings, machine, networks)
    face = FaceCrop(networks.finder, choose=settings.face, smooth=settings.smooth, is_one_shot=True)
    memory = HeadMemory(settings.smooth)
    inversion = Inversion(
        networks.triplane,
        device=device,
        dtype=dtype,
        batch=1,
        memory=memory,
        first_every=app.first_every(WITHOUT_DETAIL, networks.triplane),
    )
    view = app.novel_view(settings, machine, networks.triplane)
    live_view = LiveView(view, panel, float(TIME_BASE))

    def steer(controls: Controls) -> None:
        if controls.smooth != face.smoother.smooth:
            face.smoother = PoseSmoother(controls.smooth)
        if isinstance(matting, Matting):
            matting.smooth = controls.smooth
        memory.smooth = controls.smooth
        if inversion.first_branch is not None:
            every = app.first_every(controls.preset, networks.triplane)
            inversion.first_branch.every = every

    _warm_up(inversion, live_view)
    heads = app.posed(read(source), matting, Steered(face, panel, steer)).then(inversion)
    return (
        app.edited(heads, settings, machine, networks)
        .then(live_view)
        .into(
            sink,
            capacity=1,
            live=True,
            in_flight=in_flight or (3 if device.type == "cuda" else 2),
        )
    )


def _warm_up(inversion: Inversion, live_view: LiveView) -> None:
    """Invert and draw a grey head: what is compiled or allocated at the first picture must not
    make the first of the camera's late."""
    begin_s = time.monotonic()
    grey = np.full((512, 512, 3), 128, np.uint8)
    fit = geometry.CropFit(np.array([256.0, 256.0]), 512.0, 0.0)
    face = Face(
        crop=grey,
        alpha=np.full((512, 512), 255, np.uint8),
        camera=geometry.label(geometry.label_camera(0.0, 0.0)),
        image_from_crop=geometry.image_from_crop(fit, 512),
        confidence=1.0,
    )
    heads = list(inversion.process([Posed(Stamp(0, 0), grey, face, cut=True)]))
    for _ in live_view.process(heads):
        log.info("warm after %.1f s", time.monotonic() - begin_s)
