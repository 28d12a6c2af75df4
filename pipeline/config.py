"""Settings of a run, checked at birth, and the text forms in which people write them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, NamedTuple, get_args

from tpvideo.pipeline.errors import ConfigError

MOST_YAW_RAD = 1.2
MOST_PITCH_RAD = 0.8
SIZES_PX = range(64, 4097)
CRFS = range(52)
AUTO_SMOOTH = 0.5
STALL_TIMEOUT_S = 120.0
MOST_PIXELS = 100_000_000
"""Of one picture of the source; 8K has 33 million."""
MOST_STRENGTH = 10.0
"""Of an edit; far beyond what any face stands."""
MOST_FRAMES = 900_000
"""Of a source: ten hours at 25 a second, four at 60."""

View = Literal["fixed", "follow"]
Layout = Literal["crop", "side-by-side", "frame"]
Detail = Literal["auto", "on", "off"]
Audio = Literal["copy", "none"]
FaceChoice = Literal["largest", "center"] | int
FaceModel = Literal["auto", "insightface", "small"]
OnLost = Literal["hold", "source", "blank", "fail"]
Decoder = Literal["av", "nvdec", "decord", "ffmpeg"]
Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]
Preset = Literal["fast", "balanced", "quality"]
Edits = tuple[tuple[str, float], ...]
"""Names of directions in W and how far each is gone."""
Trim = tuple[Fraction | None, Fraction | None]
"""Seconds from the source's start, [from, to); None is the source's own end."""

PRESET_SIZES_PX = {"fast": 256, "balanced": 512, "quality": 1024}
"""Side of the picture when no size is asked for."""


class Thrift(NamedTuple):
    """What a preset leaves out, besides pixels; docs/performance.md says what it costs."""

    first_every: int = 1
    """The inversion's first branch looks at every n-th frame of a shot."""
    volume: float = 1.0
    """Rays along a side of the volume rendering, over the model's own."""
    surface: int = 2
    """Places along a side of the surface that detail is laid on, for each ray."""


PRESET_THRIFT = {"fast": Thrift(8, 0.75, 1), "balanced": Thrift(4), "quality": Thrift()}

