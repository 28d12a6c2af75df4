"""The streaming core: packets, channels, and the runner that drives stages in threads."""

from tpvideo.pipeline.channel import Channel
from tpvideo.pipeline.frame import (
    Decoded,
    Face,
    Head,
    Inverted,
    Matted,
    Posed,
    Rendered,
    Stamp,
    StreamInfo,
    Views,
)
from tpvideo.pipeline.losses import Loss, Losses
from tpvideo.pipeline.metrics import Report, Timing
from tpvideo.pipeline.runner import Flow, Pipeline, read
from tpvideo.pipeline.stage import Sink, Source, Stage

__all__ = [
    "Channel",
    "Decoded",
    "Face",
    "Flow",
    "Head",
    "Inverted",
    "Loss",
    "Losses",
    "Matted",
    "Pipeline",
    "Posed",
    "Rendered",
    "Report",
    "Sink",
    "Source",
    "Stage",
    "Stamp",
    "StreamInfo",
    "Timing",
    "Views",
    "read",
]
