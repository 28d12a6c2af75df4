"""Lips and voice come from one list of sounds."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba", reason="needs the training extra")
pytest.importorskip("cv2", reason="needs the training extra")
pytest.importorskip("scipy", reason="needs the training extra")

from tpvideo.weights.training.heads.speech import (
    PAUSE,
    SAMPLE_RATE,
    Sound,
    draw_speech,
    mouth_shapes,
    voice,
)


def rms(samples: np.ndarray, start_s: float, end_s: float) -> float:
    part = samples[int(start_s * SAMPLE_RATE) : int(end_s * SAMPLE_RATE)]
    return float(np.sqrt((part.astype(np.float64) ** 2).mean()))


def centroid_hz(samples: np.ndarray, start_s: float, end_s: float) -> float:
    part = samples[int(start_s * SAMPLE_RATE) : int(end_s * SAMPLE_RATE)]
    spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part))))
    hertz = np.fft.rfftfreq(len(part), 1 / SAMPLE_RATE)
    return float((spectrum * hertz).sum() / spectrum.sum())


def test_the_jaw_opens_while_a_vowel_sounds() -> None:
    sounds = [Sound("AA", 0.4, 0.3, 1.0)]
    mouths = mouth_shapes(sounds, 25, 25)
    samples = voice(sounds, 1.0, 120, np.random.default_rng(0))
    jaw = [mouth.get("jawOpen", 0.0) for mouth in mouths]
    assert jaw[13] == pytest.approx(0.55, abs=0.02)  # 0.52 to 0.56 s: the middle of the vowel
    assert max(jaw[:6] + jaw[22:]) == 0
    assert rms(samples, 0.45, 0.65) > 100 * rms(samples, 0.0, 0.3)


def test_lips_are_shut_for_m_and_sound_goes_on() -> None:
    sounds = [Sound("AA", 0.2, 0.3, 1.0), Sound("M", 0.5, 0.3, 1.0)]
    mouths = mouth_shapes(sounds, 25, 25)
    samples = voice(sounds, 1.0, 120, np.random.default_rng(0))
    assert mouths[16].get("jawOpen", 0.0) < 0.02
    assert mouths[16]["mouthPress_L"] > 0.3
    assert 0.01 < rms(samples, 0.6, 0.7) / rms(samples, 0.3, 0.4) < 0.7


def test_s_hisses_above_every_vowel() -> None:
    sounds = [Sound("S", 0.2, 0.2, 1.0), Sound("IY", 0.5, 0.3, 1.0)]
    samples = voice(sounds, 1.0, 120, np.random.default_rng(0))
    assert centroid_hz(samples, 0.25, 0.35) > 4000
    assert centroid_hz(samples, 0.6, 0.7) < 2500


def test_the_voice_has_the_pitch_asked_for() -> None:
    samples = voice([Sound("AA", 0.1, 0.8, 1.0)], 1.0, 200, np.random.default_rng(0))
    part = samples[int(0.3 * SAMPLE_RATE) : int(0.7 * SAMPLE_RATE)].astype(np.float64)
    echo = np.correlate(part, part, "full")[len(part) - 1 :]
    shortest, longest = SAMPLE_RATE // 320, SAMPLE_RATE // 120
    period = shortest + int(echo[shortest:longest].argmax())
    assert SAMPLE_RATE / period == pytest.approx(200, rel=0.35)  # with its melody


def test_speech_fits_its_length_and_its_sounds_follow_each_other() -> None:
    sounds = draw_speech(np.random.default_rng(4), 5.0)
    ends = [sound.start_s + sound.length_s for sound in sounds]
    assert [sound.start_s for sound in sounds[1:]] == pytest.approx(ends[:-1])
    assert ends[-1] < 5.0
    vowels = [sound for sound in sounds if sound.name in {"AA", "EH", "IY", "OW", "UW"}]
    assert 3 < len(vowels) / 5 < 6  # syllables a second
    assert all(sound.length_s < 0.5 for sound in sounds if sound.name == PAUSE)


def test_samples_stay_within_their_range() -> None:
    samples = voice(draw_speech(np.random.default_rng(1), 3.0), 3.0, 118, np.random.default_rng(2))
    assert samples.shape == (3 * SAMPLE_RATE,)
    assert samples.dtype == np.float32
    assert float(np.abs(samples).max()) == pytest.approx(0.5)
