from __future__ import annotations

import pytest
import torch

from tpvideo.stages.networks.encoder import StyleEncoder
from tpvideo.stages.networks.identity import IdentityNet


def tiny() -> IdentityNet:
    torch.manual_seed(0)
    network = IdentityNet(widths=(4, 4, 8, 8, 16), units=(1, 1, 1, 1), side=32, size=8, reduction=4)
    return network.eval()


def test_identities_are_unit_vectors_of_each_picture_alone() -> None:
    network = tiny()
    faces = torch.rand(3, 3, 32, 32) * 2 - 1
    together = network(faces)
    assert together.shape == (3, 8)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(3))
    alone = torch.cat([network(face[None]) for face in faces])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


def test_a_picture_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="faces must have shape"):
        tiny()(torch.zeros(1, 3, 48, 48))


def test_the_published_trunk_is_the_style_encoders() -> None:
    """Keys and shapes, so that one file serves both (parity spec, 16.3)."""
    with torch.device("meta"):
        own, encoder = IdentityNet().state_dict(), StyleEncoder().state_dict()
    trunk = {k: v.shape for k, v in own.items() if not k.startswith("output_layer.")}
    assert trunk == {k: v.shape for k, v in encoder.items() if k.startswith(("input_", "body."))}
    assert own["output_layer.3.weight"].shape == (512, 512 * 7 * 7)
