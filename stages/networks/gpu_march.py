"""The ray march of a frozen generator as three Triton kernels for a GPU.

The same picture as `Generator.march`, which stays the reference, with what fused_march.py leaves
out, and for whom: nothing is sampled behind what hides it, rays that meet nothing get no importance
samples, and only samples that show get colours; here for blocks of neighbouring rays.
"""

from __future__ import annotations

import logging
from functools import cache
from importlib.util import find_spec

import torch
import torch.nn.functional as F
from torch import Tensor

from tpvideo.stages.networks.fused_march import NOTHING, WORTHLESS
from tpvideo.stages.networks.generator import Generator, Marcher
from tpvideo.stages.networks.layers import EqualLinear
from tpvideo.stages.networks.triplane import Axes
from tpvideo.stages.networks.volume import Composite, Rays, coarse_depths

log = logging.getLogger(__name__)

LEAST_WIDTH = 16
"""Of a layer; widths must be powers of two."""
BLOCK, WARPS = 16, 4
"""Rays of a program, and groups of 32 threads that march them; bench/march_on_gpu.py tries more."""
PRECISION = "tf32x3"
"""Of matrix products: three products in TF32, nearly as fine as float32."""
APART, MEAN_APART = 1e-2, 2e-3
"""How far features and opacities, 0..1, of the self-test may be from the plain march's: anywhere at
coarse samples, and on average with importance samples, whose places can hang on a rounding."""


def march_for(generator: Generator) -> Marcher | None:
    """What marches through planes for this generator on its GPU; None, with a notice, where Triton
    is not installed, cannot run these kernels, or does not see what the plain march sees."""
    reason = _why_not(generator)
    if reason is None:
        return TritonMarch(generator)
    _tell(reason)
    return None


@cache
def _tell(reason: str) -> None:
    """Once for a process, however many films it makes."""
    log.warning("rays are marched without Triton, more slowly: %s", reason)


def _why_not(generator: Generator) -> str | None:
    if find_spec("triton") is None:
        return "it is not installed"
    sizes = _sizes(generator)
    if any(size < LEAST_WIDTH or size & (size - 1) for size in sizes):
        return f"the decoder's widths are {sizes}, not powers of two from {LEAST_WIDTH}"
    if generator.coarse < 4:
        return f"{generator.coarse} coarse samples are too few"
    try:
        apart = self_test(generator, TritonMarch(generator))
    except Exception as error:  # its compiler, its compiler's compiler, the driver: all have theirs
        return f"it fails: {str(error).strip().splitlines()[0] if str(error) else repr(error)}"
    if apart is not None:
        return f"its pictures are not the plain march's: {apart}"
    return None


@torch.no_grad()
def self_test(generator: Generator, march: Marcher) -> str | None:
    """What is wrong with what a march sees of a volume like a head, on 24 x 24 rays; None where it
    is what the plain march sees."""
    planes, rays = a_ball(generator), rays_across(generator, 24)
    for fine in (False, True):
        seen = (generator.march(planes, rays, fine=fine), march(planes, rays, fine, True))
        expected, found = (torch.cat([one.features, one.alphas], dim=-1) for one in seen)
        apart = (found - expected).abs()
        mean, most = apart.mean().item(), apart.max().item()
        if not (mean <= MEAN_APART and (fine or most <= APART)):  # nan is refused
            return f"{mean:.2g} apart on average, {most:.2g} at most"
    return None


def a_ball(generator: Generator) -> Tensor:
    """[1, 3 C, S, S] planes that the generator's own decoder takes for something solid in the
    middle: of all random features the solid ones there, and the empty ones around."""
    weight = _layers(generator)[0].weight
    channels, side = weight.shape[1], generator.plane_side
    random = torch.Generator().manual_seed(0)
    features = torch.randn(64, channels, generator=random).to(weight.device)
    sigmas = generator.decoder(features).sigmas[:, 0]
    cells = torch.linspace(-1, 1, side, device=weight.device)
    apart = torch.hypot(cells[:, None], cells)[..., None]
    inside = torch.sigmoid(12 * (0.6 - apart))  # [S, S, 1]
    plane = torch.lerp(features[sigmas.argmin()], features[sigmas.argmax()], inside)
    ripples = 0.1 * torch.randn(side, side, channels, generator=random).to(weight.device)
    return (plane + ripples).permute(2, 0, 1).repeat(3, 1, 1)[None].contiguous()


