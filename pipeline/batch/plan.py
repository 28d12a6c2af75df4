"""Which sources a batch has, and what each result is called; nothing is read or written yet."""

from __future__ import annotations

import glob
import os
import string
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tpvideo.pipeline.batch import remote
from tpvideo.pipeline.batch.remote import is_remote
from tpvideo.pipeline.batch.task import Mark, Target, Task
from tpvideo.pipeline.config import Settings
from tpvideo.pipeline.errors import ConfigError, InputError

MEDIA = frozenset(
    {
        *(".3gp", ".asf", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4"),
        *(".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv"),
        *(".avif", ".bmp", ".heic", ".heif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"),
    }
)
"""Suffixes looked for in folders; a file that is named may have any."""

FIELDS = ("stem", "yaw", "pitch", "suffix", "ext", "number")
"""What a name template may hold."""


@dataclass(frozen=True, slots=True)
class Source:
    """A source and the folder it was found in."""

    path: str
    """A path, or the URL of an object."""
    below: PurePosixPath
    """Path of the file below the folder that its results' tree starts from."""
    bytes: int = 0
    listed: Mark | None = None
    """What a store says of it; None for a file."""


def find_sources(
    inputs: Sequence[str], listed: Sequence[str], out: str, *, recursive: bool
) -> list[Source]:
    """The sources, each once, in the order given; folders sorted by name.

    Args:
        inputs: files, folders, and patterns such as `clips/**/*.mp4`.
        listed: further files, from a list.
        out: the output folder; what lies in it is no source.
        recursive: look into the folders of folders.

    Raises:
        InputError: an input does not exist, or there is nothing in all of them.
        ConfigError: the output folder is one of the inputs.
    """
    found: list[Source] = []
    files = [name for name in listed if not is_remote(name)]
    for text in (*inputs, *(name for name in listed if is_remote(name))):
        if is_remote(text):
            found += _in_store(text, out, recursive=recursive)
            continue
        path = Path(text)
        if path.is_dir():
            if not is_remote(out) and Path(out).resolve() == path.resolve():
                raise ConfigError(f"{text} cannot hold both sources and results; choose another -o")
            found += _in_folder(path, path.rglob("*") if recursive else path.glob("*"))
        elif path.exists() or not glob.has_magic(text):
            files.append(text)  # one that does not exist is reported when it is its turn
        else:
            base = _plain_part(text)
            found += _in_folder(base, map(Path, glob.iglob(text, recursive=True)))
    found += _beside_each_other(files)
    sources = {source.path: source for source in found if not _is_within(source.path, out)}
    if not sources:
        deeper = "" if recursive else "; --recursive looks into the folders below as well"
        raise InputError(", ".join(inputs) or "the list", f"no video or photograph in it{deeper}")
    return list(sources.values())


def read_list(path: str) -> list[str]:
    """The sources that a text file names, one a line; `-` is standard input.

    Empty lines, and lines that start with #, are left out. Names are relative to the folder that
    the command runs in, as `find` prints them.

    Raises:
        InputError: the list cannot be read.
    """
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not a text in UTF-8"
        raise InputError(path, reason) from error
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


def tasks(
    sources: Iterable[Source], settings: Settings, yaws_rad: Sequence[float], template: str | None
) -> list[Task]:
    """A task for each source.

    Raises:
        ConfigError: the template is wrong, leads out of the output folder, or gives two results
            one name.
    """
    template = template or _default_template(settings)
    check_template(template)
    owners: dict[str, str] = {}
    planned = []
    for number, source in enumerate(sources, start=1):
        targets: list[Target] = []
        for yaw_rad in yaws_rad:
            name = safe_name(source, template, settings, yaw_rad, number)
            other = owners.setdefault(name, source.path)
            if other != source.path or any(target.name == name for target in targets):
                what = "two angles of" if other == source.path else f"{other} and"
                hint = "{yaw}" if other == source.path else "{ext} or {number}"
                raise ConfigError(
                    f"{what} {source.path} would both become {name}; put {hint} into --name"
                )
            targets.append(Target(name, yaw_rad))
        label = source.below.as_posix()
        planned.append(Task(source.path, tuple(targets), label, source.bytes, source.listed))
    return planned


def check_template(template: str) -> None:
    """Raise ConfigError unless a template holds only text and FIELDS."""
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise ConfigError(f"--name {template!r} is no template: {error}") from None
    for _, field, spec, conversion in parts:
        if field is not None and (field not in FIELDS or conversion or "{" in (spec or "")):
            known = " ".join(f"{{{name}}}" for name in FIELDS)
            raise ConfigError(f"--name {template!r} may hold {known}, not {{{field}}}")


def safe_name(
    source: Source, template: str, settings: Settings, yaw_rad: float, number: int
) -> str:
    """The name of a result below the output folder, in the tree of its source.

    Raises:
        ConfigError: the name would lie outside, or be a folder's or none.
    """
    from tpvideo.stages.codecs import default_suffix

    ext = source.below.suffix
    try:
        name = template.format(
            stem=source.below.stem,
            yaw=Angle(yaw_rad),
            pitch=Angle(settings.pitch_rad),
            suffix=default_suffix(ext.lower(), settings.background == "transparent"),
            ext=ext.removeprefix("."),
            number=number,
        )
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"--name {template!r} cannot be filled in: {error}") from None
    relative = source.below.parent / name.replace(os.sep, "/")
    parts = relative.parts
    if relative.is_absolute() or ".." in parts or "\0" in name or not PurePosixPath(name).name:
        raise ConfigError(f"{source.path} would be written outside the output folder: {relative}")
    if name.endswith("/") or parts[0] in RESERVED:
        raise ConfigError(f"{relative} is no name for a result of {source.path}")
    # A percent sign in a picture's name would be taken for the number of a sequence.
    return relative.as_posix().replace("%", "_")


