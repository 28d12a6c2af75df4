from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tpvideo.weights.evaluation.scores import ms_ssim, psnr, ssim

WHOLE = torch.ones(1, 1, 16, 16)


def slow_ssim(a: Tensor, b: Tensor) -> float:
    """Wang et al. 2004 for one channel, window by window, edges mirrored."""
    size = a.shape[-1]
    taps = [math.exp(-((k - 5) ** 2) / (2 * 1.5**2)) for k in range(11)]
    total = sum(taps)

    def at(picture: Tensor, row: int, column: int) -> float:
        def inside(index: int) -> int:
            index = abs(index)
            return min(index, 2 * (size - 1) - index)

        return picture[inside(row), inside(column)].item()

    values = []
    for row in range(size):
        for column in range(size):
            sums = [0.0] * 5
            for dy in range(11):
                for dx in range(11):
                    share = taps[dy] * taps[dx] / total**2
                    p = at(a, row + dy - 5, column + dx - 5)
                    q = at(b, row + dy - 5, column + dx - 5)
                    for k, value in enumerate((p, q, p * p, q * q, p * q)):
                        sums[k] += share * value
            p, q, pp, qq, pq = sums
            luminance = (2 * p * q + 1e-4) / (p * p + q * q + 1e-4)
            structure = (2 * (pq - p * q) + 9e-4) / (pp - p * p + qq - q * q + 9e-4)
            values.append(luminance * structure)
    return sum(values) / len(values)


def test_a_tenth_of_the_range_is_20_decibels() -> None:
    a = torch.rand(2, 3, 4, 4) * 0.5
    mask = torch.ones(2, 1, 4, 4)
    other = torch.cat([a[:1] + 0.1, a[1:] - 0.01])
    torch.testing.assert_close(psnr(a, other, mask), torch.tensor([20.0, 40.0]), atol=1e-3, rtol=0)


def test_only_masked_pixels_count() -> None:
    a = torch.zeros(1, 3, 4, 4)
    b = a.clone()
    b[..., :2] = 0.1
    b[..., 2:] = 1.0
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., :2] = 1
    assert psnr(a, b, mask).item() == pytest.approx(20, abs=1e-4)
    # Mean squared error (0.01 + 1) / 2.
    expected = -10 * math.log10(0.505)
    assert psnr(a, b, torch.ones_like(mask)).item() == pytest.approx(expected, abs=1e-4)


def test_equal_pictures_are_as_good_as_it_gets() -> None:
    a = torch.rand(1, 3, 16, 16)
    assert psnr(a, a, WHOLE).item() == pytest.approx(120)  # a finite limit
    assert ssim(a, a, WHOLE).item() == pytest.approx(1)


def test_likeness_is_the_published_formula() -> None:
    a = torch.rand(1, 1, 13, 13)
    b = (a + 0.3 * torch.rand(1, 1, 13, 13)).clamp(0, 1)
    found = ssim(a, b, torch.ones(1, 1, 13, 13)).item()
    assert found == pytest.approx(slow_ssim(a[0, 0], b[0, 0]), abs=1e-4)


def test_likeness_falls_with_blur_and_hears_the_mask() -> None:
    a = torch.rand(2, 3, 16, 16)
    b = a.clone()
    b[:, :, :, :8] = 0.5
    left, right = torch.zeros(2, 1, 16, 16), torch.zeros(2, 1, 16, 16)
    left[..., :3], right[..., 13:] = 1, 1
    assert (ssim(a, b, left) < 0.5).all()
    torch.testing.assert_close(ssim(a, b, right), torch.ones(2), atol=1e-5, rtol=0)


def test_each_picture_has_its_own_score() -> None:
    a, b, mask = torch.rand(3, 3, 16, 16), torch.rand(3, 3, 16, 16), torch.rand(3, 1, 16, 16)
    for measure in (psnr, ssim):
        alone = torch.cat([measure(a[i : i + 1], b[i : i + 1], mask[i : i + 1]) for i in range(3)])
        torch.testing.assert_close(measure(a, b, mask), alone, atol=1e-5, rtol=1e-5)


def slow_ms_ssim(a: Tensor, b: Tensor) -> float:
    """Wang, Simoncelli and Bovik 2003 for one channel, from its own blurred moments."""
    taps = torch.tensor([math.exp(-((k - 5) ** 2) / 4.5) for k in range(11)])
    window = torch.outer(taps, taps)[None, None] / taps.sum() ** 2
    result = 1.0
    for scale, exponent in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):

        def mean(x: Tensor) -> Tensor:
            padded = torch.nn.functional.pad(x, (5,) * 4, mode="reflect")
            return torch.nn.functional.conv2d(padded, window)

        mu, nu = mean(a), mean(b)
        spread = mean(a * a) - mu * mu + mean(b * b) - nu * nu
        structure = (2 * (mean(a * b) - mu * nu) + 9e-4) / (spread + 9e-4)
        if scale == 4:
            structure = structure * (2 * mu * nu + 1e-4) / (mu * mu + nu * nu + 1e-4)
        result *= structure.mean().item() ** exponent
        a, b = (torch.nn.functional.avg_pool2d(x, 2) for x in (a, b))
    return result


def test_likeness_at_five_scales_is_the_published_formula() -> None:
    a = torch.rand(1, 1, 176, 176)
    b = (a + 0.3 * torch.rand(1, 1, 176, 176)).clamp(0, 1)
    assert ms_ssim(a, b).item() == pytest.approx(slow_ms_ssim(a, b), abs=1e-4)
    assert ms_ssim(a, a).item() == pytest.approx(1)
    assert 0 <= ms_ssim(a, 1 - a).item() < 0.1