BACKGROUNDS = ("black", "white", "blur", "source", "transparent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that decides what a run makes of a source, and how."""

    yaw_rad: float = 0.0
    """Turn of the camera about the vertical axis; 0 is frontal, > 0 moves it toward +x."""
    pitch_rad: float = 0.0
    """Height of the camera as a true angle; > 0 moves it up."""
    view: View = "fixed"
    """fixed: one camera, the head stays where it is; follow: the camera turns relative to the
    source's, so that the speaker's own motion stays."""
    background: str = "black"
    """black, white, #rrggbb, blur (the source, blurred), source, or transparent."""
    preset: Preset = "balanced"
    """What a picture may cost: its size, where none is asked for; how many frames share what the
    first branch of the inversion says of one (fast 8, balanced 4, but 1 with a published model);
    and with fast, that volume and surface are coarser."""
    size: int = 0
    """Side of the picture in pixels, even; 0, which becomes the preset's: 256, 512 or 1024."""
    detail: Detail = "auto"
    """on: take what the source frame shows from the source frame; off: show what the model draws;
    auto: on, but off for the published models, so that their pictures are the original's."""
    layout: Layout = "crop"
    """crop: the novel view alone; side-by-side: the source's crop to its left; frame: the source's
    whole picture, in which the head is turned."""
    crf: int = 18
    """Quality of the film, 0 (best) to 51."""
    codec: str | None = None
    """h264, hevc, vp9 or prores; None picks by the target's suffix."""
    audio: Audio = "copy"
    model: str = "default"
    """Name of a tri-plane model in the weights store, or the path of its file."""
    edit: Edits = ()
    """What is changed about the face: directions and their strengths, such as ("smile", 1.5)."""
    directions: str | None = None
    """The file that has them; None takes the one beside the model."""
    matting: str = "auto"
    """auto, modnet, none, or the path of an ONNX file with MODNet's contract."""
    face_model: FaceModel = "auto"
    face: FaceChoice = "largest"
    """Which face, when there are several; a number counts them from the left, 1 first."""
    on_lost: OnLost = "hold"
    """What is shown while the face is out of sight."""
    min_confidence: float = 0.0
    """Frames whose head is less sure than this, 0 to 1, count as frames without a face."""
    smooth: float = AUTO_SMOOTH
    """Strength of all smoothing in time, 0 (off) to 1."""
    decoder: Decoder = "av"
    trim: Trim | None = None
    queue: int = 4
    """Most frames waiting between two stages."""
    batch_size: int | None = None
    """Most frames inverted at once; None chooses by device."""
    device: Device = "auto"
    precision: Precision = "auto"
    overwrite: bool = False
    """Replace a target that exists, and what an interrupted run left of it."""
    resume: bool = False
    """Go on where an interrupted run of the same settings and source stopped."""
    stall_timeout_s: float | None = STALL_TIMEOUT_S
    """A source that gives no frame for so long fails the run; None waits for ever."""
    max_pixels: int = MOST_PIXELS
    """Sources with larger pictures are refused."""
    max_frames: int = MOST_FRAMES
    """Sources with more frames are refused."""
    provenance: bool = True
    """Say in the result's metadata that it is a synthetic view, and how it was made."""

    def __post_init__(self) -> None:
        _expect_angle("yaw", self.yaw_rad, MOST_YAW_RAD)
        _expect_angle("pitch", self.pitch_rad, MOST_PITCH_RAD)
        for name, known in _CHOICES.items():
            _expect_choice(name, getattr(self, name), known)
        if not self.size:
            object.__setattr__(self, "size", PRESET_SIZES_PX[self.preset])
        if self.background not in BACKGROUNDS and not re.fullmatch(
            r"#[0-9a-fA-F]{6}", self.background
        ):
            raise ConfigError(
                f"background must be {', '.join(BACKGROUNDS)} or #rrggbb, got {self.background}"
            )
        if self.size not in SIZES_PX or self.size % 2:
            raise ConfigError(
                f"size must be an even number of pixels from {SIZES_PX[0]} to {SIZES_PX[-1]}, "
                f"got {self.size}"
            )
        if self.crf not in CRFS:
            raise ConfigError(f"crf must be {CRFS[0]} (best) to {CRFS[-1]}, got {self.crf}")
        if isinstance(self.face, int):
            _expect_at_least_one("face, as a number from the left,", self.face)
        else:
            _expect_choice("face", self.face, ("largest", "center"))
        for name, strength in self.edit:
            _expect_edit(name, strength)
        if not 0 <= self.min_confidence <= 1:
            raise ConfigError(f"min-confidence must be 0 to 1, got {self.min_confidence:g}")
        if not 0 <= self.smooth <= 1:
            raise ConfigError(f"smooth must be auto, off, or 0 to 1, got {self.smooth}")
        _expect_at_least_one("queue", self.queue)
        if self.stall_timeout_s is not None and not self.stall_timeout_s > 0:
            raise ConfigError(f"stall-timeout must be above 0 s, got {self.stall_timeout_s}")
        _expect_at_least_one("max-pixels", self.max_pixels)
        _expect_at_least_one("max-frames", self.max_frames)
        if self.batch_size is not None:
            _expect_at_least_one("batch-size", self.batch_size)
        if self.background == "transparent" and self.layout == "side-by-side":
            raise ConfigError("side-by-side shows the source, which has no transparency")
        if self.background not in ("black", "source") and self.layout == "frame":
            raise ConfigError(
                "output frame keeps the source's own room; leave out background, "
                f"which is {self.background}"
            )


_CHOICES: dict[str, tuple[str, ...]] = {
    "view": get_args(View),
    "preset": get_args(Preset),
    "layout": get_args(Layout),
    "detail": get_args(Detail),
    "audio": get_args(Audio),
    "face_model": get_args(FaceModel),
    "on_lost": get_args(OnLost),
    "decoder": get_args(Decoder),
    "device": get_args(Device),
    "precision": get_args(Precision),
}


def parse_angle(text: str) -> float:
    """Radians from `-0.3`, `0.3rad` or `17deg`.

    Raises:
        ConfigError: it is not a number with one of these units.
    """
    match = re.fullmatch(r"(.*?)\s*(deg|°|rad|)", text.strip())
    number, unit = match.groups() if match else (text, "")
    try:
        value = float(number)
    except ValueError:
        raise ConfigError(
            f"{text!r} is no angle; write radians (-0.3) or degrees (17deg)"
        ) from None
    return math.radians(value) if unit in ("deg", "°") else value


def parse_edit(text: str) -> tuple[str, float]:
    """The direction and the strength that `smile=1.5` names.

    Raises:
        ConfigError: it is not written like this.
    """
    name, equals, number = text.partition("=")
    try:
        if not equals:
            raise ValueError
        return name.strip(), float(number)
    except ValueError:
        raise ConfigError(f"{text!r} is no edit; write NAME=STRENGTH, such as smile=1.5") from None


def parse_trim(text: str) -> Trim:
    """The part of a source that `0:05-0:20`, `5-20.5`, `1:00:00-` or `-0:20` names.

    Raises:
        ConfigError: it is not written like this, or does not run forward.
    """
    begin, dash, end = text.partition("-")
    if not dash or not (begin or end):
        raise ConfigError(f"{text!r} is no trim; write from-to, such as 0:05-0:20, 0:05- or -20")
    trim = (_seconds(begin, text), _seconds(end, text))
    if trim[1] is not None and trim[1] <= (trim[0] or 0):
        raise ConfigError(f"the trim {text} ends before it begins")
    return trim


def parse_timeout(text: str) -> float | None:
    """Seconds, or None from `off`.

    Raises:
        ConfigError: it is neither.
    """
    if text == "off":
        return None
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"{text!r} is no number of seconds; write 120, or off") from None