RESERVED = frozenset(
    {
        "batch.jsonl",
        "batch.jsonl.parts",
        ".batch.lock",
        ".batch.parts",
        ".batch.posters",
        "index.html",
    }
)
"""What the batch itself keeps in the output folder."""


class Angle(float):
    """Prints as short as people write it: -0.3, not -0.30000000000000004."""

    def __format__(self, spec: str) -> str:
        return super().__format__(spec or ".4g")


def _default_template(settings: Settings) -> str:
    pitch = "_pitch{pitch}" if settings.pitch_rad else ""
    return f"{{stem}}_yaw{{yaw}}{pitch}{{suffix}}"


def _in_folder(base: Path, paths: Iterable[Path]) -> Iterator[Source]:
    """The media files among these, under their path below `base`."""
    for path in sorted(paths):
        is_hidden = any(part.startswith(".") for part in path.relative_to(base).parts)
        if path.suffix.lower() in MEDIA and not is_hidden and path.is_file():
            yield _source(path, PurePosixPath(path.relative_to(base).as_posix()))


def _beside_each_other(files: Sequence[str]) -> Iterator[Source]:
    """Files named one by one, below the deepest folder that holds them all."""
    if not files:
        return
    absolute = [os.path.abspath(file) for file in files]
    base = os.path.commonpath([os.path.dirname(file) for file in absolute])
    for file, full in zip(files, absolute, strict=True):
        yield _source(Path(file), PurePosixPath(Path(os.path.relpath(full, base)).as_posix()))


def _in_store(url: str, out: str, *, recursive: bool) -> Iterator[Source]:
    """The media files in a store; one that is named may have any suffix."""
    if url.rstrip("/") == out.rstrip("/"):
        raise ConfigError(f"{url} cannot hold both sources and results; choose another -o")
    for name, below, mark in remote.find(url, recursive=recursive):
        is_hidden = any(part.startswith(".") for part in below.parts)
        is_named = len(below.parts) == 1 and url.endswith(f"/{below}")
        if is_named or (below.suffix.lower() in MEDIA and not is_hidden):
            yield Source(name, below, mark.bytes, mark)


def _is_within(source: str, out: str) -> bool:
    if is_remote(source) or is_remote(out):
        return source.startswith(out.rstrip("/") + "/")
    return Path(out).resolve() in Path(source).resolve().parents


def _source(path: Path, below: PurePosixPath) -> Source:
    try:
        length = path.stat().st_size
    except OSError:
        length = 0
    return Source(os.fspath(path), below, length)


def _plain_part(pattern: str) -> Path:
    """The folder that a pattern starts from: its parts before the first wildcard."""
    plain = []
    for part in Path(pattern).parts:
        if glob.has_magic(part):
            break
        plain.append(part)
    return Path(*plain)
