"""Networks that judge pictures during training: LPIPS, an identity network, our own face network.

The published ones are taken from the weights folder and are off, with a notice, where they are not
there. None of them is needed to run tpvideo or to train the shipped model.
"""

from __future__ import annotations

import logging
import pickle
from pathlib import Path
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tpvideo.pipeline.errors import WeightsError
from tpvideo.stages import geometry
from tpvideo.stages.networks.identity import IdentityNet
from tpvideo.stages.networks.landmarks import LandmarkNet
from tpvideo.stages.networks.perceptual import FeatureDistance, PerceptualDistance, Trunk
from tpvideo.weights import manifest, store

log = logging.getLogger(__name__)

Metric = Literal["lpips-alex", "lpips-vgg", "face"]

ARCFACE_LANDMARKS = (
    (38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655),
    (70.7299, 92.2041),
)  # fmt: skip
"""Where ArcFace's 112-pixel pictures have the eyes, the nose and the corners of the mouth, as
published with InsightFace; pixels."""

FACE_TAPS = (0, 2, 4, 7)
"""Layers of our landmark network whose features are compared: sides 1/2, 1/4, 1/8 and 1/16."""


class Critics(nn.Module):
    """Frozen judges; absent ones are None.

    Args:
        perceptual: distance of two [B, 3, H, W] pictures, -> [B].
        identity: who a face is.
    """

    def __init__(
        self, perceptual: nn.Module | None = None, identity: IdentityNet | None = None
    ) -> None:
        super().__init__()
        self.perceptual, self.identity = perceptual, identity
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Critics:
        """Judges do not learn: they stay in evaluation mode."""
        return super().train(False)

    def unlike(self, y: Tensor, x: Tensor, labels: Tensor) -> Tensor:
        """[B] one minus the cosine between the identities of pictures [B, 3, H, W], whose faces
        stand as the cameras `labels` [B, 25] see the mean head."""
        assert self.identity is not None
        side = self.identity.side
        first, second = (self.identity(aligned(picture, labels, side)) for picture in (y, x))
        return 1 - F.cosine_similarity(first, second)


def load_critics(metric: Metric | None, *, identity: bool) -> Critics:
    """The judges that are asked for and are there; a notice for each that is not."""
    return Critics(
        None if metric is None else load_perceptual(metric),
        load_identity() if identity else None,
    )


def load_perceptual(metric: Metric) -> nn.Module | None:
    """A perceptual distance; None, with a notice, where its files are not in the weights folder."""
    if metric == "face":
        return face_distance()
    trunk = cast(Trunk, metric.removeprefix("lpips-"))
    backbone, lins = {"alex": "alexnet", "vgg": "vgg16"}[trunk], metric
    paths = [_published(name, f"the perceptual loss ({metric})") for name in (backbone, lins)]
    if paths[0] is None or paths[1] is None:
        return None
    network = PerceptualDistance(trunk)
    state = {k: v for k, v in read_tensors(paths[0]).items() if k.startswith("features.")}
    for name, weight in read_tensors(paths[1]).items():  # lin0.model.1.weight
        number = name.split(".")[0].removeprefix("lin")
        state[f"lins.{number}.weight"] = weight
    store.fit(network, state, f"{paths[0]} with {paths[1].name}")
    return network


def face_distance() -> FeatureDistance:
    """Distance between features of our own landmark network, which is in the package; frozen."""
    path = store.find("face")
    state = {
        name.removeprefix("landmarks."): value.float() if value.is_floating_point() else value
        for name, value in store.tensors(path).items()
        if name.startswith("landmarks.")
    }
    network = LandmarkNet()
    store.fit(network, state, path)
    return FeatureDistance(network.features, FACE_TAPS).requires_grad_(False).eval()


def load_identity() -> IdentityNet | None:
    """ArcFace's IR-SE50; None, with a notice, where it is not in the weights folder."""
    path = _published("ir-se50", "the identity loss")
    if path is None:
        return None
    network = IdentityNet()
    store.fit(network, read_tensors(path), path)
    return network


def _published(name: str, purpose: str) -> Path | None:
    model = manifest.entry(name)
    if model.is_here:
        return model.path
    log.warning(
        "%s is off: it needs %s; put it there, or see `tpvideo weights pull %s`",
        purpose, model.path, name,
    )  # fmt: skip
    return None


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a published state dictionary, without running anything in the file.

    Raises:
        WeightsError: it is damaged or holds more than tensors.
    """
    try:
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise WeightsError(f"cannot read {path}: {reason}") from error
    if not isinstance(found, dict) or not all(isinstance(v, Tensor) for v in found.values()):
        raise WeightsError(f"{path} holds no state dictionary of tensors")
    return found


def aligned(pictures: Tensor, labels: Tensor, side: int) -> Tensor:
    """[B, 3, side, side] faces cut out of crops [B, 3, H, W], upright, placed and scaled as
    ArcFace's pictures are: the nearest fit of the mean head's landmarks, seen by the cameras
    [B, 25], to ARCFACE_LANDMARKS."""
    mean = torch.as_tensor(geometry.MEAN_LANDMARKS, dtype=labels.dtype, device=labels.device)
    camera = labels[:, :16].reshape(-1, 4, 4)
    local = (mean - camera[:, None, :3, 3]) @ camera[:, :3, :3]  # [B, 5, 3]
    focal, centre = labels[:, [16, 20]], labels[:, [18, 21]]
    seen = focal[:, None] * local[..., :2] / local[..., 2:] + centre[:, None]  # [B, 5, 2]
    wanted = labels.new_tensor(ARCFACE_LANDMARKS) / 112
    seen_mean, wanted_mean = seen.mean(dim=1), wanted.mean(dim=0)
    apart = seen - seen_mean[:, None]
    scale = (apart * (wanted - wanted_mean)).sum(dim=(1, 2)) / (apart**2).sum(dim=(1, 2))
    # A place t of the face, 0..1, is the place (t - wanted_mean) / scale + seen_mean of the crop.
    step = 1 / scale
    offset = 2 * (seen_mean - step[:, None] * wanted_mean) + step[:, None] - 1
    zero = torch.zeros_like(step)
    affine = torch.stack(
        [
            torch.stack([step, zero, offset[:, 0]], dim=1),
            torch.stack([zero, step, offset[:, 1]], dim=1),
        ],
        dim=1,
    )
    size = [len(pictures), pictures.shape[1], side, side]
    grid = F.affine_grid(affine, size, align_corners=False)
    return F.grid_sample(pictures, grid, align_corners=False, padding_mode="border")
