"""Files of a batch: their marks, and an output folder that no name leads out of."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Protocol

from tpvideo.pipeline.batch.task import Mark
from tpvideo.pipeline.errors import OutputError
from tpvideo.weights.folder import lock

CHUNK_BYTES = 1 << 20


class Folder(Protocol):
    """Where results and the manifest are; names are below it, with forward slashes."""

    @property
    def root(self) -> str | Path:
        """For people, and for workers to write below."""

    def held(self) -> AbstractContextManager[Folder]:
        """Around a run."""

    def mark(self, name: str) -> Mark | None:
        """What a result looks like now, without its hash; None where there is none."""

    def sha256(self, name: str) -> str:
        """Hash of a result's content."""

    def read_lines(self, name: str) -> Iterator[str]:
        """The lines of a text, oldest first; none where it does not exist."""

    def add_line(self, name: str, line: str) -> None:
        """Append a line, so that it outlives this program."""

    def write(self, name: str, content: bytes) -> None:
        """Write a small file; it appears under its name when whole."""


class LocalFolder:
    """A folder on this machine, held by one batch at a time."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._texts: dict[str, IO[str]] = {}

    @contextmanager
    def held(self) -> Iterator[LocalFolder]:
        """Make the folder and keep other batches out of it.

        Raises:
            OutputError: it cannot be made, or another batch is at work in it.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(self.root, error.strerror or str(error)) from error
        with ExitStack() as held:
            try:
                held.enter_context(lock(self.root / ".batch", wait=False))
            except BlockingIOError as error:
                raise OutputError(self.root, "another batch is at work in it") from error
            held.callback(self.close)
            yield self

    def mark(self, name: str) -> Mark | None:
        return mark_of(self.root / name)

    def sha256(self, name: str) -> str:
        return sha256_of(self.root / name)

    def read_lines(self, name: str) -> Iterator[str]:
        with suppress(FileNotFoundError), open(self.root / name, encoding="utf-8") as text:
            yield from text

    def add_line(self, name: str, line: str) -> None:
        if name not in self._texts:
            self._texts[name] = _appending(self.path_for(name))
        self._texts[name].write(line + "\n")
        self._texts[name].flush()

    def write(self, name: str, content: bytes) -> None:
        path = self.path_for(name)
        part = path.with_name(f".{path.name}.part")
        part.unlink(missing_ok=True)
        part.write_bytes(content)
        os.replace(part, path)

    def read(self, name: str) -> bytes:
        """A small file; empty where there is none."""
        with suppress(OSError):
            return (self.root / name).read_bytes()
        return b""

    def path_for(self, name: str) -> Path:
        """Where to write a name; makes the folders above it.

        Raises:
            OutputError: a link leads out of this folder, or something else is in the way.
        """
        path = self.root / name
        inside = self.root.resolve()
        try:
            if not path.parent.resolve().is_relative_to(inside):
                raise OutputError(path, f"a link leads out of {self.root}")
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.parent.resolve().is_relative_to(inside):
                raise OutputError(path, f"a link leads out of {self.root}")
            if path.is_dir():
                raise OutputError(path, "a folder has this name")
            if any(hidden.is_symlink() for hidden in hidden_files(path)):
                raise OutputError(path, "a link lies where the unfinished file would go; remove it")
        except OSError as error:
            raise OutputError(path, error.strerror or str(error)) from error
        return path

    def close(self) -> None:
        for text in self._texts.values():
            text.close()
        self._texts.clear()


def hidden_files(target: Path) -> list[Path]:
    """Where a result lies while it is made; see stages.ledger and stages.pictures."""
    names = (f".{target.name}.part", f".{target.stem}.part{target.suffix}")
    return [target.with_name(name) for name in names]


def mark_of(path: str | Path, *, with_hash: bool = False) -> Mark | None:
    """Length, time and, if asked for, hash of a file; None where there is no regular file."""
    path = Path(path)
    try:
        state = path.stat()
        if not path.is_file():
            return None
        return Mark(state.st_size, str(state.st_mtime_ns), sha256_of(path) if with_hash else "")
    except OSError:
        return None


def sha256_of(path: str | Path) -> str:
    """Hash of a file's content; empty where it cannot be read."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
    except OSError:
        return ""
    return digest.hexdigest()


def _appending(path: Path) -> IO[str]:
    """A text to add lines to; a last line that was cut short is ended first."""
    text = open(path, "a+", encoding="utf-8")  # noqa: SIM115 -- kept open for the run
    if text.tell() > 0:
        with open(path, "rb") as file:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                text.write("\n")
    return text