def parse_count(text: str) -> int:
    """A whole number, also as `900k` or `100M`.

    Raises:
        ConfigError: it is none.
    """
    match = re.fullmatch(r"(\d{1,15})([kM]?)", text.strip())
    if match is None:
        raise ConfigError(f"{text!r} is no whole number; write 900000, 900k or 100M")
    return int(match[1]) * {"": 1, "k": 1000, "M": 1_000_000}[match[2]]


def parse_smooth(text: str) -> float:
    """The strength of smoothing that `auto`, `off` or a number stands for.

    Raises:
        ConfigError: it is none of these.
    """
    if text in ("auto", "off"):
        return AUTO_SMOOTH if text == "auto" else 0.0
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"smooth must be auto, off, or 0 to 1, got {text!r}") from None


def _seconds(clock: str, text: str) -> Fraction | None:
    """Seconds from [[hours:]minutes:]seconds; None from nothing."""
    if not clock.strip():
        return None
    parts = clock.strip().split(":")
    if len(parts) > 3 or not all(re.fullmatch(r"\d+(\.\d*)?", part) for part in parts):
        raise ConfigError(f"{clock!r} in the trim {text!r} is no time; write 20, 0:20 or 1:00:20")
    seconds = Fraction(0)
    for part in parts:
        seconds = seconds * 60 + Fraction(part)
    return seconds


def _expect_angle(name: str, value: float, most: float) -> None:
    if not abs(value) <= most:  # also refuses nan
        raise ConfigError(f"{name} must be within {most} rad of frontal, got {value:g}")


def _expect_edit(name: str, strength: float) -> None:
    if not re.fullmatch(r"[\w-]+", name):
        raise ConfigError(f"{name!r} is no direction's name; write letters and digits, as in smile")
    if not abs(strength) <= MOST_STRENGTH:  # also refuses nan
        raise ConfigError(f"the edit {name} must be within {MOST_STRENGTH:g}, got {strength:g}")


def _expect_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f"{name.replace('_', '-')} must be {' or '.join(known)}, got {value}")


def _expect_at_least_one(name: str, value: int) -> None:
    if value < 1:
        raise ConfigError(f"{name} must be at least 1, got {value}")
