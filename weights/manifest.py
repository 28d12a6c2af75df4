"""The model files that tpvideo knows, from `manifest.toml`, and which of them are here."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from tpvideo.pipeline.errors import WeightsError
from tpvideo.weights import folder

Kind = Literal["shipped", "model", "archive", "checkpoint", "training"]

READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """One entry of the manifest."""

    name: str
    file: str
    """Name in the user's directory (or inside the package, for shipped files)."""
    kind: Kind
    about: str
    licence: str
    """One sentence: the licence, and who may use it for what."""
    urls: tuple[str, ...]
    """Where it is fetched from, best first; `drive:ID` is a Google Drive file."""
    accept: bool = False
    """Whether the licence must be accepted before it is fetched."""
    bytes: int | None = None
    sha256: str | None = None
    original: str | None = None
    """Name of the published file, where ours is converted or unpacked from it."""
    members: tuple[tuple[str, str], ...] = ()
    """What is taken out of an archive: names and hashes."""
    after: tuple[str, ...] = ()
    """Files that must be here before it can be converted."""

    @property
    def path(self) -> Path:
        """Where it is, or would be."""
        if self.kind == "shipped":
            return Path(str(resources.files("tpvideo.weights").joinpath(self.file)))
        return folder.directory() / self.file

    @property
    def is_here(self) -> bool:
        """Whether everything of it is in its place."""
        if self.members:
            return all((self.path / name).is_file() for name, _ in self.members)
        return self.path.is_file()


@cache
def known() -> dict[str, ModelFile]:
    """Every entry of the manifest, by name."""
    text = resources.files("tpvideo.weights").joinpath("manifest.toml").read_text("utf-8")
    return {name: _model_file(name, fields) for name, fields in tomllib.loads(text).items()}


def _model_file(name: str, fields: dict[str, Any]) -> ModelFile:
    lists = {key: tuple(value) for key, value in fields.items() if isinstance(value, list)}
    members = tuple(fields.get("members", {}).items())
    return ModelFile(name=name, **{**fields, **lists, "members": members})


def entry(name: str) -> ModelFile:
    """One entry.

    Raises:
        WeightsError: there is none of this name; names all there are.
    """
    try:
        return known()[name]
    except KeyError:
        raise WeightsError(
            f"no model file is called {name}; there are {', '.join(known())}"
        ) from None


def sha256_of(path: Path, progress: Callable[[int], object] = lambda _: None) -> str:
    """Hash of a file, as hexadecimal text; `progress` hears of every piece read, in bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(READ_BYTES):
            digest.update(piece)
            progress(len(piece))
    return digest.hexdigest()


# --- hashes of files whose hash nobody publishes: recorded once, held to afterwards ---------------


def recorded(file: str) -> str | None:
    """The hash that `file` of the user's directory had when it arrived; None if unknown."""
    value = _records().get(file)
    return value if isinstance(value, str) else None


def record(file: str, sha256: str) -> None:
    """Remember the hash of a file that has just arrived."""
    path = _records_path()
    with folder.lock(path):
        records = {**_records(), file: sha256}
        part = path.with_suffix(".part")
        part.write_text(json.dumps(records, indent=1) + "\n", "utf-8")
        part.replace(path)


def _records() -> dict[str, object]:
    try:
        records = json.loads(_records_path().read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return records if isinstance(records, dict) else {}


def _records_path() -> Path:
    return folder.directory() / "hashes.json"


Health = Literal["intact", "damaged", "missing", "unknown hash"]


def health(model: ModelFile, progress: Callable[[int], object] = lambda _: None) -> Health:
    """Whether a file is here and is what it was; reads all of it."""
    if not model.is_here:
        return "missing"
    if model.members:
        hashes = [(sha256_of(model.path / name, progress), known) for name, known in model.members]
        return "intact" if all(found == known for found, known in hashes) else "damaged"
    expected = model.sha256 if model.original is None else None
    expected = expected or recorded(model.file)
    if expected is None:
        return "unknown hash"
    return "intact" if sha256_of(model.path, progress) == expected else "damaged"
