"""The published critics cannot be had here: files of the same structure, drawn from a seed, stand
for them."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from tpvideo.pipeline.errors import WeightsError
from tpvideo.stages import geometry
from tpvideo.stages.networks.identity import IdentityNet
from tpvideo.stages.networks.perceptual import PerceptualDistance
from tpvideo.weights.training.critics import (
    ARCFACE_LANDMARKS,
    Critics,
    aligned,
    face_distance,
    load_critics,
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TPVIDEO_WEIGHTS", str(tmp_path))
    return tmp_path


def save_published(folder: Path) -> tuple[PerceptualDistance, IdentityNet]:
    """Files named and keyed as published, and the networks that they should give."""
    torch.manual_seed(2)
    metric, identity = PerceptualDistance("alex"), IdentityNet()
    state = metric.state_dict()
    features = {k: v for k, v in state.items() if k.startswith("features.")}
    classifier = {"classifier.1.weight": torch.zeros(4, 4)}  # torchvision's, which is not used
    torch.save({**features, **classifier}, folder / "alexnet-owt-7be5be79.pth")
    lins = {f"lin{n}.model.1.weight": state[f"lins.{n}.weight"] for n in range(5)}
    torch.save(lins, folder / "lpips-alex.pth")
    torch.save(identity.state_dict(), folder / "model_ir_se50.pth")
    return metric, identity


def test_published_files_become_the_critics(folder: Path) -> None:
    metric, identity = save_published(folder)
    critics = load_critics("lpips-alex", identity=True)
    assert critics.perceptual is not None and critics.identity is not None
    a, b = torch.rand(2, 1, 3, 64, 64) * 2 - 1
    assert torch.equal(critics.perceptual(a, b), metric(a, b))
    faces = torch.rand(1, 3, 112, 112) * 2 - 1
    assert torch.equal(critics.identity(faces), identity.eval()(faces))
    assert not any(parameter.requires_grad for parameter in critics.parameters())


def test_without_the_files_they_are_off_with_a_notice(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        critics = load_critics("lpips-vgg", identity=True)
    assert critics.perceptual is None and critics.identity is None
    assert "the perceptual loss (lpips-vgg) is off: it needs" in caplog.text
    assert "vgg16-397923af.pth" in caplog.text and "weights pull lpips-vgg" in caplog.text
    assert "the identity loss is off" in caplog.text
    with caplog.at_level(logging.WARNING):
        caplog.clear()
        load_critics(None, identity=False)
    assert not caplog.text


def test_a_damaged_file_is_an_error_and_not_a_notice(folder: Path) -> None:
    (folder / "model_ir_se50.pth").write_bytes(b"not a checkpoint")
    with pytest.raises(WeightsError, match=r"cannot read .*model_ir_se50.pth"):
        load_critics(None, identity=True)
    torch.save({"input_layer.0.weight": torch.zeros(1)}, folder / "model_ir_se50.pth")
    with pytest.raises(WeightsError, match="does not fit the network"):
        load_critics(None, identity=True)


def test_judges_never_enter_training_mode() -> None:
    critics = Critics(identity=IdentityNet(widths=(4, 4, 4, 4, 4), units=(1, 1, 1, 1), reduction=4))
    critics.train()
    assert critics.identity is not None and not critics.identity.training


@pytest.mark.parametrize(("yaw", "pitch"), [(0.0, 0.0), (0.4, -0.2)])
def test_faces_are_cut_out_as_arcface_places_them(yaw: float, pitch: float) -> None:
    """The mean head's landmarks, drawn as spots, come to lie on the published places: exactly by
    their mean, and about one by one, since only a scale and a shift are fitted."""
    camera = geometry.label_camera(yaw, pitch)
    label = torch.from_numpy(geometry.label(camera))[None]
    local = (geometry.MEAN_LANDMARKS - camera[:3, 3]) @ camera[:3, :3]
    places = geometry.FOCAL * local[:, :2] / local[:, 2:] + 0.5  # of 1
    grid = (np.arange(512) + 0.5) / 512
    found = []
    for u, v in places:
        spot = np.exp(-((grid - u) ** 2 + (grid[:, None] - v) ** 2) / (2 * 0.01**2))
        picture = torch.from_numpy(spot)[None, None].float()
        cut = aligned(picture, label, 112)[0, 0].numpy()
        pixels = np.arange(112) + 0.5
        found.append([(cut.sum(axis) * pixels).sum() / cut.sum() for axis in (0, 1)])
    wanted = np.array(ARCFACE_LANDMARKS)
    np.testing.assert_allclose(np.mean(found, axis=0), wanted.mean(axis=0), atol=0.3)
    assert np.abs(np.array(found) - wanted).max() < (4 if yaw == 0 else 14)


def test_our_own_face_network_tells_pictures_apart() -> None:
    """It needs no download: its weights are in the package."""
    distance = face_distance()
    assert not distance.training and not any(p.requires_grad for p in distance.parameters())
    picture = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    near, far = picture + 0.05, -picture
    apart = [distance(picture, other).item() for other in (picture, near, far)]
    assert apart[0] == 0 < apart[1] < apart[2]
