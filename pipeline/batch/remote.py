"""Sources and results in object stores, through fsspec: s3://, gs://, and whatever else it knows.

A worker renders on its own disk: it fetches the source, and uploads each result when that is
whole. Object stores show an upload under its name only when it is complete; elsewhere it goes
under another name first and is then renamed.
"""

from __future__ import annotations

import os
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from tpvideo.pipeline.batch.task import Mark
from tpvideo.pipeline.errors import InputError, MissingExtraError, OutputError

COMPLETE_UPLOADS = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "az", "abfss", "adl"})
"""Stores where nothing is to be seen of an upload before its end."""
TOKENS = ("ETag", "etag", "md5Hash", "content_md5", "LastModified", "last_modified", "mtime")
"""Where stores keep what changes with a file's content, best first."""
LINES_INTERVAL_S = 10.0
"""How often lines reach the store: each time costs a request."""


def is_remote(name: str) -> bool:
    """Whether a source or folder is in a store: a URL, not a path."""
    return "://" in name


def file_system(url: str) -> Any:
    """fsspec's file system for a URL, without memory of earlier listings.

    Raises:
        MissingExtraError: fsspec, or the package for this kind of store, is not installed.
    """
    kind = url.partition("://")[0]
    try:
        import fsspec

        return fsspec.filesystem(kind, use_listings_cache=False, skip_instance_cache=True)
    except ImportError as error:
        package = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"}.get(kind, "fsspec")
        raise MissingExtraError(package, "cluster", f"{kind}://") from error
    except ValueError as error:
        raise InputError(url, f"no store of the kind {kind} is known") from error


def mark_from(facts: Mapping[str, Any]) -> Mark:
    """What a listing says of a file."""
    token = next((str(facts[name]) for name in TOKENS if facts.get(name)), "")
    return Mark(int(facts.get("size") or 0), token)


def find(url: str, *, recursive: bool) -> Iterator[tuple[str, PurePosixPath, Mark]]:
    """(URL, path below the folder, mark) of the files that a URL names: one, a folder, a pattern.

    Raises:
        InputError: the store refuses, or there is no such thing in it.
    """
    files = file_system(url)
    path = files._strip_protocol(url)
    try:
        if any(letter in path for letter in "*?["):
            found = {name: facts for name, facts in files.glob(path, detail=True).items()}
            base = PurePosixPath(path.partition("*")[0].partition("?")[0].partition("[")[0])
            base = base if str(path).startswith(f"{base}/") else base.parent
        elif files.isdir(path):
            found = files.find(path, maxdepth=None if recursive else 1, detail=True)
            base = PurePosixPath(path.rstrip("/"))
        else:
            found, base = {path: files.info(path)}, PurePosixPath(path).parent
    except Exception as error:  # stores raise what their libraries raise
        raise InputError(url, _line(error)) from error
    for name, facts in sorted(found.items()):
        if facts.get("type", "file") == "file":
            below = PurePosixPath(name).relative_to(base)
            yield files.unstrip_protocol(name), below, mark_from(facts)


@contextmanager
def fetched(url: str) -> Iterator[Path]:
    """The source as a file of this machine, while the block lasts.

    Raises:
        InputError: it cannot be fetched.
    """
    files = file_system(url)
    path = files._strip_protocol(url)
    with tempfile.TemporaryDirectory(prefix="tpvideo-") as folder:
        # The name is that of the source, for messages; only its last part, so it stays inside.
        local = Path(folder) / (PurePosixPath(path).name or "source")
        try:
            files.get_file(path, os.fspath(local))
        except Exception as error:
            raise InputError(url, _line(error)) from error
        yield local


def publish(local: Path, url: str) -> Mark:
    """Upload a finished file; whole or not at all, and again over itself without harm.

    Raises:
        OutputError: it cannot be uploaded.
    """
    files = file_system(url)
    path = files._strip_protocol(url)
    try:
        if url.partition("://")[0] in COMPLETE_UPLOADS:
            files.put_file(os.fspath(local), path)
        else:
            parent, _, name = path.rpartition("/")
            files.makedirs(parent, exist_ok=True)
            part = f"{parent}/.{name}.{uuid.uuid4().hex}.part"
            files.put_file(os.fspath(local), part)
            files.mv(part, path)
        return mark_from(files.info(path))
    except Exception as error:
        raise OutputError(url, _line(error)) from error


def remove(url: str) -> None:
    """Remove a file that is no longer needed; one that stays does no harm."""
    with suppress(Exception):  # stores raise what their libraries raise
        files = file_system(url)
        files.rm_file(files._strip_protocol(url))


class RemoteFolder:
    """The output folder in a store. One batch at a time: stores have no locks."""

    def __init__(self, url: str) -> None:
        self.root = url.rstrip("/")
        self._files = file_system(url)
        self._path = self._files._strip_protocol(self.root)
        self._marks: dict[str, Mark] | None = None
        self._run = f"{time.time_ns():020}"
        self._waiting: dict[str, list[str]] = {}
        self._parts = 0
        self._written_s = time.monotonic()

    @contextmanager
    def held(self) -> Iterator[RemoteFolder]:
        """Write all lines in the end.

        Raises:
            OutputError: the store cannot be written.
        """
        try:
            yield self
        finally:
            self.close()

    def mark(self, name: str) -> Mark | None:
        """As it was when first asked: one listing for all."""
        if self._marks is None:
            listed = self._call(self._files.find, self._path, detail=True)
            start = len(self._path) + 1
            self._marks = {name[start:]: mark_from(facts) for name, facts in listed.items()}
        return self._marks.get(name)

    def sha256(self, name: str) -> str:
        """Not known: the store's own tag must do."""
        return ""

    def read_lines(self, name: str) -> Iterator[str]:
        """The lines of a text and of its parts, oldest first."""
        is_there = self.mark(name) is not None
        for each in [name, *self._parts_of(name)] if is_there else self._parts_of(name):
            content: bytes = self._call(self._files.cat_file, f"{self._path}/{each}")
            yield from content.decode("utf-8", "replace").splitlines()

    def add_line(self, name: str, line: str) -> None:
        """Keep a line; every few seconds those that wait become a part of their own."""
        self._waiting.setdefault(name, []).append(line)
        if time.monotonic() - self._written_s > LINES_INTERVAL_S or self._parts == 0:
            self._write_parts()

    def write(self, name: str, content: bytes) -> None:
        """Upload a small file."""
        self._call(self._files.pipe_file, f"{self._path}/{name}", content)

    def close(self) -> None:
        """Put a text and its parts together again."""
        names = list(self._waiting)
        self._write_parts()
        for name in names:
            self._marks = None
            content = "".join(f"{line}\n" for line in self.read_lines(name))
            self.write(name, content.encode())
            for each in self._parts_of(name):
                self._call(self._files.rm_file, f"{self._path}/{each}")

    def _parts_of(self, name: str) -> list[str]:
        return sorted(other for other in self._marks or () if other.startswith(f"{name}.parts/"))

    def _write_parts(self) -> None:
        for name, lines in self._waiting.items():
            if lines:
                content = "".join(f"{line}\n" for line in lines)
                part = f"{name}.parts/{self._run}-{self._parts:08}.jsonl"
                self.write(part, content.encode())
                lines.clear()
        self._parts += 1
        self._written_s = time.monotonic()

    def _call(self, act: Any, *arguments: Any, **named: Any) -> Any:
        try:
            return act(*arguments, **named)
        except Exception as error:  # stores raise what their libraries raise
            raise OutputError(self.root, _line(error)) from error


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
