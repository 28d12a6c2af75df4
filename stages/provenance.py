"""The note in a result that says: no camera recorded this view.

Films carry it as the tag `comment`, pictures as XMP; both hold a sentence for people and, for
programs, the same as JSON. Pictures also name IPTC's digital source type.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import av
from PIL import Image as Pillow

from tpvideo.pipeline.errors import InputError
from tpvideo.stages.media import open_media
from tpvideo.stages.pictures import PNG_XMP

SENTENCE = "Synthetic view, not recorded by a camera: rendered from the source's frames by"
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
FILM_TAG = "comment"
"""The one free text that MP4, MOV, Matroska and WebM all keep."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What made a result, and what it was told to leave out of the source."""

    version: str
    """Of tpvideo."""
    yaw_rad: float
    pitch_rad: float
    view: str
    """fixed or follow: what the angles are counted from."""
    model: str
    """Name of the tri-plane model, without its folder."""
    edit: tuple[tuple[str, float], ...] = ()
    """What was changed about the face: directions and strengths."""
    audio: str = "copy"
    trim: tuple[str | None, str | None] | None = None
    """Ends in seconds of the source, exact, such as "5" or "41/2"."""

    def text(self) -> str:
        """A sentence and the same as JSON."""
        facts = json.dumps({"tool": "tpvideo", **asdict(self)})
        how = f"yaw {self.yaw_rad:.4g} rad, pitch {self.pitch_rad:.4g} rad, model {self.model}"
        if self.edit:
            edits = " ".join(f"{name}={strength:g}" for name, strength in self.edit)
            how += f", face changed by {edits}"
        return f"{SENTENCE} tpvideo {self.version} ({how}). {facts}"

    def film_tags(self) -> dict[str, str]:
        """For a container's metadata."""
        return {FILM_TAG: self.text()}

    def xmp(self) -> bytes:
        """An XMP packet for a picture."""
        text = html.escape(self.text(), quote=True)
        return (
            '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
            '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
            '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" '
            'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
            f'Iptc4xmpExt:DigitalSourceType="{SOURCE_TYPE}">'
            f'<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{text}</rdf:li></rdf:Alt>'
            "</dc:description></rdf:Description></rdf:RDF></x:xmpmeta>"
        ).encode()

    @property
    def trim_s(self) -> tuple[Fraction | None, Fraction | None] | None:
        """The trim as numbers."""
        if self.trim is None:
            return None
        begin, end = (None if end is None else Fraction(end) for end in self.trim)
        return begin, end


def parse(text: str) -> Provenance | None:
    """What a tag says, or None where it says nothing of ours."""
    found = re.search(r"\{.*\}", html.unescape(text), re.DOTALL)
    try:
        facts = json.loads(found.group()) if found else None
        if not isinstance(facts, Mapping) or facts.get("tool") != "tpvideo":
            return None
        known = {name: facts[name] for name in Provenance.__slots__ if name in facts}
        if known.get("trim") is not None:
            begin, end = known["trim"]
            known["trim"] = (begin, end)
        known["edit"] = tuple((str(name), float(by)) for name, by in known.get("edit", ()))
        provenance = Provenance(**known)
        _ = provenance.trim_s
        return provenance
    except (ValueError, TypeError, ZeroDivisionError):
        return None


def read_provenance(path: Path) -> Provenance | None:
    """The note in a film or a picture; None where there is none.

    Raises:
        InputError: the file is missing.
    """
    tags = _picture_tags(path) or _film_tags(path)
    return next((note for text in tags if (note := parse(text)) is not None), None)


def _picture_tags(path: Path) -> list[str]:
    try:
        with Pillow.open(path) as picture:
            values = (picture.info.get("xmp"), picture.info.get(PNG_XMP))
    except (OSError, ValueError, SyntaxError, Pillow.DecompressionBombError):
        return []
    return [
        value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        for value in values
        if value
    ]


def _film_tags(path: Path) -> list[str]:
    try:
        with open_media(path) as container:
            return list(container.metadata.values())
    except (InputError, av.error.FFmpegError):
        if not path.exists():
            raise
        return []
