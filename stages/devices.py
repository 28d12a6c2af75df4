"""The cameras of this machine: their names, and how they are opened."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from typing import NamedTuple

import av
from av.container import InputContainer

from tpvideo.pipeline.errors import ConfigError, InputError

log = logging.getLogger(__name__)

FORMATS = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}
"""FFmpeg's name of the system's cameras."""


class Camera(NamedTuple):
    """A camera of this machine."""

    name: str
    """What FFmpeg opens, such as /dev/video0."""
    description: str
    """What a person calls it."""


def list_cameras() -> list[Camera]:
    """The cameras of this machine, the system's first choice first.

    Raises:
        InputError: this system's cameras cannot be listed.
    """
    kind = FORMATS.get(sys.platform)
    if kind is None:
        raise InputError("the cameras", f"there is no way to list them on {sys.platform}")
    try:
        found = av.enumerate_input_devices(kind)
    except (av.error.FFmpegError, ValueError) as error:
        raise InputError("the cameras", str(error).splitlines()[0]) from error
    return [
        Camera(device.name, device.description)
        for device in found
        if "video" in getattr(device, "media_types", ["video"]) or not device.media_types
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a camera is asked for; it may give something else."""

    width: int = 1280
    height: int = 720
    rate: int = 30

    def __post_init__(self) -> None:
        if not (16 <= self.width <= 7680 and 16 <= self.height <= 4320):
            raise ConfigError(f"camera-size must be 16x16 to 7680x4320, got {self}")
        if not 1 <= self.rate <= 240:
            raise ConfigError(f"camera-rate must be 1 to 240, got {self.rate}")

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


def pick_camera(choice: str, cameras: list[Camera]) -> Camera:
    """The camera that `auto`, a number from 0, or a part of a name stands for.

    Raises:
        InputError: none, with the names of those there are.
    """
    if choice.isdecimal():
        on_linux = [camera for camera in cameras if camera.name == f"/dev/video{choice}"]
        fitting = on_linux or cameras[int(choice) : int(choice) + 1]
    elif choice == "auto":
        fitting = cameras[:1]
    else:
        wanted = choice.lower()
        fitting = [
            camera
            for camera in cameras
            if wanted in camera.name.lower() or wanted in camera.description.lower()
        ]
    if fitting:
        return fitting[0]
    known = ", ".join(f"{name} ({description})" for name, description in cameras)
    reason = f"there are {known}" if known else "this machine shows none"
    raise InputError(
        f"camera {choice}", f"no such camera: {reason}; a film's path works as a camera too"
    )


def open_camera(name: str, wish: Wish) -> InputContainer:
    """Open a camera of this system: as wished and with MJPEG, else as it likes.

    USB has no room for full rates of raw pictures, so MJPEG is asked for first.

    Raises:
        av.error.FFmpegError: it cannot be opened in any way.
    """
    kind = FORMATS.get(sys.platform, "v4l2")
    device = f"video={name}" if kind == "dshow" else name
    asked = {"video_size": str(wish), "framerate": str(wish.rate)}
    ways = [asked, {}]
    if kind == "v4l2":
        ways.insert(0, asked | {"input_format": "mjpeg"})
    for options in ways[:-1]:
        try:
            return av.open(device, format=kind, options=options)
        except av.error.FFmpegError as error:
            log.debug("%s refuses %s: %s", name, options, error)
    return av.open(device, format=kind, options=ways[-1])
