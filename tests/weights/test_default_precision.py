from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from shared import shared_path

from tpvideo.stages import geometry, pixels
from tpvideo.stages.networks.generator import resize
from tpvideo.stages.precision import working_dtype
from tpvideo.weights import store
from tpvideo.weights.parity_precision import ENOUGH_DB, psnr

FACES = {
    "p10_portrait_astronaut.png": (0.28, 0.08, 0.59),
    "p11_portrait_glasses.jpg": (0.42, 0.05, 0.74),
}
"""Left, upper and right edge of a square about the face, in widths of the photograph."""


@pytest.mark.slow
@pytest.mark.parametrize("name", FACES)
def test_the_default_model_keeps_its_pictures_in_bfloat16(name: str) -> None:
    photograph = Image.open(shared_path(f"clips/public/{name}")).convert("RGB")
    left, top, right = (edge * photograph.width for edge in FACES[name])
    network, _ = store.load("default")
    side = network.side
    crop = photograph.resize((side, side), box=(left, top, right, top + right - left))
    images = resize(pixels.to_tensor([np.asarray(crop)]), side)
    label = torch.from_numpy(geometry.label(geometry.label_camera(0.0, 0.0)))[None]
    turned = torch.from_numpy(geometry.label(geometry.label_camera(-0.3, 0.0)))[None]
    pictures = []
    for dtype in (torch.float32, torch.bfloat16):
        assert working_dtype(network, "cpu", dtype) is dtype
        with torch.inference_mode(), torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            found = network.invert(images, label)
            picture = network.render(found.planes, found.ws, turned).image[:, :3]
        pictures.append(picture.float().numpy())
    assert psnr(pictures[1], pictures[0]) >= ENOUGH_DB
