from __future__ import annotations

import pytest
import torch
from tiny import tiny_network

from tpvideo.pipeline.errors import ConfigError
from tpvideo.weights.discovery import contrast, plane_contrast, principal, sampled_latents


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def faces_along(axis: torch.Tensor, spread: float, count: int = 400) -> torch.Tensor:
    """Latents [N, 4, 8] that differ by `spread` along an axis of layers 1 and 2, little else."""
    return spread * normal(count, 1, 1) * axis + 0.01 * normal(count, 4, 8, seed=1)


def some_axis() -> torch.Tensor:
    axis = torch.zeros(4, 8)
    axis[1, 2], axis[2, 5] = 0.6, -0.8
    return axis


def test_the_first_component_is_the_way_in_which_faces_differ_one_deviation_long() -> None:
    axis = some_axis()
    latents = faces_along(axis, 3.0)
    first, second = principal(latents, 2, (0, 3))
    deviation = (latents * axis).sum(dim=(1, 2)).std()
    cosine = (first.shift * axis).sum() / first.shift.norm()
    assert abs(cosine) > 0.999
    torch.testing.assert_close(first.shift.norm(), deviation, rtol=1e-2, atol=0)
    assert second.shift.norm() < 0.1
    assert abs((first.shift * second.shift).sum()) < 1e-4


def test_only_the_chosen_layers_are_looked_at_and_changed() -> None:
    [found] = principal(faces_along(some_axis(), 3.0), 1, (2, 3))
    assert found.layers == (2, 3)
    assert found.shift[:2].abs().max() == 0
    assert found.shift[2, 5].abs() > 2  # 3 x 0.8
    assert found.shift[2, 5] > 0  # the largest entry decides the sign


def test_one_latent_for_all_layers_moves_all_chosen_layers_alike() -> None:
    ws = normal(50, 1, 8).repeat(1, 4, 1)
    [found] = principal(ws, 1, (1, 2))
    torch.testing.assert_close(found.shift[1], found.shift[2])
    assert found.shift[[0, 3]].abs().max() == 0
    deviation = (ws[:, 0] @ (found.shift[1] / found.shift[1].norm())).std()
    torch.testing.assert_close(found.shift[1].norm(), deviation, rtol=1e-3, atol=0)


def test_components_need_more_faces_than_there_are_components() -> None:
    with pytest.raises(ConfigError, match="3 components need at least 4 faces, got 3"):
        principal(normal(3, 4, 8), 3, (0, 3))


def test_the_difference_of_means_is_what_was_added() -> None:
    added = some_axis()
    without = normal(2000, 4, 8)
    found = contrast(without + added, without, (0, 3))
    torch.testing.assert_close(found.shift, added, rtol=0, atol=1e-5)


def test_a_ridge_looks_past_what_varies_anyway() -> None:
    """Along one axis the faces differ much by themselves, and by chance more with the label; the
    regression believes the quiet axis."""
    loud, quiet = torch.zeros(1, 2), torch.zeros(1, 2)
    loud[0, 0], quiet[0, 1] = 1.0, 1.0

    def faces(label: float, seed: int) -> torch.Tensor:
        own = normal(500, 1, 1, seed=seed) * 10 * loud + normal(500, 1, 1, seed=seed + 1) * quiet
        return own - own.mean(dim=0) + label * (2 * loud + 2 * quiet)

    means = contrast(faces(1, 0), faces(0, 2), (0, 0)).shift[0]
    ridge = contrast(faces(1, 0), faces(0, 2), (0, 0), ridge=1e-4).shift[0]
    torch.testing.assert_close(means[0], means[1], rtol=1e-4, atol=0)
    assert ridge[1] > 20 * ridge[0].abs()
    wide = contrast(faces(1, 0), faces(0, 2), (0, 0), ridge=1e6).shift[0]
    torch.testing.assert_close(wide, means, rtol=1e-2, atol=1e-2)


def test_a_direction_in_the_planes_is_the_difference_of_their_means_at_half_the_side() -> None:
    found = plane_contrast(
        [torch.full((2, 6, 4, 4), 3.0), torch.full((1, 6, 4, 4), 6.0)],
        [torch.full((2, 6, 4, 4), 1.0)],
    )
    torch.testing.assert_close(found.shift, torch.full((6, 2, 2), 3.0))
    assert "3 faces with it and 2 without" in found.about
    with pytest.raises(ConfigError, match="no face to learn from"):
        plane_contrast([], [])


def test_a_generator_with_a_mapping_network_draws_its_own_faces() -> None:
    network = tiny_network(mapping=True)
    ws = sampled_latents(network, 5)
    assert ws.shape == (5, 6, 16)
    assert bool((ws == ws[:, :1]).all())
    assert ws.std(dim=0).max() > 0.01
    torch.testing.assert_close(sampled_latents(network, 5), ws)
    with pytest.raises(ConfigError, match="no mapping network to sample faces from"):
        sampled_latents(tiny_network(), 5)
