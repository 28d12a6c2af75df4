"""Segments and a ledger, without the stages: any container and codec, any clock, any moment."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from films import frame_times
from synthetic import numbered

from tpvideo.pipeline.checkpoint import Checkpoint
from tpvideo.pipeline.errors import OutputError
from tpvideo.pipeline.frame import Rendered, Stamp, StreamInfo
from tpvideo.stages.encode import FileSink
from tpvideo.stages.ledger import Ledger
from tpvideo.stages.movie import decoding_times

KEY = {"yaw": "0.3"}
SIDE = 128  # x265 makes another film each time of much smaller pictures
INFO = StreamInfo(SIDE, SIDE, Fraction(25), Fraction(1, 1000), None)
PTS = [40, 41, 120, 121, 2500, 2540, 2600, 2601, 2900, 2950, 3000, 9000, 9001, 9040]
"""A clock with bursts and gaps."""


def write(
    target: Path,
    frames: Sequence[int],
    *,
    keep_at: Sequence[int] = (),
    finish: bool = True,
    **options: Any,
) -> Checkpoint | None:
    """Numbered frames at PTS, with checkpoints ahead of some; returns where it began."""
    sink = FileSink(target, source=None, **options)
    begin = sink.recover(KEY)
    try:
        sink.open(INFO)
        for number in frames[begin.frames if begin else 0 :]:
            if number in keep_at:
                sink.keep(Checkpoint(number, PTS[0], ({"array": np.arange(number)},)))
            picture = numbered(number, SIDE, SIDE)
            alpha = np.full((SIDE, SIDE), 40 * (number % 5), np.uint8)
            is_clear = options.get("transparent", False)
            sink.consume(Rendered(Stamp(number, PTS[number]), picture, alpha if is_clear else None))
        if finish:
            sink.finish()
    finally:
        sink.close()
    return begin


def digest(path: Path) -> str:
    """Of every packet with its times."""
    result = hashlib.md5()
    with av.open(str(path)) as container:
        for packet in container.demux():
            result.update(f"{packet.pts} {packet.dts} {packet.duration}".encode() + bytes(packet))
    return result.hexdigest()


def pictures_in(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("x.mp4", {}),
        ("x.mkv", {}),
        ("x.mp4", {"codec": "hevc"}),
        ("x.webm", {}),
        ("x.mov", {"codec": "prores"}),
        ("x.mov", {"transparent": True}),
        ("x.mkv", {"transparent": True}),
    ],
)
def test_a_film_in_segments_is_the_same_in_one_go_and_in_two(
    tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    one, two = tmp_path / name, tmp_path / "two" / name
    two.parent.mkdir()
    keep_at = (1, 5, 6, 13)  # segments of one frame, and of fewer than the encoder looks ahead
    everything = range(len(PTS))
    write(one, everything, keep_at=keep_at, **options)
    write(two, range(9), keep_at=keep_at, finish=False, **options)
    assert not two.exists()
    begin = write(two, everything, keep_at=keep_at, resume=True, **options)
    assert begin is not None and begin.frames == 6
    assert begin.states[0]["array"].tolist() == list(range(6))
    assert digest(two) == digest(one)
    assert pictures_in(two) == len(PTS)
    assert [path.name for path in two.parent.iterdir()] == [name]
    expected = [Fraction(tick - PTS[0], 1000) for tick in PTS]
    assert frame_times(two) == expected


def test_a_film_that_ends_at_a_checkpoint_needs_no_further_frame(tmp_path: Path) -> None:
    target = tmp_path / "x.mp4"
    write(target, range(6), keep_at=(5,), finish=False)
    begin = write(target, range(5), resume=True)
    assert begin is not None and begin.frames == 5
    assert pictures_in(target) == 5


@pytest.mark.parametrize("count", [1, 2])
def test_hevc_of_so_few_frames_that_x265_sets_no_decoding_times(tmp_path: Path, count: int) -> None:
    """They were what lay in memory, and every sixth such film could not be written."""
    for number in range(15):
        target = tmp_path / f"{number}.mp4"
        write(target, range(count), codec="hevc")
        assert pictures_in(target) == count


def test_the_frames_that_are_kept_can_be_counted(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "x.mp4")
    assert ledger.kept_frames() == 0
    write(tmp_path / "x.mp4", range(6), keep_at=(2, 4), finish=False)
    assert ledger.kept_frames() == 4


def test_a_folder_that_a_link_leads_to_is_left_alone(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("mine")
    (tmp_path / ".x.mp4.part").symlink_to(precious)
    with pytest.raises(OutputError, match="is a link; remove it"):
        write(tmp_path / "x.mp4", range(3))
    assert (precious / "thesis.txt").read_text() == "mine"


def test_states_come_back_as_they_were(tmp_path: Path) -> None:
    states = (
        {
            "matte": np.float32([[0.1, 1 / 3]]),
            "is_new": True,
            "box": [0.1, 1e-300, -0.0],
            "no": None,
        },
        {},
        {"inner": {"picture": np.arange(12, dtype=np.uint8).reshape(2, 2, 3)}},
    )
    ledger = Ledger(tmp_path / "x.mp4")
    ledger.key = KEY
    ledger.begin()
    ledger.next_path(".mp4").write_bytes(b"segment")
    ledger.add(ledger.next_path(".mp4"), [3, 4], 0)
    ledger.keep(Checkpoint(2, 3, states))
    ledger.end(keep=True)
    other = Ledger(tmp_path / "x.mp4")
    other.key = KEY
    found = other.recover()
    assert found is not None and (found.frames, found.zero_pts) == (2, 3)
    assert list(other.times) == [3, 4]
    matte = found.states[0]["matte"]
    assert matte.dtype == np.float32 and (matte == states[0]["matte"]).all()
    assert {**found.states[0], "matte": None} == {**states[0], "matte": None}
    assert found.states[1] == {}
    assert (found.states[2]["inner"]["picture"] == states[2]["inner"]["picture"]).all()


@pytest.mark.parametrize("delay", [0, 1, 2, 5])
@pytest.mark.parametrize("times", [[7], [0, 40], [0, 1, 1000], PTS])
def test_decoding_times_rise_and_come_before_what_is_shown(times: list[int], delay: int) -> None:
    decoded = list(decoding_times(times, delay))
    assert all(later > time for time, later in pairwise(decoded))
    # A packet may be ahead of its place by the delay, and is still decoded in time.
    ahead = zip(decoded[delay:], times, strict=False)
    assert all(moment <= shown for moment, shown in ahead)
    assert len(decoded) == len(times)
