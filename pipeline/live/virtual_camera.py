"""A camera for other programs: what the session shows is what a video call sees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tpvideo.pipeline.errors import MissingExtraError, OutputError
from tpvideo.pipeline.frame import StreamInfo
from tpvideo.pipeline.live.view import Shown

HINT = (
    "on Linux load v4l2loopback (modprobe v4l2loopback exclusive_caps=1), "
    "on macOS and Windows install OBS"
)


class VirtualCamera:
    """Sends every picture to a virtual camera device, through pyvirtualcam.

    Args:
        device: its name; None takes the first that there is.
        open_camera: pyvirtualcam.Camera or one like it.
    """

    name = "virtual camera"

    def __init__(
        self, device: str | None = None, open_camera: Callable[..., Any] | None = None
    ) -> None:
        """Raises MissingExtraError where pyvirtualcam is not installed."""
        self._device = device
        self._open_camera = open_camera or _pyvirtualcam()
        self._camera: Any = None

    def open(self, info: StreamInfo) -> None:
        """Open the device at the picture's size.

        Raises:
            OutputError: there is no such device.
        """
        rate = float(info.rate) or 30.0
        try:
            self._camera = self._open_camera(
                width=info.width, height=info.height, fps=rate, device=self._device
            )
        except (RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise OutputError("to a virtual camera", f"{reason}; {HINT}") from error

    def consume(self, item: Shown) -> None:
        """Show one picture.

        Raises:
            OutputError: the device is gone.
        """
        try:
            self._camera.send(item.rgb)
        except (RuntimeError, OSError) as error:
            raise OutputError("to the virtual camera", str(error)) from error

    def finish(self) -> None:
        """Nothing is to be completed."""

    def close(self) -> None:
        """Let the device go."""
        if self._camera is not None:
            self._camera.close()
            self._camera = None


def _pyvirtualcam() -> Callable[..., Any]:
    try:
        import pyvirtualcam
    except ImportError as error:
        raise MissingExtraError("pyvirtualcam", "virtualcam", "a virtual camera") from error
    camera: Callable[..., Any] = pyvirtualcam.Camera
    return camera
