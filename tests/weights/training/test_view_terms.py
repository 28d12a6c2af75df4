from __future__ import annotations

import torch

from tpvideo.weights.training.view_terms import patches


def test_patches_are_cut_in_parts_of_the_side() -> None:
    pictures = torch.arange(2 * 64.0).reshape(2, 1, 8, 8)
    left, top = torch.tensor([0, 2]), torch.tensor([1, 0])
    cut = patches(pictures, left, top, 2, 4)  # a part is two pixels
    assert torch.equal(cut[0], pictures[0, :, 2:6, 0:4])
    assert torch.equal(cut[1], pictures[1, :, 0:4, 4:8])
