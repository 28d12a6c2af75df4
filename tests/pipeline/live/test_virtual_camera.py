"""The virtual camera through its interface: pyvirtualcam with a device of our own."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
from livekit import INFO, shown

from tpvideo.pipeline.errors import MissingExtraError, OutputError
from tpvideo.pipeline.live.virtual_camera import VirtualCamera


class Device:
    """What pyvirtualcam asks of a backend."""

    opened: ClassVar[list[Device]] = []

    def __init__(
        self, *, width: int, height: int, fps: float, fourcc: int, device: str | None
    ) -> None:
        if device == "missing":
            raise RuntimeError("No v4l2 loopback device found at missing")
        self.size = (width, height)
        self.rate = fps
        self.frames: list[Any] = []
        self.is_closed = False
        self.opened.append(self)

    def close(self) -> None:
        self.is_closed = True

    def send(self, frame: Any) -> None:
        if len(self.frames) == 2:
            raise RuntimeError("the device is gone")
        self.frames.append(frame.copy())

    def device(self) -> str:
        return "a device of our own"

    def native_fourcc(self) -> int | None:
        return None


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> type[Device]:
    """pyvirtualcam with this one backend."""
    pyvirtualcam = pytest.importorskip("pyvirtualcam", reason="the extra virtualcam")
    monkeypatch.setattr(pyvirtualcam.camera, "BACKENDS", {"ours": Device})
    monkeypatch.setattr(Device, "opened", [])
    return Device


def test_every_picture_reaches_the_device_bit_for_bit(backend: type[Device]) -> None:
    camera = VirtualCamera()
    camera.open(INFO)
    (device,) = backend.opened
    assert (device.size, device.rate) == ((INFO.width, INFO.height), float(INFO.rate))
    for number, level in enumerate((10, 200)):
        camera.consume(shown(number, level=level))
    frames = [frame.reshape(64, 64, 3) for frame in device.frames]
    np.testing.assert_array_equal(frames[0], np.full((64, 64, 3), 10))
    np.testing.assert_array_equal(frames[1], np.full((64, 64, 3), 200))
    with pytest.raises(OutputError, match="the device is gone"):
        camera.consume(shown(2))
    camera.finish()
    camera.close()
    assert device.is_closed


def test_a_machine_without_such_a_device_is_told_how_to_get_one(backend: type[Device]) -> None:
    camera = VirtualCamera("missing")
    with pytest.raises(OutputError, match=r"No v4l2 loopback.*modprobe v4l2loopback.*OBS"):
        camera.open(INFO)
    camera.close()


def test_without_pyvirtualcam_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyvirtualcam", None)
    with pytest.raises(MissingExtraError, match=r"tpvideo\[virtualcam\]"):
        VirtualCamera()
