from __future__ import annotations

import torch

from tpvideo.stages.networks.layers import upsample2
from tpvideo.stages.networks.stylegan2 import MappingNetwork, Synthesis, normalise_second_moment


def test_normalised_vectors_have_unit_mean_square() -> None:
    scaled = normalise_second_moment(torch.tensor([[3.0, 4.0], [0.0, 0.1]]))
    # (9 + 16) / 2 = 12.5, so 3 / sqrt(12.5) and 4 / sqrt(12.5)
    expected = torch.tensor([[0.848528, 1.131371], [0.0, 1.414213]])
    torch.testing.assert_close(scaled, expected, atol=2e-6, rtol=0)


def test_a_pictures_layers_share_latents_as_published() -> None:
    """Written out for sides 4 and 8: the picture of a block and the first layer of the next
    block take the same latent."""
    network = Synthesis(6, 8, 3, {4: 5, 8: 4}).eval()
    ws = torch.randn(2, network.latents, 6)
    assert network.latents == 4
    coarse, fine = network.blocks
    x = coarse.conv1(coarse.const.expand(2, -1, -1, -1), ws[:, 0])
    image = coarse.torgb(x, ws[:, 1])
    x = fine.conv1(fine.conv0(x, ws[:, 1]), ws[:, 2])
    image = upsample2(image) + fine.torgb(x, ws[:, 3])
    torch.testing.assert_close(network(ws), image)


def test_every_latent_matters() -> None:
    network = Synthesis(6, 16, 3, {4: 5, 8: 4, 16: 4}).eval()
    ws = torch.randn(1, network.latents, 6)
    before = network(ws)
    for layer in range(network.latents):
        changed = ws.clone()
        changed[:, layer] += 1
        assert (network(changed) - before).abs().max() > 1e-4


def test_truncation_moves_the_first_layers_toward_the_average() -> None:
    mapping = MappingNetwork(z_dim=8, label_dim=25, w_dim=6)
    mapping.w_avg.normal_()
    z, label = torch.randn(2, 8), torch.randn(2, 25)
    whole = mapping(z, label, 5)
    assert whole.shape == (2, 5, 6)
    assert (whole == whole[:, :1]).all()
    cut = mapping(z, label, 5, psi=0.25, cutoff=2)
    expected = mapping.w_avg + 0.25 * (whole[:, :2] - mapping.w_avg)
    torch.testing.assert_close(cut[:, :2], expected)
    assert torch.equal(cut[:, 2:], whole[:, 2:])
    none_left = mapping(z, label, 5, psi=0.0)
    torch.testing.assert_close(none_left, mapping.w_avg.expand(2, 5, 6))


def test_mapping_hears_both_the_noise_and_the_camera_but_not_their_scale() -> None:
    mapping = MappingNetwork(z_dim=8, label_dim=25, w_dim=6)
    z, label = torch.randn(2, 8), torch.randn(2, 25)
    w = mapping(z, label, 1)
    torch.testing.assert_close(mapping(5 * z, label, 1), w, atol=1e-6, rtol=1e-5)
    assert (mapping(-z, label, 1) - w).abs().max() > 1e-5
    assert (mapping(z, -label, 1) - w).abs().max() > 1e-5
