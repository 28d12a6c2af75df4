from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tpvideo.weights.training.compression import (
    _LUMINANCE,
    blocks,
    compressed,
    cosines,
    rounded,
    unblocked,
)


def smooth_picture() -> Tensor:
    """[1, 3, 64, 64] waves of several lengths."""
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    waves = [torch.sin(x / 9 + y / 5), torch.cos(x / 4), torch.sin(y / 11 + 1)]
    return (0.5 + 0.4 * torch.stack(waves))[None]


def test_the_basis_is_orthonormal_and_blocks_are_put_back() -> None:
    torch.testing.assert_close(cosines() @ cosines().T, torch.eye(8), atol=1e-6, rtol=0)
    picture = torch.rand(2, 3, 16, 24)
    cut = blocks(picture)
    assert torch.equal(cut[1, 2, 1, 0], picture[1, 2, 8:16, 0:8])
    assert torch.equal(unblocked(cut, picture.shape), picture)


def test_coefficients_come_out_as_multiples_of_the_tables_steps() -> None:
    out = rounded(torch.rand(1, 1, 16, 16), torch.tensor([0.5]), _LUMINANCE)
    steps = torch.tensor(_LUMINANCE) / 255 * 0.5
    counts = cosines() @ blocks(out) @ cosines().T / steps
    torch.testing.assert_close(counts, counts.round(), atol=1e-3, rtol=0)


@pytest.mark.parametrize(("coarseness", "quality"), [(1.0, 50), (5.0, 10)])
def test_it_takes_about_what_jpeg_takes(coarseness: float, quality: int) -> None:
    """The same tables: quality 50 is JPEG's own scale of 1, quality 10 is 5."""
    picture = smooth_picture()
    ours = compressed(picture, torch.tensor([coarseness]))
    pixels = (picture[0].permute(1, 2, 0) * 255).round().byte().numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    theirs = torch.from_numpy(np.asarray(Image.open(file)) / 255).permute(2, 0, 1)[None]
    lost, expected = ((found - picture).abs().mean() for found in (ours, theirs))
    assert lost.item() == pytest.approx(expected.item(), rel=0.15)
    assert (ours - theirs).abs().mean() < 0.5 * expected


def test_each_picture_has_its_own_coarseness() -> None:
    picture = smooth_picture().repeat(3, 1, 1, 1)
    lost = (compressed(picture, torch.tensor([0.0, 1.0, 8.0])) - picture).abs().mean((1, 2, 3))
    assert 2 * lost[0] < lost[1] < lost[2]  # the first loses chroma's resolution alone
