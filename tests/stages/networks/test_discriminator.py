from __future__ import annotations

import torch

from tpvideo.stages.networks.discriminator import Discriminator


def test_each_part_is_judged_by_its_own_pixels_alone() -> None:
    torch.manual_seed(0)
    network = Discriminator(3, (8, 16)).requires_grad_(False)
    pictures = torch.rand(2, 3, 32, 32) * 2 - 1
    logits = network(pictures)
    assert logits.shape == (2, 1, 8, 8)
    changed = pictures.clone()
    changed[:, :, :, 16:] *= -1
    same = (network(changed) == logits).all(dim=0)[0]
    assert same[:, :3].all() and not same[:, 4:].any()


def test_pictures_of_a_batch_do_not_touch_each_other() -> None:
    torch.manual_seed(0)
    network = Discriminator(3).requires_grad_(False)
    pictures = torch.rand(3, 3, 32, 48) * 2 - 1
    alone = torch.cat([network(picture[None]) for picture in pictures])
    torch.testing.assert_close(network(pictures), alone, atol=1e-5, rtol=0)  # order of summation
