"""Long films in parts: cut at the source's keyframes, rendered apart, joined without encoding anew.

Each part begins WARM_UP_S early, so that what remembers earlier frames (the matte, the face's
track and its smoothing) has settled where the part begins; those frames are rendered and dropped.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from tpvideo.pipeline.batch.task import Part, Target, Task
from tpvideo.pipeline.config import Settings
from tpvideo.pipeline.errors import OutputError
from tpvideo.pipeline.frame import Rendered, StreamInfo
from tpvideo.stages.codecs import MOVIE_FORMATS, Recipe, pick_codec
from tpvideo.stages.media import INDEXED, open_media, pick_video, start_of
from tpvideo.stages.movie import MovieWriter, encoder_errors
from tpvideo.stages.segment import SegmentWriter, segment_format

WARM_UP_S = Fraction(4)
STILLS = frozenset({".avif", ".bmp", ".gif", ".heic", ".jpeg", ".jpg", ".png", ".tif", ".webp"})
FOLDER = ".batch.parts"
"""Where parts wait, below the output folder."""


def cuts(source: Path, settings: Settings, split_s: float) -> list[Part]:
    """The parts of a film, each at least `split_s` long; none where it is not to be cut.

    Only containers with an index can be entered in the middle, and films shorter than two parts
    stay whole.
    """
    with open_media(source) as container:
        if not INDEXED.intersection(container.format.name.split(",")):
            return []
        video = pick_video(container, source)
        origin = start_of(container, video)
        times: list[Fraction] = []
        keyframes: list[Fraction] = []
        for packet in container.demux(video):
            if packet.pts is not None:
                times.append(packet.pts * packet.time_base - origin)
                if packet.is_keyframe:
                    keyframes.append(times[-1])
    begin, end = settings.trim or (None, None)
    first, last = begin or Fraction(0), max(times, default=Fraction(0)) if end is None else end
    edges = [first]
    for keyframe in sorted(keyframes):
        if keyframe - edges[-1] >= split_s and last - keyframe >= split_s:
            edges.append(keyframe)
    if len(edges) < 2:
        return []
    ends = [*edges[1:], end]
    return [
        Part(number, len(edges), edge, until, warm_s=min(WARM_UP_S, edge - first))
        for number, (edge, until) in enumerate(zip(edges, ends, strict=True))
    ]


def cuts_of(task: Task, source: Path, settings: Settings, split_s: float) -> list[Part]:
    """The parts of a task's film; none for photographs, and for results that are no film."""
    suffixes = {Path(target.name).suffix.lower() for target in task.targets}
    if source.suffix.lower() in STILLS or not suffixes <= set(MOVIE_FORMATS):
        return []
    return cuts(source, settings, split_s)


def suffixes(target: Target, settings: Settings) -> tuple[str, str]:
    """Of the two files of a part: its pictures, and what joining has to know."""
    whole = Path(target.name)
    return f".{segment_format(whole, recipe(whole, settings))}", ".json"


def part_name(target: Target, number: int, suffix: str) -> str:
    """Where a part of a result waits."""
    return f"{FOLDER}/{target.name}/{number:05}{suffix}"


def part_settings(settings: Settings, part: Part) -> Settings:
    """The settings with the trim of a part and its warm-up."""
    begin = part.begin_s - part.warm_s
    return replace(settings, trim=(begin or None, part.end_s))


class PartSink:
    """Encodes the frames of a part, without those of its warm-up, and notes their times."""

    notices: list[str]

    def __init__(self, path: Path, target: Path, settings: Settings, begin_pts_s: Fraction) -> None:
        """`begin_pts_s` is the first moment to keep, on the source's own clock."""
        self.notices = []
        self._path = path
        self._target = target
        self._recipe = recipe(target, settings)
        self._crf = settings.crf
        self._begin_s = begin_pts_s
        self._info: StreamInfo | None = None
        self._segment: SegmentWriter | None = None

    def open(self, info: StreamInfo) -> None:
        """Start the encoder."""
        self._info = info
        is_mp4 = MOVIE_FORMATS[self._target.suffix.lower()] in ("mp4", "mov")
        with encoder_errors(self._target):
            self._segment = SegmentWriter(
                self._path,
                segment_format(self._target, self._recipe),
                self._recipe,
                self._crf,
                info,
                self._recipe.codec.tag if is_mp4 else None,
            )

    def consume(self, item: Rendered) -> None:
        """Encode a frame that belongs to the part."""
        assert self._info is not None and self._segment is not None
        if item.stamp.pts * self._info.time_base >= self._begin_s:
            with encoder_errors(self._target):
                self._segment.encode(item)

    def finish(self) -> None:
        """Complete the file, and write what joining has to know beside it."""
        assert self._info is not None and self._segment is not None
        if not self._segment.times:
            raise OutputError(
                self._target, "a part of it has no frame; --split off renders it whole"
            )
        with encoder_errors(self._target):
            facts = {
                "delay": self._segment.finish(),
                "times": self._segment.times,
                "size": [self._info.width, self._info.height],
                "rate": str(self._info.rate),
                "time_base": str(self._info.time_base),
            }
            self._segment = None
            self._path.with_suffix(".json").write_text(json.dumps(facts), encoding="utf-8")

    def close(self) -> None:
        """Remove what was not finished."""
        if self._segment is not None:
            self._segment.discard()
            self._segment = None


def origin_of(source: Path) -> Fraction:
    """Time zero of a source on its own clock, seconds."""
    with open_media(source) as container:
        return start_of(container, pick_video(container, source))


def recipe(target: Path, settings: Settings) -> Recipe:
    """How a result is encoded."""
    return pick_codec(target, settings.codec, settings.background == "transparent")


def join(
    parts: Sequence[Path], source: Path, target: Path, settings: Settings, tags: dict[str, str]
) -> int:
    """Put parts and the source's sound together, packet by packet; returns the number of frames.

    Args:
        parts: the files, in order, each with its `.json`; they are moved away.
        source: whose sound is copied.
        target: appears when it is whole.
        settings: of the run.
        tags: for the container.

    Raises:
        OutputError: the parts overlap, or the disk is full.
    """
    facts = [json.loads(part.with_suffix(".json").read_text(encoding="utf-8")) for part in parts]
    times = [time for fact in facts for time in fact["times"]]
    if any(later <= earlier for earlier, later in pairwise(times)):
        raise OutputError(target, "its parts overlap in time; --split off renders it whole")
    width, height = facts[0]["size"]
    rate, time_base = Fraction(facts[0]["rate"]), Fraction(facts[0]["time_base"])
    writer = MovieWriter(
        target,
        recipe(target, settings),
        crf=settings.crf,
        sound_from=source if settings.audio == "copy" else None,
        trim=settings.trim,
        metadata=tags,
    )
    try:
        writer.open(StreamInfo(width, height, rate, time_base, len(times)))
        for part, fact in zip(parts, facts, strict=True):
            writer.take(part, fact["times"], fact["delay"])
        writer.finish()
    finally:
        writer.close()
    return len(times)


def split(task: Task, parts: Sequence[Part]) -> list[Task]:
    """A task for each part."""
    return [replace(task, part=part, bytes=task.bytes // len(parts)) for part in parts]
