"""Every error a user can cause, and what can be done about it.

TpvideoError                 printed as one line by the command line, exit code 1
├── ConfigError              a setting that makes no sense; change the setting (exit code 2)
├── InputError               the source cannot be read as pictures
├── OutputError              the result cannot be written
├── ResumeError              an interrupted run cannot be continued; says what has changed since
├── WeightsError             a model file is missing, damaged or of another kind
├── NoFaceError              no frame of the whole source shows a face
├── MissingExtraError        an optional dependency is asked for and not installed
├── DeviceError              the device has too little memory for even one frame
├── StallError               the source gives no frame any more
└── StageError               a stage failed while frames were running; names stage and frames
"""

from __future__ import annotations


class TpvideoError(Exception):
    """Root of the tree: the message names the thing, the value and the way out."""


class ConfigError(TpvideoError):
    """A setting is out of range or contradicts another."""


class InputError(TpvideoError):
    """The source is missing, damaged or holds no pictures."""

    def __init__(self, source: object, reason: str) -> None:
        super().__init__(f"cannot read {source}: {reason}")
        self.source = source


class OutputError(TpvideoError):
    """The target cannot be written."""

    def __init__(self, target: object, reason: str) -> None:
        super().__init__(f"cannot write {target}: {reason}")
        self.target = target


class ResumeError(TpvideoError):
    """What an interrupted run left does not fit this run, or is damaged."""

    def __init__(self, target: object, reason: str) -> None:
        super().__init__(f"cannot resume {target}: {reason}; --overwrite begins anew")
        self.target = target


class WeightsError(TpvideoError):
    """A model file is missing, damaged or does not fit the network."""


class NoFaceError(TpvideoError):
    """Not one frame of the source shows a face."""


class MissingExtraError(TpvideoError):
    """An optional dependency was asked for by name and is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs {package}, which is not installed; pip install 'tpvideo[{extra}]'"
        )


class DeviceError(TpvideoError):
    """What computes has too little memory for even one frame."""


class StallError(TpvideoError):
    """The source was asked for a frame and gave none for too long."""

    def __init__(self, limit_s: float) -> None:
        super().__init__(
            f"the source gave no frame for {limit_s:g} s; is its disk or network there? "
            "--stall-timeout sets how long to wait"
        )


class StageError(TpvideoError):
    """A stage failed while frames were running; the cause is chained."""

    def __init__(self, stage: str, frames: range | None, cause: BaseException) -> None:
        if not frames:
            where = ""
        elif len(frames) == 1:
            where = f" on frame {frames.start}"
        else:
            where = f" on frames {frames.start}-{frames.stop - 1}"
        text = str(cause) or type(cause).__name__
        super().__init__(f"{stage} failed{where}: {text}")
        self.stage = stage
        self.frames = frames


def printable(text: str) -> str:
    """A text that may hold a file's name, without what would steer a terminal or break a line."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def in_one_line(error: BaseException) -> str:
    """What to tell a person: a stage's own complaint says more than where it arose."""
    cause = error.__cause__
    told = cause if isinstance(error, StageError) and isinstance(cause, TpvideoError) else error
    text = " ".join(str(told).split())
    is_ours = isinstance(told, TpvideoError)
    return text if is_ours and text else f"{type(told).__name__}: {text}".rstrip(": ")
