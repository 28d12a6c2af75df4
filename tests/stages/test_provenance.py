"""The note that a result is a synthetic view: written into every kind of target, read back."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from xml.etree import ElementTree

import av
import numpy as np
import pytest
from PIL import Image as Pillow
from synthetic import write_clip

from tpvideo.pipeline.errors import InputError
from tpvideo.pipeline.frame import Rendered, Stamp, StreamInfo
from tpvideo.stages.encode import FileSink
from tpvideo.stages.provenance import SOURCE_TYPE, Provenance, parse, read_provenance

NOTE = Provenance(
    version="1.2.3",
    yaw_rad=-0.3,
    pitch_rad=0.0,
    view="fixed",
    model='a "quoted" <model> & more',
    edit=(("smile", 1.5), ("age", -1.0)),
    trim=("41/2", None),
)


def write(target: Path, note: Provenance | None, *, frames: int = 1) -> Path:
    info = StreamInfo(32, 32, Fraction(25), Fraction(1, 25), frames, still=frames == 1)
    sink = FileSink(target, source=None, provenance=note, metadata={"title": "kept"})
    sink.open(info)
    for index in range(frames):
        sink.consume(Rendered(Stamp(index, index), np.full((32, 32, 3), 90, np.uint8)))
    sink.finish()
    sink.close()
    return target


@pytest.mark.parametrize(
    "suffix", [".mp4", ".m4v", ".mov", ".mkv", ".webm", ".png", ".jpg", ".webp"]
)
def test_every_kind_of_target_carries_the_note(tmp_path: Path, suffix: str) -> None:
    assert read_provenance(write(tmp_path / f"out{suffix}", NOTE)) == NOTE
    assert read_provenance(write(tmp_path / f"bare{suffix}", None)) is None


def test_a_note_of_earlier_versions_tells_of_no_edit() -> None:
    facts = json.dumps({"tool": "tpvideo", "version": "0", "yaw_rad": 0.0, "pitch_rad": 0.0,
                        "view": "fixed", "model": "default"})  # fmt: skip
    note = parse(facts)
    assert note is not None and note.edit == ()
    assert parse(facts.replace("}", ', "edit": [["smile"]]}')) is None
    assert "face changed by smile=1.5 age=-1" in NOTE.text()


def test_every_picture_of_a_sequence_carries_the_note(tmp_path: Path) -> None:
    write(tmp_path / "view_%02d.png", NOTE, frames=3)
    notes = [read_provenance(path) for path in sorted(tmp_path.glob("view_*.png"))]
    assert notes == [NOTE] * 3


def test_a_film_says_it_in_words_and_keeps_its_other_tags(tmp_path: Path) -> None:
    with av.open(str(write(tmp_path / "out.mp4", NOTE))) as film:
        assert film.metadata["comment"].startswith("Synthetic view, not recorded by a camera")
        assert film.metadata["title"] == "kept"


def test_a_picture_names_the_press_agencies_source_type(tmp_path: Path) -> None:
    with Pillow.open(write(tmp_path / "out.jpg", NOTE)) as picture:
        tree = ElementTree.fromstring(picture.info["xmp"])
    assert any(SOURCE_TYPE in element.attrib.values() for element in tree.iter())
    assert "".join(tree.itertext()) == NOTE.text()


def test_a_trim_is_exact() -> None:
    assert NOTE.trim_s == (Fraction(41, 2), None)


@pytest.mark.parametrize(
    "text",
    ["", "a comment", "{}", '{"tool": "other"}', '{"tool": "tpvideo"}', "{[", '{"tool": "tpvideo", '
     '"version": "1", "yaw_rad": 0, "pitch_rad": 0, "view": "fixed", "model": "m", "trim": [1]}',
     '{"tool": "tpvideo", "version": "1", "yaw_rad": 0, "pitch_rad": 0, "view": "fixed", '
     '"model": "m", "trim": ["1/0", null]}'],
)  # fmt: skip
def test_another_programs_tag_is_no_note(text: str) -> None:
    assert parse(text) is None


def test_files_of_other_programs_have_no_note(tmp_path: Path) -> None:
    assert read_provenance(write_clip(tmp_path / "plain.mp4", 2)) is None
    (tmp_path / "text.mp4").write_text("no film")
    assert read_provenance(tmp_path / "text.mp4") is None
    with pytest.raises(InputError, match="no such file"):
        read_provenance(tmp_path / "missing.mp4")
