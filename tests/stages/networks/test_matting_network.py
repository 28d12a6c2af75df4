from __future__ import annotations

import pytest
import torch

from tpvideo.stages.networks.matting import STRIDE, MattingNetwork


@pytest.fixture(scope="module")
def network() -> MattingNetwork:
    generator = torch.Generator().manual_seed(3)
    network = MattingNetwork((4, 8, 8, 12, 16), (0, 1, 1, 1, 1)).eval()
    for weights in network.parameters():
        weights.data = 0.3 * torch.randn(weights.shape, generator=generator)
    return network


def picture(batch: int, height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(4)
    return 2 * torch.rand(batch, 3, height, width, generator=generator) - 1


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 96), (160, 32)])
@torch.inference_mode()
def test_alpha_has_the_pictures_size_and_lies_between_0_and_1(
    network: MattingNetwork, height: int, width: int
) -> None:
    alpha = network(picture(2, height, width))
    assert alpha.shape == (2, 1, height, width)
    assert 0 <= float(alpha.min()) < float(alpha.max()) <= 1


@torch.inference_mode()
def test_a_picture_gets_the_same_alpha_alone_and_in_company(network: MattingNetwork) -> None:
    pictures = picture(3, 64, 96)
    together = network(pictures)
    alone = torch.cat([network(one[None]) for one in pictures])
    # Other batch sizes choose other summation orders.
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_every_place_hears_of_the_whole_picture(network: MattingNetwork) -> None:
    pictures = picture(1, 64, 192)
    changed = pictures.clone()
    changed[..., -STRIDE:] = 1
    difference = (network.logits(changed) - network.logits(pictures)).abs()
    assert float(difference[..., 0].max()) > 0


def test_every_weight_takes_part() -> None:
    network = MattingNetwork((4, 8, 8, 12, 16), (0, 1, 1, 1, 1))
    network.logits(picture(2, 64, 64)).square().sum().backward()  # type: ignore[no-untyped-call]
    idle = [name for name, weights in network.named_parameters() if weights.grad is None]
    assert idle == []


def test_the_shipped_size_stays_small() -> None:
    assert sum(weights.numel() for weights in MattingNetwork().parameters()) < 800_000


def test_another_number_of_steps_is_refused() -> None:
    with pytest.raises(ValueError, match="five widths"):
        MattingNetwork((4, 8), (0, 1))
