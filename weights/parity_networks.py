"""Golden values of the whole network, filled by the seeded rule.

Each `check_...` function runs one part and hands what it sees to a `Recorder`. Values inside the
networks are read by forward hooks, which live here and nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tpvideo.stages import geometry
from tpvideo.stages.networks.generator import View, resize
from tpvideo.stages.networks.lean import make_lean
from tpvideo.stages.networks.triplanenet import TriPlaneNet
from tpvideo.stages.networks.volume import (
    Rays,
    camera_rays,
    coarse_depths,
    importance_depths,
    interval_weights,
)
from tpvideo.weights.goldens import GoldenSet, Recorder
from tpvideo.weights.rule import draw, make_state

CROP = (..., slice(200, 232), slice(240, 272))
"""The full-resolution part that the goldens keep of some pictures."""

SIDE = 256


def published(salt: str, up: str, *, compiled: bool = False) -> TriPlaneNet:
    """The published network with the rule's weights, ready for inference; `compiled`: as a CPU
    runs it, see `lean.make_lean`."""
    with torch.device("meta"):
        network = TriPlaneNet(offsets={"up": up})
    shapes = {key: list(tensor.shape) for key, tensor in network.state_dict().items()}
    network.load_state_dict(make_state(salt, shapes), assign=True)
    network.requires_grad_(False).eval()
    return make_lean(network) if compiled else network


class Subject:
    """The filled network (nearest variant) and a set's inputs; parts run once, when needed."""

    def __init__(self, goldens: GoldenSet, *, compiled: bool = False) -> None:
        self.goldens = goldens
        self.compiled = compiled
        self.network = published(goldens.salt, "nearest", compiled=compiled)
        picture = goldens.array("inputs.npz", "image_u8")
        scaled = (picture / 255.0 - 0.5) / 0.5
        self.image = torch.from_numpy(scaled).permute(2, 0, 1)[None].float()
        self.label = self._label("cam")
        self.mirrored = self._label("cam_mirror")
        self.novel = self._label("cam_novel")

    def _label(self, name: str) -> Tensor:
        return torch.from_numpy(self.goldens.array("inputs.npz", name))

    def drawn(self, key: str, *shape: int) -> Tensor:
        """[shape] of the rule's numbers, float32."""
        return torch.from_numpy(draw(self.goldens.salt, key, shape)).float()

    @cached_property
    def ws(self) -> Tensor:
        """[1, 14, 512] latents of the picture."""
        return self.network.encode(self.image)

    @cached_property
    def planes(self) -> Tensor:
        """[1, 96, 256, 256] planes of the first branch."""
        return self.network.decoder.planes(self.ws)

    @cached_property
    def residuals(self) -> Tensor:
        """[1, 9, 256, 256] what the second branch sees."""
        return self.network.residuals(self.image, self.label, self.ws, self.planes)

    @cached_property
    def refined(self) -> Tensor:
        """[1, 96, 256, 256] planes of the second branch, nearest variant."""
        refined: Tensor = self.network.triplanenet_encoder(self.residuals, self.planes)
        return refined

    def render(self, planes: Tensor, label: Tensor, side: int = 0) -> View:
        """The picture of planes with the subject's latents."""
        return self.network.decoder.render(planes, self.ws, label, side=side, fit=True)


Hook = Callable[[tuple[Any, ...], Any], None]


