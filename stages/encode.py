"""Writes the finished frames: a film with the source's sound, one picture, or a sequence."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Protocol

from tpvideo.pipeline.checkpoint import Checkpoint
from tpvideo.pipeline.errors import ConfigError, OutputError
from tpvideo.pipeline.frame import Rendered, StreamInfo
from tpvideo.pipeline.losses import Losses
from tpvideo.stages.codecs import ALPHA_SUFFIXES, MOVIE_FORMATS, pick_codec
from tpvideo.stages.media import Trim
from tpvideo.stages.movie import MovieWriter
from tpvideo.stages.pictures import PICTURE_SUFFIXES, SequenceWriter, StillWriter
from tpvideo.stages.provenance import Provenance
from tpvideo.stages.sound import Sound

log = logging.getLogger(__name__)


class Writer(Protocol):
    """One way of writing a target; the methods of a sink, without its checks of the name."""

    notices: list[str]
    losses: Losses

    def open(self, info: StreamInfo) -> None: ...

    def consume(self, item: Rendered, /) -> None: ...

    def finish(self) -> None: ...

    def close(self) -> None: ...


class FileSink:
    """Frames into a file, chosen by its suffix.

    .mp4 .m4v .mov .mkv .webm are films, .png .jpg .webp a single picture of a photograph; a name
    with a number in it (`view_%05d.png`) or a folder is a sequence of pictures, without sound.

    Time: the result starts at zero, as the source does in a player. The earliest of the source's
    picture and sound (with a trim: the first kept frame) becomes zero, and everything else keeps
    its distance to it. Nothing appears under the target's name before it is whole.
    """

    def __init__(
        self,
        target: str | Path,
        *,
        source: str | Path | None,
        codec: str | None = None,
        crf: int = 18,
        audio: Literal["copy", "none"] = "copy",
        trim: Trim | None = None,
        overwrite: bool = False,
        resume: bool = False,
        transparent: bool = False,
        metadata: Mapping[str, str] | None = None,
        provenance: Provenance | None = None,
        sound: Sound | None = None,
    ) -> None:
        """
        Args:
            target: the file, folder or numbered name to write.
            source: the file whose sound is copied and that must not be overwritten.
            codec: h264, hevc, vp9 or prores; None picks by suffix and transparency.
            crf: quality of the film, 0 (best) to 51.
            audio: "copy" takes every sound track along, bit for bit where the container allows.
            trim: what FileSource was given; the sound is cut alike.
            overwrite: replace an existing target, and what an interrupted run left of it.
            resume: `recover` may go on with what an interrupted run left of a film.
            transparent: frames will carry alpha.
            metadata: tags for the container, such as title or copyright; pictures have none.
            provenance: the note that this is a synthetic view, for films and pictures alike.
            sound: of a film, where it does not come from the source.

        Raises:
            ConfigError: crf or audio makes no sense.
            OutputError: the suffix is not known, or cannot hold the codec or transparency.
        """
        if not 0 <= crf <= 51:
            raise ConfigError(f"crf must be 0 to 51, got {crf}")
        if audio not in ("copy", "none"):
            raise ConfigError(f"audio must be copy or none, got {audio}")
        self.target = Path(target)
        self._source = None if source is None else Path(source)
        self._overwrite = overwrite
        self._resume = resume
        suffix = self.target.suffix.lower()
        self._is_folder = str(target).endswith(("/", os.sep)) or self.target.is_dir()
        self._is_numbered = "%" in self.target.name and suffix in PICTURE_SUFFIXES
        self._writer: Writer
        if self._is_folder or self._is_numbered or suffix in PICTURE_SUFFIXES:
            if transparent and suffix in (".jpg", ".jpeg"):
                raise OutputError(self.target, "JPEG has no transparency; use .png or .webp")
            many = self._is_folder or self._is_numbered
            xmp = provenance.xmp() if provenance else None
            kind = SequenceWriter if many else StillWriter
            self._writer = kind(self.target, xmp)
            return
        if suffix not in MOVIE_FORMATS:
            known = " ".join([*MOVIE_FORMATS, *PICTURE_SUFFIXES])
            raise OutputError(self.target, f"the suffix must be one of {known}")
        if transparent and suffix not in ALPHA_SUFFIXES:
            films = " or ".join(ALPHA_SUFFIXES)
            reason = f"{suffix} has no transparency; use {films}, or a folder for PNG pictures"
            raise OutputError(self.target, reason)
        self._writer = MovieWriter(
            self.target,
            pick_codec(self.target, codec, transparent),
            crf=crf,
            sound_from=self._source if audio == "copy" else None,
            trim=trim,
            metadata={**(metadata or {}), **(provenance.film_tags() if provenance else {})},
            sound=sound,
        )

    @property
    def notices(self) -> list[str]:
        """What had to be done differently from what was asked, one line each."""
        return self._writer.notices

    @property
    def losses(self) -> Losses:
        """What of the source's sound could not be taken along."""
        return self._writer.losses

    def recover(self, key: Mapping[str, str]) -> Checkpoint | None:
        """Ask, before open, where to go on; None is from the beginning.

        Args:
            key: everything that decides what the film becomes, each in words, by its name. A run
                that is interrupted later can be resumed by one with the same.

        Raises:
            OutputError: pictures are to be resumed; only films can be.
            ResumeError: an interrupted run had another key, or left something damaged.
        """
        if isinstance(self._writer, MovieWriter):
            self._writer.ledger.key = dict(key)
            return self._writer.ledger.recover() if self._resume else None
        if self._resume:
            reason = "only films can be resumed; leave --resume out and it is written anew"
            raise OutputError(self.target, reason)
        return None

    def open(self, info: StreamInfo) -> None:
        """Check the target and open the encoder at info.width x info.height.

        Raises:
            OutputError: the target exists, is the source, or cannot be written there.
        """
        self.check_target()
        self._writer.open(info)

    def consume(self, item: Rendered) -> None:
        """Write one frame; its size must be the one that open was told."""
        self._writer.consume(item)

    def keep(self, checkpoint: Checkpoint) -> None:
        """Let a film's frames so far, and the checkpoint, survive the end of the process."""
        if isinstance(self._writer, MovieWriter):
            self._writer.keep(checkpoint)

    def kept_frames(self) -> int:
        """How many frames a run that was interrupted has left for a later one to go on from."""
        if isinstance(self._writer, MovieWriter):
            return self._writer.ledger.kept_frames()
        return 0

    def finish(self) -> None:
        """Complete the file and give it its name."""
        self._writer.finish()
        for notice in self.notices:
            log.warning("%s: %s", self.target.name, notice)

    def close(self) -> None:
        """Remove whatever was not finished, but for what can be resumed."""
        self._writer.close()

    def check_target(self) -> None:
        """Raise OutputError where open would, before anything is opened."""
        target, folder = self.target, self.target.absolute().parent
        if not folder.is_dir():
            raise OutputError(target, f"there is no folder {folder}; create it first")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise OutputError(target, f"no permission to write in {folder}")
        if self._source is not None and target.exists() and target.samefile(self._source):
            raise OutputError(target, "it is the source itself; choose another name")
        if self._is_folder:
            if target.exists() and any(target.iterdir()) and not self._overwrite:
                raise OutputError(target, "the folder is not empty; pass --overwrite to fill it")
            return
        if target.is_dir():
            raise OutputError(target, "is a folder")
        first = target.with_name(target.name % 0) if self._is_numbered else target
        if first.exists() and not self._overwrite:
            raise OutputError(target, "it exists; pass --overwrite or choose another name")
        if not self._resume and not self._overwrite and (frames := self.kept_frames()):
            reason = f"an interrupted run left {frames} frames of it"
            raise OutputError(target, f"{reason}; --resume goes on, --overwrite begins anew")