def rays_across(generator: Generator, side: int) -> Rays:
    """side x side rays from in front of the box through all of its middle."""
    device = _layers(generator)[0].weight.device
    cells = torch.linspace(-0.5, 0.5, side, device=device) * generator.box
    y, x = torch.meshgrid(cells, cells, indexing="ij")
    distance = (generator.near + generator.far) / 2
    toward = torch.stack([x, y, torch.full_like(x, -distance)], dim=-1).reshape(1, -1, 3)
    origins = torch.zeros_like(toward)
    origins[..., 2] = distance
    return Rays(origins, F.normalize(toward, dim=-1))


class TritonMarch:
    """The march with a generator's decoder and sampling.

    Args:
        generator: its weights are copied.
        block: rays of a program, a power of two from 16.
        warps: groups of 32 threads that share a program.
        precision: of matrix products: tf32, tf32x3 or ieee.
    """

    def __init__(
        self,
        generator: Generator,
        *,
        block: int = BLOCK,
        warps: int = WARPS,
        precision: str = PRECISION,
    ) -> None:
        first, last = _layers(generator)
        self.generator = generator
        self.block, self.warps, self.precision = block, warps, precision
        outputs = (last.weight.detach() * last.gain).float()
        biases = (last.bias.detach() * last.rate).float()
        self.hidden = (first.weight.detach().T * (first.gain / 3)).float().contiguous()  # [C, K]
        self.hidden_biases = (first.bias.detach() * first.rate).float()
        self.density, self.density_bias = outputs[0].contiguous(), float(biases[0])
        self.colours, self.colour_biases = outputs[1:].T.contiguous(), biases[1:].contiguous()
        self.axes = digits(generator.axes)
        self.left_out = NOTHING if generator.image_channels == 3 else WORTHLESS

    def __call__(self, planes: Tensor, rays: Rays, fine: bool, coloured: bool) -> Composite:
        """What rays see, each as good as for itself; features are [B, R, 0] without colours."""
        from tpvideo.stages.networks import gpu_march_kernel as kernel

        generator = self.generator
        batch, count = rays.origins.shape[:2]
        side, samples = planes.shape[-1], generator.coarse
        extra = generator.fine if fine else 0
        channels, units = self.hidden.shape
        table = planes.permute(0, 2, 3, 1).contiguous()  # [B, S, S, 3 C]
        origins, directions = (each.float().contiguous() for each in rays)
        depths = coarse_depths(rays, generator.near, generator.far, samples)[0, 0].contiguous()
        shares = table.new_zeros(batch, count, samples)
        seen, alphas = table.new_empty(batch, count, 1), table.new_empty(batch, count, 1)
        grid = (-(-count // self.block), batch)
        options = {"num_warps": self.warps, "enable_fp_fusion": True}
        how = {"axes": self.axes, "precision": self.precision, "block": self.block, **options}
        volume = (side, side / generator.box, generator.density_gain, self.density_bias)
        least_light, least_share, least_alpha = self.left_out
        kernel.coarse_kernel[grid](
            table, origins, directions, depths, self.hidden, self.hidden_biases, self.density,
            shares, seen, alphas, count, samples, *volume, least_light, channels, units, **how,
        )  # fmt: skip
        features = table.new_zeros(batch, count, self.colours.shape[1] if coloured else 0)
        further = table.new_empty(batch, count, extra)
        if extra:
            padded = 1 << (extra - 1).bit_length()
            kernel.further_kernel[(-(-batch * count // self.block),)](
                depths, shares, further, batch * count, samples, extra, padded, self.block,
                **options,
            )  # fmt: skip
        if extra or coloured:
            kernel.merged_kernel[grid](
                table, origins, directions, depths, further, self.hidden, self.hidden_biases,
                self.density, self.colours, self.colour_biases, features, seen, alphas, count,
                samples, extra, *volume, least_light, least_share, least_alpha, channels, units,
                self.colours.shape[1], coloured, **how,
            )  # fmt: skip
        return Composite(features, seen, alphas)


def digits(axes: Axes) -> int:
    """World axes along columns and rows of each plane, as six digits of base 3."""
    number = 0
    for axis in (axis for pair in axes for axis in pair):
        number = 3 * number + axis
    return number


def _layers(generator: Generator) -> tuple[EqualLinear, EqualLinear]:
    first, _, last = generator.decoder.net
    assert isinstance(first, EqualLinear) and isinstance(last, EqualLinear)
    return first, last


def _sizes(generator: Generator) -> tuple[int, int, int]:
    """C, hidden units, colours."""
    first, last = _layers(generator)
    return first.weight.shape[1], first.weight.shape[0], last.weight.shape[0] - 1
