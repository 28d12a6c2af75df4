"""Speech that nobody said: syllables that move a mouth and a voice that speaks them.

Lips and sound come from one list of sounds, so they agree. The voice is source and filter:
pulses at the pitch and noise, shaped by resonators at the formants of each sound (vowels:
Peterson and Barney 1952; consonants: rounded from phonetics textbooks).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from tpvideo.weights.training.heads.kernel import F32, F64, compiled

SAMPLE_RATE = 48_000
PAUSE = "SIL"
_CONSONANTS = ["M", "F", "S", "L", "S", "L"]
_VOWELS = ["AA", "EH", "IY", "OW", "UW", "AA", "EH"]
_BLEND_S = 0.13
"""Width of the window that one sound's mouth melts into the next with."""


class Sound(NamedTuple):
    """One sound of speech."""

    name: str
    start_s: float
    length_s: float
    strength: float
    """About 1; how clearly it is articulated."""


class _Acoustics(NamedTuple):
    formants_hz: tuple[float, float, float]
    voice: float
    noise: float
    noise_hz: float


_ACOUSTICS = {
    "AA": _Acoustics((730, 1090, 2440), 1.0, 0.0, 6000),
    "EH": _Acoustics((530, 1840, 2480), 0.9, 0.0, 6000),
    "IY": _Acoustics((270, 2290, 3010), 0.7, 0.0, 6000),
    "OW": _Acoustics((570, 840, 2410), 0.9, 0.0, 6000),
    "UW": _Acoustics((300, 870, 2240), 0.7, 0.0, 6000),
    "M": _Acoustics((250, 1000, 2200), 0.35, 0.0, 6000),
    "L": _Acoustics((360, 1300, 2700), 0.55, 0.0, 6000),
    "F": _Acoustics((400, 1200, 2300), 0.0, 0.12, 4500),
    "S": _Acoustics((320, 1700, 2600), 0.0, 0.35, 6500),
    PAUSE: _Acoustics((500, 1500, 2500), 0.0, 0.0, 6000),
}


def _sides(**weights: float) -> dict[str, float]:
    return {name + side: weight for name, weight in weights.items() for side in ("_L", "_R")}


_MOUTHS: dict[str, dict[str, float]] = {
    "AA": {"jawOpen": 0.55, **_sides(mouthLowerDown=0.2)},
    "EH": {"jawOpen": 0.32, **_sides(mouthStretch=0.25, mouthUpperUp=0.15)},
    "IY": {"jawOpen": 0.14, **_sides(mouthStretch=0.35, mouthSmile=0.25, mouthLowerDown=0.3)},
    "OW": {"jawOpen": 0.34, "mouthFunnel": 0.65},
    "UW": {"jawOpen": 0.14, "mouthPucker": 0.75, "mouthFunnel": 0.2},
    "M": {"mouthRollLower": 0.12, "mouthRollUpper": 0.1, **_sides(mouthPress=0.35)},
    "F": {"jawOpen": 0.06, "mouthRollLower": 0.35, **_sides(mouthUpperUp=0.2)},
    "S": {"jawOpen": 0.05, **_sides(mouthStretch=0.2, mouthLowerDown=0.25)},
    "L": {"jawOpen": 0.24, **_sides(mouthUpperUp=0.1)},
    PAUSE: {},
}


def draw_speech(rng: Generator, length_s: float) -> list[Sound]:
    """Consonant and vowel in turn, four to five syllables a second, with pauses between phrases;
    silent for the first and the last quarter of a second."""
    sounds: list[Sound] = []
    time = 0.25
    while time < length_s - 0.55:
        if sounds and rng.random() < 0.1:
            time = _say(sounds, rng, PAUSE, time, rng.uniform(0.25, 0.45))
        time = _say(sounds, rng, str(rng.choice(_CONSONANTS)), time, rng.uniform(0.07, 0.10))
        time = _say(sounds, rng, str(rng.choice(_VOWELS)), time, rng.uniform(0.10, 0.17))
    return sounds


def _say(sounds: list[Sound], rng: Generator, name: str, start_s: float, length_s: float) -> float:
    sounds.append(Sound(name, start_s, length_s, float(rng.uniform(0.7, 1.1))))
    return start_s + length_s


