"""One interface for every way to put a face into EG3D's space, and the ways that predict.

An inverter takes crops, their cameras and a network and gives an `Inversion`. It is a chain of
steps, as in figure 10 of the paper: one that finds latents, and maybe others that add to the
planes or tune the generator's weights.

    find = inverter("encoder")
    found = find(crops, labels, network)
    picture = draw(network, found, labels).image

`inverters_by_steps` has the ways that optimise, and the names of all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from tpvideo.stages.networks.generator import View, resize
from tpvideo.stages.networks.layers import expect_shape
from tpvideo.stages.networks.triplanenet import Inversion, TriPlaneNet

Watch = Callable[[str, int, int, float], None]
"""Told after each step of an optimisation: what is optimised, how many steps are done, of how
many, and the loss."""


class Subject(NamedTuple):
    """What is to be inverted: one picture."""

    crop: Tensor
    """[1, 3, S, S], -1..1, black where the head is not; of any size. The encoders see it at their
    own; what is drawn is compared at this one."""
    label: Tensor
    """[1, 25] the camera that saw it."""
    network: TriPlaneNet
    """Frozen, in evaluation mode, and not made lean where something is optimised."""


class Step(Protocol):
    """Part of an inversion."""

    def __call__(self, subject: Subject, before: Inversion | None) -> Inversion:
        """The inversion after this step, from that before it; None begins."""


class Inverter(Protocol):
    """A way to put faces into EG3D's space."""

    def __call__(self, crops: Tensor, labels: Tensor, network: TriPlaneNet) -> Inversion:
        """Latents and tri-planes, ready to be drawn; nothing of `network` changes.

        Args:
            crops: [B, 3, S, S], -1..1, black where the head is not.
            labels: [B, 25] the cameras that saw them.
        """


@dataclass(frozen=True, slots=True)
class Chain:
    """Steps one after another, on each picture by itself."""

    steps: Sequence[Step]

    def __call__(self, crops: Tensor, labels: Tensor, network: TriPlaneNet) -> Inversion:
        """See Inverter.

        Raises:
            ValueError: of shapes; or several pictures, and a step that tunes a network for one.
        """
        expect_shape("crops", crops, (None, 3, crops.shape[-1], crops.shape[-1]))
        expect_shape("labels", labels, (len(crops), 25))
        with torch.inference_mode(mode=False), torch.no_grad():
            # Copies: what was made in inference mode cannot take part in gradients.
            pictures, cameras = (torch.split(part.clone(), 1) for part in (crops, labels))
            subjects = [
                Subject(crop, label, network) for crop, label in zip(pictures, cameras, strict=True)
            ]
            return joined([self._found(subject) for subject in subjects])

    def _found(self, subject: Subject) -> Inversion:
        found: Inversion | None = None
        for step in self.steps:
            found = step(subject, found)
        assert found is not None
        return found


def joined(found: Sequence[Inversion]) -> Inversion:
    """Inversions of single pictures as one of them all."""
    if len(found) == 1:
        return found[0]
    if any(one.tuned is not None for one in found):
        raise ValueError("a tuned network belongs to one picture; invert pictures one by one")
    cameras = [one.labels for one in found if one.labels is not None]
    return Inversion(
        torch.cat([one.ws for one in found]),
        torch.cat([one.first for one in found]),
        torch.cat([one.planes for one in found]),
        labels=torch.cat(cameras) if cameras else None,
    )


def predict_latents(subject: Subject, before: Inversion | None) -> Inversion:
    """W+ prediction: the first branch alone, pSp's encoder (eq. 4 and 5)."""
    network = network_of(subject, before)
    ws = network.encode(resize(subject.crop, network.side))
    planes = network.decoder.planes(ws)
    return Inversion(ws, planes, planes)


def predict_offsets(subject: Subject, before: Inversion | None) -> Inversion:
    """Tri-plane prediction: the second branch on top of whatever found the latents (eq. 6, 7)."""
    assert before is not None
    network = network_of(subject, before)
    label = subject.label if before.labels is None else before.labels
    crop = resize(subject.crop, network.side)
    residuals = network.residuals(crop, label, before.ws, before.planes)
    planes = network.triplanenet_encoder(residuals, before.planes).float()
    return before._replace(planes=planes)


def network_of(subject: Subject, before: Inversion | None) -> TriPlaneNet:
    """What draws an inversion so far."""
    return subject.network if before is None or before.tuned is None else before.tuned


def draw(network: TriPlaneNet, found: Inversion, labels: Tensor) -> View:
    """What cameras [B, 25] see of an inversion by `network`: R(T + ΔT, π) (eq. 7)."""
    return (found.tuned or network).render(found.planes, found.ws, labels)


def followed(found: Inversion, own: Tensor, others: Tensor) -> Tensor:
    """Cameras that stand to those an inversion says as `others` stand to those it was given.

    Args:
        own: [B, 25] the cameras that the inverter was given.
        others: [B, 25].

    Returns:
        [B, 25]; `others` as they are where the inverter moved no camera.
    """
    if found.labels is None:
        return others
    moved, given, other = (
        labels[:, :16].reshape(-1, 4, 4).double() for labels in (found.labels, own, others)
    )
    poses = (moved @ torch.linalg.inv(given) @ other).to(others)
    return torch.cat([poses.flatten(1), others[:, 16:]], dim=1)
