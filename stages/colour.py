"""Brings the colours of any source to BT.709 at standard dynamic range.

High dynamic range is mapped in display light: decode the transfer function (BT.2100), move the
primaries to BT.709, roll bright light off with the curve of BT.2390 section 5.4.1, encode for a
BT.1886 display. Diffuse white, 203 cd/m2 (BT.2408), becomes the white of the result, so that faces
keep their brightness relative to white.
"""

from __future__ import annotations

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, Colorspace, ColorTrc
from numpy.typing import NDArray

from tpvideo.pipeline.frame import Image

Floats = NDArray[np.float32]

WHITE_NITS = 203.0
"""Diffuse white of high dynamic range (BT.2408, table 1)."""
PEAK_NITS = 1000.0
"""Assumed peak of the source; brighter light is white."""
SDR_GAMMA = 2.4
"""Display gamma of BT.1886."""
STRIP_ROWS = 64

TRANSFER_NAMES = {int(ColorTrc.SMPTE2084): "PQ", int(ColorTrc.ARIB_STD_B67): "HLG"}
UNSPECIFIED = 2

BT709_FROM_BT2020 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]],
    np.float32,
)  # BT.2087, section 2
BT709_FROM_P3 = np.array(
    [[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0197, -0.0786, 1.0979]],
    np.float32,
)  # SMPTE EG 432-1 primaries, both with the D65 white
GAMUTS = {
    int(ColorPrimaries.BT2020): BT709_FROM_BT2020,
    int(ColorPrimaries.SMPTE432): BT709_FROM_P3,
}
BT2020_LUMA = np.array([0.2627, 0.6780, 0.0593], np.float32)


def assumed_matrix(frame: VideoFrame) -> Colorspace | None:
    """The YCbCr matrix to assume for an untagged picture; None when the tag or RGB decides.

    High definition (720 rows or 1280 columns and more) is BT.709, less is BT.601.
    """
    if frame.colorspace != UNSPECIFIED or frame.format.is_rgb or len(frame.format.components) < 3:
        return None
    is_hd = frame.height >= 720 or frame.width >= 1280
    return Colorspace.ITU709 if is_hd else Colorspace.ITU601


class Grade:
    """Turns full-range non-linear RGB of another standard into BT.709 for an SDR display."""

    def __init__(self, transfer: int, primaries: int) -> None:
        """`transfer` and `primaries` are the numbers of ITU-T H.273, as FFmpeg tags frames."""
        self.transfer = TRANSFER_NAMES.get(transfer)
        gamut = GAMUTS.get(primaries)
        if gamut is None and self.transfer is not None:
            gamut = BT709_FROM_BT2020  # the only primaries of BT.2100
        self._gamut = gamut
        code = np.linspace(0, 1, 65536)
        decode = {"PQ": pq_nits, "HLG": hlg_scene, None: _sdr_light}[self.transfer]
        self._light = decode(code).astype(np.float32)  # [65536]
        levels = np.linspace(0, 1, 4096) ** (2 / SDR_GAMMA) * 255
        self._encode = np.round(levels).astype(np.uint8)  # [4096], by the root of light
        self._knots = np.linspace(0, 100, 4096)  # roots of cd/m2
        self._gains = (roll_off(self._knots**2) / np.maximum(self._knots**2, 1e-6)).astype(
            np.float32
        )
        self._gains[0] = 1.0

    @property
    def changes_pixels(self) -> bool:
        """False when the source is SDR with primaries close enough to BT.709 already."""
        return self.transfer is not None or self._gamut is not None

    def __call__(self, rgb: NDArray[np.uint16]) -> Image:
        """[H, W, 3] of 0..65535 to [H, W, 3] uint8; works in strips to keep memory small."""
        result = np.empty(rgb.shape, np.uint8)
        for top in range(0, len(rgb), STRIP_ROWS):
            rows = slice(top, top + STRIP_ROWS)
            result[rows] = self._strip(rgb[rows])
        return result

    def _strip(self, rgb: NDArray[np.uint16]) -> Image:
        light = self._light[rgb]  # [h, W, 3]
        if self.transfer == "HLG":
            luma = light @ BT2020_LUMA
            light = light * (PEAK_NITS * luma**0.2)[..., None]  # BT.2100 table 5, gamma 1.2
        if self._gamut is not None:
            light = np.maximum(light @ self._gamut.T, 0)
        if self.transfer is not None:
            brightest = np.sqrt(light.max(axis=-1))
            gain = np.interp(brightest, self._knots, self._gains) / WHITE_NITS
            light = light * gain[..., None].astype(np.float32)
        index = np.sqrt(np.clip(light, 0, 1)) * np.float32(4095) + np.float32(0.5)
        encoded: Image = self._encode[index.astype(np.uint16)]
        return encoded


def pq_nits(code: NDArray[np.float64]) -> NDArray[np.float64]:
    """Display light in cd/m2 of a PQ signal 0..1 (BT.2100 table 4)."""
    power = code ** (1 / 78.84375)
    ratio = np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)
    return 10000 * ratio ** (1 / 0.1593017578125)


def pq_code(nits: NDArray[np.float64]) -> NDArray[np.float64]:
    """PQ signal 0..1 of display light in cd/m2; the inverse of pq_nits."""
    power = (np.asarray(nits) / 10000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375


def hlg_scene(code: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scene light 0..1 of an HLG signal 0..1 (BT.2100 table 5, inverse OETF)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)


def roll_off(nits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Light that a display of WHITE_NITS shows for 0..PEAK_NITS (BT.2390, section 5.4.1).

    Unchanged up to the knee (about 90 cd/m2), then a smooth curve that ends at WHITE_NITS.
    """
    peak = float(pq_code(np.array(PEAK_NITS)))
    top = float(pq_code(np.array(WHITE_NITS))) / peak
    knee = 1.5 * top - 0.5
    signal = np.minimum(pq_code(nits) / peak, 1)
    t = np.maximum(signal - knee, 0) / (1 - knee)
    curve = (
        (2 * t**3 - 3 * t**2 + 1) * knee
        + (t**3 - 2 * t**2 + t) * (1 - knee)
        + (3 * t**2 - 2 * t**3) * top
    )
    return pq_nits(np.where(signal > knee, curve, signal) * peak)


def _sdr_light(code: NDArray[np.float64]) -> NDArray[np.float64]:
    return code**SDR_GAMMA


def decoded_with_bt709(rgb: Image) -> Image:
    """What BT.709's matrix would have made of a picture that was decoded with BT.601's."""
    flat = rgb.reshape(-1, 3).astype(np.float32) @ _BT709_FROM_BT601.T + np.float32(0.5)
    corrected: Image = np.clip(flat, 0, 255).astype(np.uint8).reshape(rgb.shape)
    return corrected


def _rgb_from_ycc(red: float, blue: float) -> NDArray[np.float64]:
    """[3, 3] decoding matrix for the luma weights of red and blue (H.273, equation 38 on)."""
    green = 1 - red - blue
    to_red, to_blue = 2 * (1 - red), 2 * (1 - blue)
    return np.array(
        [[1, 0, to_red], [1, -blue * to_blue / green, -red * to_red / green], [1, to_blue, 0]]
    )


_BT709_FROM_BT601: Floats = (
    _rgb_from_ycc(0.2126, 0.0722) @ np.linalg.inv(_rgb_from_ycc(0.299, 0.114))
).astype(np.float32)
