"""Sound that is taken down live: where it lies beside the pictures, and when it comes."""

from __future__ import annotations

import itertools
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from films import click_times, frame_times
from parts import Event
from synthetic import clicks, numbered, write_clip

from tpvideo.pipeline.errors import InputError
from tpvideo.pipeline.frame import Rendered, Stamp, StreamInfo
from tpvideo.stages import microphone
from tpvideo.stages.captured_sound import RATE, CapturedSound, Samples
from tpvideo.stages.encode import FileSink
from tpvideo.stages.live import TIME_BASE, now
from tpvideo.stages.microphone import FilmSound, LiveSound, Microphone

SECOND = 1_000_000
INFO = StreamInfo(96, 64, Fraction(25), TIME_BASE, frames=None)
BEGIN = 7 * 3600 * SECOND  # a live clock has been running for long
PIECE = RATE // 50


def stereo(wave: Any) -> Samples:
    """[N, 2] of [1, N]."""
    return np.repeat(wave.reshape(-1, 1), 2, axis=1)


def record(
    folder: Path, sound_from_s: float, sound_s: float, frames: int, gap_s: float = 0
) -> Path:
    """A film of pictures from BEGIN on, with clicks at every half second of the live clock."""
    target = folder / "call.mp4"
    sound = CapturedSound(folder / "sound.mp4")
    sink = FileSink(target, source=None, sound=sound)
    wave = clicks(sound_from_s, sound_s, RATE)
    sink.open(INFO)
    for place in range(0, wave.shape[1], PIECE):
        moment_s = sound_from_s + place / RATE
        if not 0.8 <= moment_s < 0.8 + gap_s:
            piece = stereo(wave[:, place : place + PIECE])
            sound.take(BEGIN + round(moment_s * SECOND), piece)
    for number in range(frames):
        stamp = Stamp(number, BEGIN + number * SECOND // 25)
        sink.consume(Rendered(stamp, numbered(number)))
    sink.finish()
    sink.close()
    assert sorted(folder.iterdir()) == [target]
    return target


def test_sound_lies_where_it_was_heard_beside_the_pictures(tmp_path: Path) -> None:
    film = record(tmp_path, sound_from_s=-1.0, sound_s=4.0, frames=50)
    times = frame_times(film)
    assert (times[0], len(times)) == (0, 50)
    heard = click_times(film)
    # one piece of AAC is 21 ms; what was heard before and after the pictures is left out
    assert np.allclose([t for t in heard if 0.05 < t < 1.9], [0.5, 1.0, 1.5], atol=0.022)
    assert heard[-1] < 2.03


def test_a_gap_in_what_the_microphone_gives_moves_nothing(tmp_path: Path) -> None:
    film = record(tmp_path, sound_from_s=0.0, sound_s=3.0, frames=75, gap_s=0.3)
    heard = click_times(film)
    assert np.allclose([t for t in heard if t > 1.2], [1.5, 2.0, 2.5], atol=0.022)


def test_a_silent_microphone_leaves_a_silent_film(tmp_path: Path) -> None:
    film = record(tmp_path, sound_from_s=0.0, sound_s=0.0, frames=5)
    with av.open(str(film)) as container:
        assert not container.streams.audio


class Heard:
    """Keeps what it is told, and when."""

    def __init__(self, until: int) -> None:
        self.pieces: list[tuple[int, int, Samples]] = []
        self.is_enough = Event()
        self._until = until

    def __call__(self, moment: int, samples: Samples) -> None:
        self.pieces.append((now(), moment, samples))
        if sum(len(piece) for _, _, piece in self.pieces) >= self._until:
            self.is_enough.set()


def listen(sound: LiveSound, heard: Heard) -> None:
    sound.listen(heard)
    sound.open()


def test_a_films_sound_is_heard_as_the_film_plays(tmp_path: Path) -> None:
    film = write_clip(tmp_path / "talk.mp4", 25, rate=25, sound=[(0, 1)])
    sound, heard = FilmSound(film), Heard(RATE // 2)
    listen(sound, heard)
    begun = now()
    sound.begin(begun, Fraction(0))
    heard.is_enough.wait()
    sound.close()
    for told_at, moment, samples in heard.pieces:
        assert told_at >= moment + len(samples) * SECOND // RATE - 1000  # never before its time
    moments = [moment for _, moment, _ in heard.pieces]
    assert moments == sorted(moments)
    assert abs(moments[0] - begun) < 0.05 * SECOND
    assert np.abs(heard.pieces[0][2]).max() > 1000  # the click at the film's beginning


def test_a_film_that_begins_again_is_heard_again(tmp_path: Path) -> None:
    film = write_clip(tmp_path / "talk.mp4", 25, rate=25, sound=[(0, 1)])
    sound, first = FilmSound(film), Heard(RATE // 10)
    listen(sound, first)
    sound.begin(now(), Fraction(0))
    first.is_enough.wait()
    again = Heard(RATE // 10)
    sound.listen(again)
    begun = now()
    sound.begin(begun, Fraction(0))
    again.is_enough.wait()
    sound.close()
    assert any(abs(moment - begun) < 0.05 * SECOND for _, moment, _ in again.pieces)


def test_a_microphone_is_told_piece_by_piece_on_the_live_clock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The clock goes on by a frame of sound with each, and once by two seconds more: a pause."""
    frame, pause = 1024 * SECOND // 44100, 2 * SECOND
    moments = (BEGIN + frame * n + (pause if n >= 8 else 0) for n in itertools.count())
    monkeypatch.setattr(microphone, "now", lambda: next(moments))

    def open_device() -> Any:
        return av.open("sine=frequency=440:sample_rate=44100:duration=0.5", format="lavfi")

    sound, heard = Microphone("ours", open_device), Heard(RATE // 3)
    listen(sound, heard)
    heard.is_enough.wait()
    sound.close()
    assert all(samples.shape[1] == 2 for _, _, samples in heard.pieces)
    begins = [moment for _, moment, _ in heard.pieces]
    assert abs(begins[0] - (BEGIN - frame)) <= frame  # it ended when it was heard
    ends = [moment + len(samples) * SECOND // RATE for _, moment, samples in heard.pieces]
    gaps = [begin - end for begin, end in zip(begins[1:], ends, strict=False)]
    # Without a gap, as counted in samples, but for the pause.
    assert [abs(gap) <= 2 for gap in gaps].count(False) == 1
    assert abs(max(gaps) - pause) < 0.1 * SECOND


def test_who_has_left_hears_nothing() -> None:
    sound, heard, other = Microphone("ours", lambda: None), Heard(1), Heard(1)  # type: ignore[arg-type, return-value]
    leave = sound.listen(heard)
    sound.listen(other)
    leave()
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 20), np.int16), format="s16", layout="stereo")
    sound._tell(0, frame)
    assert not heard.pieces and len(other.pieces) == 1


def test_a_microphone_that_is_not_there_is_an_error_in_one_line() -> None:
    def open_device() -> Any:
        raise OSError(19, "No such device")

    with pytest.raises(InputError, match="the microphone ours: No such device"):
        Microphone("ours", open_device).open()
