from __future__ import annotations

import torch
from torch import Tensor

from tpvideo.weights.training.occluders import _stick, put_before


def person() -> Tensor:
    """[24, 4, 64, 64] premultiplied: a brownish rectangle."""
    rgba = torch.zeros(24, 4, 64, 64)
    rgba[:, :, 12:, 16:48] = torch.tensor([0.6, 0.4, 0.3, 1.0])[:, None, None]
    return rgba


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_stick_is_round_and_a_pixel_soft() -> None:
    middles = (torch.arange(64) + 0.5) / 64
    places = torch.stack(torch.meshgrid(middles, middles, indexing="xy"), dim=-1)
    start, end = torch.tensor([[0.25, 0.5]]), torch.tensor([[0.75, 0.5]])
    depth, cover = _stick(places, start, end, torch.tensor([0.125]))
    assert cover[0, 32, 32] == 1 and cover[0, 32, 4] == 0 and cover[0, 20, 32] == 0
    assert cover[0, 32, 10] == 1  # the end is round: it reaches a radius beyond
    assert 0.95 < depth[0, 32, 32] <= 1 and depth[0, 25, 32] < 0.4


def test_some_pictures_get_something_and_the_others_stay() -> None:
    rgba = person()
    assert torch.equal(put_before(rgba, seeded(), 0.0), rgba)
    all_covered = put_before(rgba, seeded(), 1.0)
    changed = (all_covered != rgba).flatten(1).any(dim=1)
    assert changed.float().mean() > 0.9
    some = put_before(rgba, seeded(), 0.4)
    share = (some != rgba).flatten(1).any(dim=1).float().mean()
    assert 0.1 < share < 0.8


def test_what_is_before_a_person_is_solid_and_lit() -> None:
    covered = put_before(person(), seeded(3), 1.0)
    assert covered.min() >= 0 and covered.max() <= 1
    assert (covered[:, :3] <= covered[:, 3:] + 1e-6).all()  # premultiplied
    assert (covered[:, 3] >= person()[:, 3] - 1e-6).all()  # nobody becomes transparent
    beyond = (covered[:, 3] > 0.99) & (person()[:, 3] == 0)
    assert beyond.any()  # an arm or a stick comes from somewhere


def test_the_same_seed_draws_the_same() -> None:
    assert torch.equal(put_before(person(), seeded(5), 0.5), put_before(person(), seeded(5), 0.5))
