"""Re-render a talking-head video from a viewpoint that no camera had.

    import tpvideo

    tpvideo.render("talk.mp4", "out.mp4", yaw=-0.3)

The steps of a run are in `tpvideo.stages`, what drives them in `tpvideo.pipeline`.
"""

from __future__ import annotations

import os
from importlib.metadata import version

from tpvideo.pipeline.config import (
    AUTO_SMOOTH,
    MOST_FRAMES,
    MOST_PIXELS,
    STALL_TIMEOUT_S,
    Audio,
    Decoder,
    Detail,
    Device,
    Edits,
    FaceChoice,
    FaceModel,
    Layout,
    OnLost,
    Precision,
    Preset,
    Settings,
    Trim,
    View,
    parse_angle,
)
from tpvideo.pipeline.errors import (
    ConfigError,
    InputError,
    MissingExtraError,
    NoFaceError,
    OutputError,
    StageError,
    TpvideoError,
    WeightsError,
)
from tpvideo.pipeline.metrics import Report

__version__ = version("tpvideo")

__all__ = [
    "ConfigError",
    "InputError",
    "MissingExtraError",
    "NoFaceError",
    "OutputError",
    "Report",
    "StageError",
    "TpvideoError",
    "WeightsError",
    "__version__",
    "render",
]


def render(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str] | None = None,
    *,
    yaw: float | str = 0.0,
    pitch: float | str = 0.0,
    view: View = "fixed",
    background: str = "black",
    detail: Detail = "auto",
    preset: Preset = "balanced",
    size: int = 0,
    layout: Layout = "crop",
    crf: int = 18,
    codec: str | None = None,
    audio: Audio = "copy",
    model: str = "default",
    edit: Edits = (),
    directions: str | None = None,
    matting: str = "auto",
    face_model: FaceModel = "auto",
    face: FaceChoice = "largest",
    on_lost: OnLost = "hold",
    min_confidence: float = 0.0,
    smooth: float = AUTO_SMOOTH,
    decoder: Decoder = "av",
    trim: Trim | None = None,
    queue: int = 4,
    batch_size: int | None = None,
    device: Device = "auto",
    precision: Precision = "auto",
    overwrite: bool = False,
    resume: bool = False,
    stall_timeout_s: float | None = STALL_TIMEOUT_S,
    max_pixels: int = MOST_PIXELS,
    max_frames: int = MOST_FRAMES,
    provenance: bool = True,
) -> Report:
    """Write a source as seen from another side.

    Args:
        source: a video or a photograph.
        target: what to write, its kind by its suffix; None names it after the source and the
            angles, beside the source.
        yaw: turn of the camera about the vertical axis in radians, or text such as "17deg";
            > 0 moves it toward +x, at most 1.2.
        pitch: height of the camera, in the same units; > 0 moves it up, at most 0.8.

    The other arguments are the fields of `tpvideo.pipeline.config.Settings` and explained there.

    Returns:
        How many frames were written, where the time went, and what was lost on the way, such as
        frames without a face.

    Raises:
        ConfigError: a setting makes no sense.
        InputError, OutputError: the source cannot be read, the target not written.
        WeightsError: a model is missing or damaged.
        StageError: a step failed; the frames are named and the cause is chained, which is a
            NoFaceError where no frame shows a face.
    """
    from tpvideo.pipeline import app

    settings = Settings(
        yaw_rad=_radians(yaw),
        pitch_rad=_radians(pitch),
        view=view,
        background=background,
        detail=detail,
        preset=preset,
        size=size,
        layout=layout,
        crf=crf,
        codec=codec,
        audio=audio,
        model=model,
        edit=edit,
        directions=directions,
        matting=matting,
        face_model=face_model,
        face=face,
        on_lost=on_lost,
        min_confidence=min_confidence,
        smooth=smooth,
        decoder=decoder,
        trim=trim,
        queue=queue,
        batch_size=batch_size,
        device=device,
        precision=precision,
        overwrite=overwrite,
        resume=resume,
        stall_timeout_s=stall_timeout_s,
        max_pixels=max_pixels,
        max_frames=max_frames,
        provenance=provenance,
    )
    return app.render(source, target, settings)


def _radians(angle: float | str) -> float:
    return parse_angle(angle) if isinstance(angle, str) else float(angle)
