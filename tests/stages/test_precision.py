from __future__ import annotations

import logging

import pytest
import torch
from tiny import tiny_network

from tpvideo.stages.networks.triplanenet import TriPlaneNet
from tpvideo.stages.precision import working_dtype


@pytest.fixture
def network() -> TriPlaneNet:
    return tiny_network()


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
