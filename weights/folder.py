"""Where model files are: inside the package, or in a directory of the user.

The user's directory is shared by processes; who writes there holds the lock of the file.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

import platformdirs

from tpvideo.pipeline.errors import WeightsError

SHIPPED = {
    "default": "default.safetensors",
    "face": "face.safetensors",
    "matting": "matting.onnx",
}
"""Files inside the package, by name."""


def directory() -> Path:
    """The user's weights directory: `TPVIDEO_WEIGHTS` where set, else the platform's place for
    application data. It need not exist yet."""
    chosen = os.environ.get("TPVIDEO_WEIGHTS")
    if chosen:
        return Path(chosen).expanduser()
    return platformdirs.user_data_path("tpvideo", appauthor=False) / "weights"


def find(name: str) -> Path:
    """The file of a model, shipped or in the user's directory.

    Args:
        name: `default`, `face`, `matting`, or a file of the user's directory with or without
            its suffix.

    Raises:
        WeightsError: it is not there; the message says how to get it.
    """
    if name in SHIPPED:
        shipped = Path(str(resources.files("tpvideo.weights").joinpath(SHIPPED[name])))
        if shipped.is_file():
            return shipped
        raise WeightsError(
            f"{SHIPPED[name]} is missing from the installed package; install tpvideo again"
        )
    for candidate in (name, f"{name}.safetensors", f"{name}.onnx"):
        path = directory() / candidate
        if path.is_file():
            return path
    raise WeightsError(
        f"no weights named {name} in {directory()}; see `tpvideo weights list`, then get them with "
        f"`tpvideo weights pull {name}` or `tpvideo weights import FILE`"
    )


def locate(name_or_path: str | os.PathLike[str]) -> Path:
    """Like `find`, but anything that looks like a path is taken as one."""
    path = Path(name_or_path)
    is_path = path.suffix in {".safetensors", ".onnx"} or len(path.parts) > 1
    if not is_path:
        return find(str(name_or_path))
    if path.is_file():
        return path
    raise WeightsError(f"no model file {path}")


@contextmanager
def lock(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold `path` + `.lock` against other processes.

    Raises:
        BlockingIOError: another process has it, and `wait` is off.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(path.name + ".lock"), "a+b") as handle:
        if sys.platform == "win32":
            import msvcrt

            try:
                msvcrt.locking(handle.fileno(), msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
            except OSError as error:
                raise BlockingIOError(str(error)) from error
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield  # closing the handle releases it