@contextmanager
def watching(root: nn.Module, hooks: dict[str, Hook]) -> Iterator[None]:
    """Call each hook with the arguments and the result of the submodule of its name."""
    handles = [
        root.get_submodule(path).register_forward_hook(
            lambda _module, args, result, hook=hook: hook(args, result)
        )
        for path, hook in hooks.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _result(put: Recorder, name: str) -> Hook:
    return lambda _args, result: put(name, result)


def check_inputs(subject: Subject, put: Recorder) -> None:
    """`inputs.npz`: cameras from their angles, the mirror, the average latent."""
    put.given("image_u8", "yaw_pitch")
    angles = subject.goldens.array("inputs.npz", "yaw_pitch")
    for name, (yaw, pitch) in zip(("cam", "cam_novel"), angles, strict=True):
        pose = geometry.look_at_eg3d(math.pi / 2 + yaw, math.pi / 2 + pitch)
        given = subject.goldens.array("inputs.npz", name)
        put(name, np.concatenate([pose.reshape(1, 16), given[:, 16:]], axis=1))
    put("cam_mirror", geometry.mirror_label(subject.label.numpy()))
    put("latent_avg", subject.network.latent_avg)


def check_encoder(subject: Subject, put: Recorder) -> None:
    """`encoder.npz`: every unit, the pyramid and four heads of the style encoder."""
    encoder = subject.network.psp_encoder
    units = [f"body.{unit}" for unit in range(len(encoder.body))]
    names = ["input_layer", *units, "latlayer1", "latlayer2", "styles.0", "styles.13"]
    hooks = {name: _result(put, f"psp.{name}") for name in names}
    for head, level in (("styles.3", "p2"), ("styles.7", "p1")):
        hooks[head] = _head(put, head, level)
    with watching(encoder, hooks):
        put("ws", subject.ws)
    put("codes", subject.ws - subject.network.latent_avg)


def _head(put: Recorder, head: str, level: str) -> Hook:
    def hook(args: tuple[Any, ...], result: Any) -> None:
        put(f"psp.{level}", args[0])
        put(f"psp.{head}", result)

    return hook


def check_backbone(subject: Subject, put: Recorder) -> None:
    """`backbone.npz`: every layer of the synthesis network, and the planes."""
    synthesis = subject.network.decoder.backbone.synthesis
    names = [f"b{side}" for side in synthesis.sides]
    with watching(synthesis, block_hooks(synthesis, names, put)):
        put("planes", subject.planes)
    put("planes.rows", subject.planes[0, ::16, 100:102])


def block_hooks(root: nn.Module, names: Sequence[str], put: Recorder) -> dict[str, Hook]:
    """Hooks on synthesis blocks: their layers, styles, features and pictures."""
    hooks: dict[str, Hook] = {}
    for name in names:
        hooks[name] = _block(put, name)
        for layer, _ in root.get_submodule(name).named_children():
            path = f"{name}.{layer}"
            hooks[path] = _result(put, path)
            hooks[f"{path}.affine"] = _result(put, f"{path}.styles")
    return hooks


def _block(put: Recorder, name: str) -> Hook:
    def hook(_args: tuple[Any, ...], result: Any) -> None:
        put(f"{name}.x", result[0])
        put(f"{name}.img", result[1])

    return hook


def check_render(subject: Subject, put: Recorder) -> None:
    """`render.npz`: the first render, rays inside it, and the renderer by itself."""
    _check_rays(subject, put, "init", subject.planes, subject.label)
    features: Hook = lambda args, _result: put("init.feature_image", args[1])  # noqa: E731
    with watching(subject.network.decoder, {"superresolution": features}):
        view = subject.render(subject.planes, subject.label)
    put("init.image_raw", view.raw)
    put("init.depth", view.depth)
    put("init.weights_sum", view.alpha)
    put.given("unit.cam")
    label = torch.from_numpy(subject.goldens.array("render.npz", "unit.cam"))
    coarse = subject.drawn("op.rd.p", 1, 96, 8, 8)
    planes = F.interpolate(coarse, size=(SIDE, SIDE), mode="bilinear")
    seen = subject.network.decoder.march(planes, camera_rays(label, 32))
    put("unit.features", (2 * seen.features - 1)[:, ::5])
    put("unit.depth", seen.depths)
    put("unit.weights_sum", seen.alphas)


def _check_rays(
    subject: Subject, put: Recorder, prefix: str, planes: Tensor, label: Tensor
) -> None:
    """Samples along a few rays, coarse, fine and in order."""
    decoder = subject.network.decoder
    put.given(f"{prefix}.ray_index")
    index = torch.from_numpy(put.goldens.arrays[f"{prefix}.ray_index"])
    rays = Rays(*(part[:, index] for part in camera_rays(label, decoder.raw_side)))
    count = len(index)

    def decode(depths: Tensor) -> tuple[Tensor, Tensor]:
        points = rays.origins[..., None, :] + rays.directions[..., None, :] * depths[..., None]
        colours, sigmas = decoder.query(planes, points.reshape(1, -1, 3))
        return colours.reshape(1, count, -1, colours.shape[-1]), sigmas.reshape(1, count, -1)

    coarse = coarse_depths(rays, decoder.near, decoder.far, decoder.coarse)
    colours, sigma_coarse = decode(coarse)
    weights = interval_weights(sigma_coarse, coarse)
    fine = importance_depths(coarse, weights, decoder.fine)
    _, sigma_fine = decode(fine)
    depths, order = torch.cat([coarse, fine], dim=-1).sort(dim=-1)
    sigmas = torch.cat([sigma_coarse, sigma_fine], dim=-1).gather(-1, order)
    for name, values in {
        "origins": rays.origins,
        "dirs": rays.directions,
        "depths_coarse": coarse,
        "sigma_coarse": sigma_coarse,
        "rgb_coarse": colours[:, :, ::8],
        "weights_coarse": weights,
        "depths_fine": fine,
        "sigma_fine": sigma_fine,
        "depths_all": depths,
        "sigma_all": sigmas,
        "weights_all": interval_weights(sigmas, depths),
    }.items():
        put(f"{prefix}.{name}", values[0])


def check_superres(subject: Subject, put: Recorder) -> None:
    """`sr.npz`: super-resolution, the mirror's render, and what the second branch sees."""
    network = subject.network.decoder.superresolution
    with watching(network, block_hooks(network, ["block0", "block1"], put)):
        view = subject.render(subject.planes, subject.label)
    put("init.image", view.image)
    put("init.image.crop", view.image[CROP])
    put("y_hat_initial_resized", resize(view.image, SIDE))
    mirrored = subject.render(subject.planes, subject.mirrored).image
    put("mirror.image", mirrored)
    put("y_hat_initial_mirror_resized", resize(mirrored, SIDE))
    put("encoder_input", subject.residuals)
    for side in (64, 192):
        view = subject.render(subject.planes, subject.label, side)
        put(f"res{side}.image", view.image)
        put(f"res{side}.image_raw", view.raw)
    features = 0.5 * subject.drawn("op.sr.x", 1, 32, 128, 128)
    ws = torch.from_numpy(subject.goldens.array("encoder.npz", "ws"))
    put("unit.image", network(features[:, :3], features, ws[:, -1]))


def check_final(subject: Subject, put: Recorder, up: str) -> None:
    """`final_nearest.npz` and `final_pixelshuffle.npz`: the offset U-Net and what comes of it."""
    whole = subject.network
    if up != "nearest":
        whole = published(subject.goldens.salt, up, compiled=subject.compiled)
    encoder = whole.triplanenet_encoder
    units = [f"body.{unit}" for unit in range(len(encoder.body))]
    names = ["input_layer", *units, "up1", "up2", "up3", "up4", "final_head_two"]
    hooks = {name: _result(put, f"tpe.{name}") for name in names}
    planes_channels = subject.planes.shape[1]

    def head(args: tuple[Any, ...], result: Any) -> None:
        put("tpe.up5", args[0][:, planes_channels:])
        put("tpe.final_head_two", result)

    with watching(encoder, {**hooks, "final_head_two": head}):
        again = up != "nearest"
        refined = encoder(subject.residuals, subject.planes) if again else subject.refined
    put("planes_final", refined)
    put("planes_delta", refined - subject.planes)
    inputs = 0.5 * subject.drawn("op.tpe.x", 1, 9, SIDE, SIDE)
    planes = subject.drawn("op.tpe.p", 1, 96, SIDE, SIDE)
    put("unit.planes", encoder(inputs, planes))
    check_views(subject, put, refined)
    if "novel.ray_index" in put.goldens.arrays:
        _check_rays(subject, put, "novel", refined, subject.novel)


def check_views(subject: Subject, put: Recorder, refined: Tensor) -> None:
    """Pictures of the refined planes from the three cameras."""
    for suffix, label in (
        ("", subject.label),
        ("_novel", subject.novel),
        ("_mirror", subject.mirrored),
    ):
        view = subject.render(refined, label)
        put(f"y_hat{suffix}", view.image)
        put(f"y_hat{suffix}.crop", view.image[CROP])
        put(f"y_hat{suffix}_resized", resize(view.image, SIDE))
        put(f"depth{suffix}", view.depth)


def check_more_samples(subject: Subject, put: Recorder) -> None:
    """`final_96.npz`: the whole pass with 96 + 96 samples."""
    decoder = subject.network.decoder
    usual = decoder.coarse, decoder.fine
    decoder.coarse = decoder.fine = 96
    try:
        inversion = subject.network.invert(subject.image, subject.label)
        put("planes_final", inversion.planes)
        check_views(subject, put, inversion.planes)
    finally:
        decoder.coarse, decoder.fine = usual
