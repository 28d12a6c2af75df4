from __future__ import annotations

import logging
from typing import Any

import pytest
import torch

from tpvideo.stages.networks.triplanenet import TriPlaneNet
from tpvideo.stages.precision import working_dtype

SMALL: dict[str, Any] = {
    "side": 32,
    "style_dim": 8,
    "plane_side": 32,
    "plane_channels": 4,
    "backbone_widths": (8, 8, 8, 8),
    "hidden": 8,
    "colours": 8,
    "raw_side": 8,
    "superres_widths": (8, 8),
    "samples": (4, 4),
    "encoder": {
        "widths": (4, 4, 4, 4, 8),
        "units": (1, 1, 1, 1),
        "pyramid": 8,
        "style_counts": (3, 3, 2),
    },
    "offsets": {
        "widths": (4, 4, 4, 4, 8),
        "units": (1, 1, 1, 1),
        "up_widths": (8, 8, 4, 4),
        "head_width": 8,
    },
}


@pytest.fixture
def network() -> TriPlaneNet:
    torch.manual_seed(0)
    return TriPlaneNet(**SMALL).requires_grad_(False).eval()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_precision_that_works_is_kept(network: TriPlaneNet, dtype: torch.dtype) -> None:
    assert working_dtype(network, "cpu", dtype) is dtype


def test_overflow_falls_back_to_float32_with_a_notice(
    network: TriPlaneNet, caplog: pytest.LogCaptureFixture
) -> None:
    network.get_parameter("psp_encoder.input_layer.0.weight").mul_(1e6)  # beyond float16
    with caplog.at_level(logging.WARNING):
        assert working_dtype(network, "cpu", torch.float16) is torch.float32
    assert caplog.messages == [
        "float16 gives broken pictures with this model; computing in float32 instead"
    ]


def test_a_black_picture_falls_back_to_float32(network: TriPlaneNet) -> None:
    for name, parameter in network.named_parameters():
        if name.startswith("decoder.superresolution") or name.startswith("decoder.decoder"):
            parameter.zero_()
    network.get_parameter("decoder.decoder.net.2.bias").fill_(-50.0)  # nothing anywhere
    assert working_dtype(network, "cpu", torch.bfloat16) is torch.float32
