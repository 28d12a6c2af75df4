"""Tune a copy of the generator until it draws the crop from latents that stay: the second stage of
PTI (Roich et al. 2022, Pivotal Tuning), and of SPI with pseudo views beside the crop."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tpvideo.stages.networks.generator import Generator, resize
from tpvideo.stages.networks.inverters import Subject, Watch, network_of
from tpvideo.stages.networks.likeness import Likeness
from tpvideo.stages.networks.pseudo_views import PseudoView, pseudo_views
from tpvideo.stages.networks.triplanenet import Inversion, TriPlaneNet

RATE = 3e-4
"""Adam's, as published with PTI."""
PSEUDO = 0.5
"""Factor of a pseudo view beside the crop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratorTuning:
    """Backbone, decoder and super-resolution of a copy are tuned; latents, offsets that were added
    to the planes, and the camera stay as they are.

    Args:
        likeness: what is minimised; without PTI's locality term, which its authors keep for
            generators that serve several pictures.
        steps: of Adam.
        pseudo: whether pseudo views are compared too, one after another, a step each.
    """

    likeness: Likeness
    steps: int = 1000
    pseudo: bool = False
    watch: Watch | None = None

    def __call__(self, subject: Subject, before: Inversion | None) -> Inversion:
        """The same latents, drawn by a network of their own."""
        assert before is not None
        network = with_own_generator(network_of(subject, before))
        decoder = network.decoder
        label = subject.label if before.labels is None else before.labels
        views = pseudo_views(decoder, before.planes, subject.crop, label) if self.pseudo else []
        ws, offsets = before.ws, before.planes - before.first
        adam = torch.optim.Adam(list(tunable(decoder)), lr=RATE)
        with torch.enable_grad():
            for step in range(self.steps):
                planes = decoder.planes(ws) + offsets
                seen = decoder.render(planes, ws, label).image
                loss: Tensor = self.likeness(seen, subject.crop).sum()
                if views:
                    loss = loss + PSEUDO * self._unlike(
                        decoder, planes, ws, views[step % len(views)]
                    )
                adam.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                adam.step()
                if self.watch is not None:
                    self.watch("generator", step + 1, self.steps, float(loss.detach()))
        network.requires_grad_(False).eval()
        first = decoder.planes(ws)
        return before._replace(first=first, planes=first + offsets, tuned=network)

    def _unlike(self, decoder: Generator, planes: Tensor, ws: Tensor, view: PseudoView) -> Tensor:
        """How unlike a pseudo view, where it is known."""
        drawn = resize(decoder.render(planes, ws, view.label).image[:, :3], view.picture.shape[-1])
        wanted = torch.lerp(drawn.detach(), view.picture, view.weight)
        distance: Tensor = self.likeness(drawn, wanted).sum()
        return distance


def with_own_generator(network: TriPlaneNet) -> TriPlaneNet:
    """A network with the same encoders and a copy of the generator that can be tuned."""
    shared = [network.psp_encoder, network.triplanenet_encoder]
    twin = copy.deepcopy(network, {id(part): part for part in shared})
    for parameter in tunable(twin.decoder):
        parameter.requires_grad_()
    return twin


def tunable(decoder: Generator) -> Iterator[nn.Parameter]:
    """All that draws a picture from latents."""
    for part in (decoder.backbone.synthesis, decoder.decoder, decoder.superresolution):
        yield from part.parameters()
