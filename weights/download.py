"""Fetching a file over HTTP: resumed, checked, and under its name only when whole."""

from __future__ import annotations

import importlib
import logging
import shutil
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from tpvideo.pipeline.errors import MissingExtraError, WeightsError
from tpvideo.weights import folder
from tpvideo.weights.manifest import ModelFile, sha256_of

log = logging.getLogger(__name__)

TIMEOUT_S = 30.0
PIECE_BYTES = 1 << 18

Progress = Callable[[int, int | None], object]
"""Hears how many bytes are here and how many there will be, where that is known."""


def fetch(model: ModelFile, target: Path, progress: Progress = lambda _here, _all: None) -> None:
    """Bring `target` here from the first of the model's addresses that has it.

    What an earlier call has left in `target.part` is continued. Size and hash are checked where
    the manifest knows them.

    Raises:
        WeightsError: no address worked; says what to fetch by hand and where to put it.
    """
    part = target.with_name(target.name + ".part")
    failures = []
    with folder.lock(target):
        if target.is_file():
            return  # another process was faster
        for url in model.urls:
            try:
                if url.startswith("drive:"):
                    _from_drive(url.removeprefix("drive:"), part)
                else:
                    _from_http(url, part, progress)
                _check(model, part)
            except (WeightsError, MissingExtraError) as error:
                failures.append(str(error))
                log.debug("%s: %s", url, error)
                continue
            part.replace(target)
            return
    raise WeightsError(_by_hand(model, target, failures))


def unpack(model: ModelFile, archive: Path) -> None:
    """Take the model's members out of an archive, which then goes.

    Raises:
        WeightsError: a member is missing or is not the one of the manifest.
    """
    model.path.mkdir(parents=True, exist_ok=True)
    try:
        with folder.lock(archive), zipfile.ZipFile(archive) as opened:
            inside = {Path(member.filename).name: member for member in opened.infolist()}
            for name, sha256 in model.members:
                part = model.path / f"{name}.part"
                with opened.open(inside[name]) as source, open(part, "wb") as target:
                    shutil.copyfileobj(source, target, PIECE_BYTES)
                if sha256_of(part) != sha256:
                    part.unlink()
                    raise WeightsError(f"{name} in {archive} differs from the one we know")
                part.replace(model.path / name)
    except KeyError as error:
        raise WeightsError(f"{archive} holds no {error.args[0]}") from error
    except (zipfile.BadZipFile, OSError, EOFError, zlib.error) as error:
        raise WeightsError(f"cannot unpack {archive}: {error}") from error
    archive.unlink()


def _by_hand(model: ModelFile, target: Path, failures: list[str]) -> str:
    addresses = " or ".join(
        url.replace("drive:", "https://drive.google.com/uc?id=") for url in model.urls
    )
    if model.original is None or model.members:
        advice = f"fetch {addresses} by hand and save it as {target}"
    else:
        advice = f"fetch {addresses} by hand, then `tpvideo weights import {model.original}`"
    return f"cannot fetch {model.name} ({'; '.join(failures) or 'no address'}); {advice}"


def _from_http(url: str, part: Path, progress: Progress) -> None:
    """Append to `part` what is still missing of it."""
    here = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "tpvideo"})
    if here:
        request.add_header("Range", f"bytes={here}-")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            _receive(response, part, here, progress)
    except urllib.error.HTTPError as error:
        if error.code == 416 and here:  # nothing beyond what is here: it is complete, or wrong
            return
        raise WeightsError(f"{_host(url)} answered {error.code} {error.reason}") from error
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error or type(error).__name__
        raise WeightsError(f"{_host(url)}: {reason}") from error


def _receive(response: HTTPResponse, part: Path, here: int, progress: Progress) -> None:
    is_continued = response.status == 206
    if not is_continued:
        here = 0  # the server sends the whole file, so begin again
    left = response.headers.get("Content-Length")
    total = here + int(left) if left else None
    with open(part, "ab" if is_continued else "wb") as file:
        progress(here, total)
        while piece := response.read(PIECE_BYTES):
            file.write(piece)
            here += len(piece)
            progress(here, total)
    if total is not None and here < total:
        raise WeightsError(f"the connection broke after {here} of {total} bytes; try again")


def _host(url: str) -> str:
    return url.split("/")[2]


def _from_drive(identity: str, part: Path) -> None:
    """Google Drive asks questions before it hands out large files; gdown answers them."""
    try:
        gdown = importlib.import_module("gdown")
    except ImportError as error:
        raise MissingExtraError("gdown", "gdown", "fetching from Google Drive") from error
    fetched = part.with_name(part.name + ".drive")  # gdown takes an existing file for complete
    try:
        gdown.download(id=identity, output=str(fetched), quiet=True, resume=True)
    except Exception as error:  # gdown documents no root of its errors
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise WeightsError(f"Google Drive: {reason}") from error
    if not fetched.is_file():
        raise WeightsError("Google Drive gave no file; its daily quota may be used up")
    fetched.replace(part)


def _check(model: ModelFile, part: Path) -> None:
    """Raise WeightsError, and throw the file away, unless it is the one of the manifest."""
    size = part.stat().st_size
    if model.bytes is not None and size != model.bytes:
        if size > model.bytes:
            part.unlink()
        raise WeightsError(f"got {size} bytes instead of {model.bytes}")
    if model.sha256 is not None and sha256_of(part) != model.sha256:
        part.unlink()
        raise WeightsError("the file differs from the one we know (SHA-256)")