def mouth_shapes(sounds: list[Sound], frames: int, rate: float) -> list[dict[str, float]]:
    """Expression weights of the mouth for every frame of a clip."""
    names = sorted({name for mouth in _MOUTHS.values() for name in mouth})
    fine = 8  # steps per frame
    targets = np.zeros((frames * fine, len(names)))
    for sound in sounds:
        span = _span(sound, rate * fine)
        for name, weight in _MOUTHS[sound.name].items():
            targets[span, names.index(name)] = weight * sound.strength
    window = np.hanning(int(_BLEND_S * rate * fine) | 1)
    blended = _convolved(targets, window)[fine // 2 :: fine]
    return [
        {name: float(w) for name, w in zip(names, row, strict=True) if w > 0.004} for row in blended
    ]


def voice(sounds: list[Sound], length_s: float, pitch_hz: float, rng: Generator) -> F32:
    """[n] mono samples, -1 to 1, at SAMPLE_RATE, of the sounds spoken at about `pitch_hz`."""
    control_hz = 1000  # the voice changes a thousand times a second
    steps = int(length_s * control_hz)
    scale = 1.0 if pitch_hz < 160 else 1.17  # a shorter vocal tract
    tracks = np.tile([500.0 * scale, 1500 * scale, 2500 * scale, 6000, 0, 0], (steps, 1))
    for sound in sounds:
        acoustics, span = _ACOUSTICS[sound.name], _span(sound, control_hz)
        tracks[span, :3] = np.array(acoustics.formants_hz) * scale
        tracks[span, 3] = acoustics.noise_hz
        tracks[span, 4] = acoustics.voice * sound.strength
        tracks[span, 5] = acoustics.noise * sound.strength
    tracks[:, :4] = _convolved(tracks[:, :4], np.hanning(61), hold=True)
    tracks[:, 4:] = _convolved(tracks[:, 4:], np.hanning(41))
    count = int(length_s * SAMPLE_RATE)
    at = np.arange(count) * control_hz / SAMPLE_RATE
    fine = np.stack([np.interp(at, np.arange(steps), track) for track in tracks.T], axis=1)
    pitch = np.interp(at, np.arange(steps), _melody(sounds, steps, control_hz, pitch_hz, rng))
    spoken = np.empty(count)
    _speak(fine, pitch, rng.normal(size=count), SAMPLE_RATE, spoken)
    spoken -= spoken.mean()
    return np.asarray(0.5 * spoken / max(float(np.abs(spoken).max()), 1e-9), np.float32)


def _span(sound: Sound, rate: float) -> slice:
    return slice(int(sound.start_s * rate), int((sound.start_s + sound.length_s) * rate))


def _convolved(tracks: F64, window: F64, *, hold: bool = False) -> F64:
    """Columns [n, k] smoothed by a window; before and after is 0, or the border's value."""
    half = len(window) // 2
    padded = np.pad(tracks, ((half, half), (0, 0)), mode="edge" if hold else "constant")
    window = window / window.sum()
    return np.stack([np.convolve(column, window, "valid") for column in padded.T], axis=1)


def _melody(
    sounds: list[Sound], steps: int, control_hz: int, pitch_hz: float, rng: Generator
) -> F64:
    """[steps] pitch in Hz: an accent on some vowels, falling to the end of each phrase."""
    pitch = np.full(steps, pitch_hz)
    phrase_start = 0.0
    for sound in sounds:
        if sound.name == PAUSE:
            phrase_start = sound.start_s + sound.length_s
        fall = 1.12 - 0.10 * (sound.start_s - phrase_start)
        accent = rng.uniform(0.95, 1.18) if sound.name in _VOWELS else 1.0
        pitch[_span(sound, control_hz)] = pitch_hz * max(fall, 0.85) * accent
    smooth = _convolved(pitch[:, None], np.hanning(181), hold=True)[:, 0]
    tremble = _convolved(rng.normal(size=(steps, 1)), np.hanning(121), hold=True)[:, 0]
    return np.asarray(smooth * (1 + 0.08 * tremble))


@compiled
def _speak(tracks: F64, pitch_hz: F64, noise: F64, rate: float, out: F64) -> None:
    """Source and filter, sample by sample.

    Args:
        tracks: [n, 6] three formants and the noise's band in Hz, and the two strengths.
        pitch_hz: [n]; noise: [n] normal random numbers; out: [n] result.
    """
    past = np.zeros((6, 2))
    bandwidths = (70.0, 90.0, 130.0, 250.0, 300.0)
    phase = 0.0
    tilt = 0.0
    before = 0.0
    for i in range(out.shape[0]):
        phase += pitch_hz[i] / rate
        if phase >= 1.0:
            phase -= 1.0
        # glottal flow (Rosenberg 1971): opens over 40 % of the period, shuts over 16 %
        flow = 0.0
        if phase < 0.4:
            flow = 0.5 * (1 - np.cos(np.pi * phase / 0.4))
        elif phase < 0.56:
            flow = np.cos(0.5 * np.pi * (phase - 0.4) / 0.16)
        breath = 0.02 * noise[i] * flow
        tilt = 0.6 * tilt + 0.4 * (flow + breath) * tracks[i, 4]
        value = tilt
        for k in range(5):
            centre = tracks[i, k] if k < 3 else (3500.0 if k == 3 else 4500.0)
            value = _resonate(past, k, value, centre, bandwidths[k], rate)
        hiss = _resonate(past, 5, noise[i] * tracks[i, 5], tracks[i, 3], 1800.0, rate)
        # lips radiate the change of the flow
        out[i] = (value - before) * 12.0 + 0.35 * hiss
        before = value


@compiled
def _resonate(
    past: F64, k: int, value: float, centre_hz: float, bandwidth_hz: float, rate: float
) -> float:
    """Klatt's (1980) two-pole resonator number k, of gain 1 at 0 Hz."""
    radius = np.exp(-np.pi * bandwidth_hz / rate)
    second = -radius * radius
    first = 2 * radius * np.cos(2 * np.pi * centre_hz / rate)
    result: float = (1 - first - second) * value + first * past[k, 0] + second * past[k, 1]
    past[k, 1] = past[k, 0]
    past[k, 0] = result
    return result
