from __future__ import annotations

from typing import Any

import pytest
import torch
from parity import fill, golden, own_keys, published_keys, tolerances

from tpvideo.stages.networks.encoder import StyleEncoder

SMALL: dict[str, Any] = {
    "widths": (8, 8, 12, 16, 24),
    "units": (1, 2, 2, 2),
    "pyramid": 24,
    "style_dim": 20,
    "style_counts": (2, 1, 3),
    "side": 32,
}


def test_keys_and_shapes_are_the_published_ones() -> None:
    with torch.device("meta"):
        network = StyleEncoder()
    expected = published_keys("keys_triplanenet_v2_nearest.json", "psp_encoder.")
    assert len(expected) == 565
    assert own_keys(network) == expected


@pytest.mark.parametrize("side", [32, 128])
@pytest.mark.parametrize("activation", ["prelu", "lrelu"])
def test_small_encoder_gives_one_code_for_each_layer(side: int, activation: Any) -> None:
    network = StyleEncoder(**{**SMALL, "side": side, "activation": activation}).eval()
    codes = network(torch.rand(2, 3, side, side) * 2 - 1)
    assert codes.shape == (2, 6, 20)
    assert torch.isfinite(codes).all()


def test_codes_do_not_depend_on_the_batch() -> None:
    torch.manual_seed(0)
    network = StyleEncoder(**SMALL).eval()
    images = torch.rand(4, 3, 32, 32) * 2 - 1
    together = network(images)
    alone = torch.cat([network(image[None]) for image in images])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)  # order of summation


def test_memory_layout_does_not_change_the_codes() -> None:
    torch.manual_seed(0)
    network = StyleEncoder(**SMALL).eval()
    images = torch.rand(1, 3, 32, 32) * 2 - 1
    plain = network(images)
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.to(memory_format=torch.channels_last)
    last = network(images.to(memory_format=torch.channels_last))
    torch.testing.assert_close(plain, last, atol=1e-5, rtol=0)


def test_encoder_runs_and_trains_in_bfloat16() -> None:
    torch.manual_seed(0)
    network = StyleEncoder(**SMALL, activation="lrelu").train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        codes = network(torch.rand(2, 3, 32, 32))
    codes.float().square().mean().backward()
    gradients = [parameter.grad for parameter in network.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)


def test_picture_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="must be 32 pixels square"):
        StyleEncoder(**SMALL)(torch.zeros(1, 3, 48, 48))


def test_pyramid_of_another_width_than_the_trunk_is_refused() -> None:
    with pytest.raises(ValueError, match="last width must equal pyramid"):
        StyleEncoder(**{**SMALL, "pyramid": 32})


@pytest.mark.slow
def test_codes_of_the_golden_image() -> None:
    network = StyleEncoder()
    fill(network, "psp_encoder.")
    image = golden("inputs.npz")["image_u8"]
    x = torch.from_numpy((image / 255.0 - 0.5) / 0.5).permute(2, 0, 1)[None].float()
    with torch.inference_mode():
        codes = network(x).numpy()
    error = abs(codes - golden("encoder.npz")["codes"]).max()
    assert error <= tolerances("encoder.npz")["codes"]
