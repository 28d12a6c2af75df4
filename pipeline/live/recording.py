"""Recordings: of the whole session under a name that was asked for, or between two clicks."""

from __future__ import annotations

import logging
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tpvideo.pipeline.errors import ConfigError, TpvideoError
from tpvideo.pipeline.frame import Rendered, StreamInfo
from tpvideo.pipeline.live.view import Shown
from tpvideo.stages.captured_sound import CapturedSound
from tpvideo.stages.encode import FileSink
from tpvideo.stages.microphone import LiveSound
from tpvideo.stages.provenance import Provenance

log = logging.getLogger(__name__)

Note = Callable[[], Provenance | None]


class Recording:
    """A film of the whole session, every picture at its moment.

    Args:
        target: the film to write.
        sound: what is recorded with it, if anything.
        note: what the film says of how it was made.
        overwrite: replace one that exists.
    """

    name = "recording"

    def __init__(
        self,
        target: Path,
        *,
        sound: LiveSound | None = None,
        note: Note = lambda: None,
        overwrite: bool = False,
    ) -> None:
        self._sound = sound
        self._captured = CapturedSound(target.with_name(f".{target.stem}.sound.mp4"))
        self._film = FileSink(
            target,
            source=None,
            overwrite=overwrite,
            provenance=note(),
            sound=self._captured if sound else None,
        )
        self._deafen: Callable[[], None] = lambda: None
        self._frames = 0

    def check_target(self) -> None:
        """Raise OutputError where open would, before anything is loaded."""
        self._film.check_target()

    def open(self, info: StreamInfo) -> None:
        """Start the encoder."""
        self._film.open(info)
        if self._sound is not None:
            self._deafen = self._sound.listen(self._captured.take)

    def consume(self, item: Shown) -> None:
        """Write one picture."""
        self._film.consume(Rendered(item.stamp, item.rgb))
        self._frames += 1

    def finish(self) -> None:
        """Give the film its name; nothing where no picture came."""
        self._deafen()
        if self._frames:
            self._film.finish()

    def close(self) -> None:
        """Remove what was not finished."""
        self._deafen()
        self._film.close()


class Clips:
    """Films between two clicks on the page, in a folder of their own that goes with the session.

    Only the newest is kept: the page fetches it as soon as it is there. `sound` and `note` are
    those of Recording.
    """

    name = "clips"

    def __init__(self, *, sound: LiveSound | None = None, note: Note = lambda: None) -> None:
        self._sound = sound
        self._note = note
        self.newest: Path | None = None
        """The last film that was finished."""
        self.said = ""
        """What went wrong with the last one that was not."""
        self._lock = threading.Lock()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._info: StreamInfo | None = None
        self._film: Recording | None = None
        self._finishing: threading.Thread | None = None
        self._count = 0

    @property
    def is_recording(self) -> bool:
        """Whether pictures are being recorded; also until the film has been finished."""
        return self._film is not None or self._finishing is not None

    def record(self, wanted: object) -> None:
        """Begin or end a film; from any thread.

        Raises:
            ConfigError: neither true nor false, or the last film is still being finished.
        """
        if not isinstance(wanted, bool):
            raise ConfigError(f"record is true or false, got {wanted!r}")
        with self._lock:
            if wanted and self._finishing is not None:
                raise ConfigError("the last recording is still being finished; try again")
            if wanted and self._film is None and self._info is not None:
                self._begin(self._info)
            elif not wanted and self._film is not None:
                film, self._film = self._film, None
                # A thread: joining the film's parts must hold up neither pictures nor the page.
                self._finishing = threading.Thread(
                    target=self._finish, args=(film, self._count), name="tpvideo-clip"
                )
                self._finishing.start()

    def open(self, info: StreamInfo) -> None:
        """Make the folder."""
        self._info = info
        self._folder = tempfile.TemporaryDirectory(prefix="tpvideo-")

    def consume(self, item: Shown) -> None:
        """Write one picture, where one is wanted."""
        with self._lock:
            if self._film is not None:
                self._film.consume(item)

    def finish(self) -> None:
        """What runs on is thrown away with the session."""

    def close(self) -> None:
        """Remove all films."""
        with self._lock:
            film, self._film, finishing = self._film, None, self._finishing
            self._info = None  # from here on no film begins
        if finishing is not None:
            finishing.join()
        if film is not None:
            film.close()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _begin(self, info: StreamInfo) -> None:
        self._count += 1
        film = Recording(self._path(self._count), sound=self._sound, note=self._note)
        try:
            film.open(info)
        except TpvideoError as error:
            film.close()
            raise ConfigError(str(error)) from error
        self._film = film

    def _finish(self, film: Recording, number: int) -> None:
        self.said = ""
        try:
            film.finish()
        except TpvideoError as error:  # in a thread nobody hears it: the page and the log must
            self.said = str(error)
            log.warning("the recording is lost: %s", error)
        film.close()
        finished = self._path(number)
        with self._lock:
            if finished.exists():
                if self.newest is not None:
                    with suppress(OSError):  # it may be on its way to a browser
                        self.newest.unlink()
                self.newest = finished
            self._finishing = None

    def _path(self, number: int) -> Path:
        assert self._folder is not None
        return Path(self._folder.name) / f"clip-{number}.mp4"
