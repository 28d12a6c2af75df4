"""The basic operators of StyleGAN2-like networks, in plain torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tpvideo.stages.networks.compiled_pixels import added_colours, panels
from tpvideo.stages.networks.winograd import Winograd, can_convolve, has_loops

SQRT2 = math.sqrt(2.0)
NO_WAY_BACK = "a lean network takes no gradients, nor other weights; load the model once more"
"""Its weights are there only as its loops read them."""


def expect_shape(name: str, tensor: Tensor, shape: Sequence[int | None]) -> None:
    """Raise ValueError unless `tensor` has this shape; None stands for any size."""
    fits = tensor.ndim == len(shape) and all(
        want is None or want == have for want, have in zip(shape, tensor.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"{name} must have shape [{wanted}], got {list(tensor.shape)}")


class EqualLinear(nn.Module):
    """Linear layer that stores weights of unit variance and scales them when used.

    y = x (W m / sqrt(in))^T + m b, with m the learning-rate multiplier (parity spec, 4.1).
    """

    def __init__(
        self, inputs: int, outputs: int, *, rate: float = 1.0, bias_init: float = 0.0
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias_init / rate))
        self.gain = rate / math.sqrt(inputs)
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        return F.linear(x, self.weight * self.gain, self.bias * self.rate)


def leaky_relu(x: Tensor, slope: float) -> Tensor:
    """Leaky ReLU of a value that nothing else uses: in place where no gradient needs it."""
    return F.leaky_relu(x, slope, inplace=not torch.is_grad_enabled())


def clamped(x: Tensor, limit: float) -> Tensor:
    """A value that nothing else uses within -limit..limit: in place where no gradient needs it."""
    if torch.is_grad_enabled():
        return x.clamp(-limit, limit)
    return x.clamp_(-limit, limit)


def resampling_filter() -> Tensor:
    """[4, 4] low-pass filter outer([1, 3, 3, 1]) / 64, which sums to 1."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    return torch.outer(taps, taps) / 64


def upsample2(x: Tensor) -> Tensor:
    """Double the sides of [B, C, H, W] with the resampling filter and zeros outside.

    Per axis out[2m] = (x[m-1] + 3 x[m]) / 4 and out[2m+1] = (3 x[m] + x[m+1]) / 4
    (parity spec, 4.3).
    """
    # Bilinear enlargement has the same weights; the border of zeros makes its edges the filter's.
    enlarged = F.interpolate(F.pad(x, (1, 1, 1, 1)), scale_factor=2.0, mode="bilinear")
    return enlarged[:, :, 2:-2, 2:-2]


def upsampling_kernel(weight: Tensor, smoothing: Tensor) -> Tensor:
    """Fold zero insertion, a 3x3 convolution and the smoothing into one convolution.

    With K the full 6x6 convolution of the kernel with 4 times the filter, output phase
    (py, px) of the doubled picture is a plain 3x3 convolution with
    P[a, b] = K[py + 4 - 2a, px + 4 - 2b] (parity spec, 18).

    Args:
        weight: [O, I, 3, 3].
        smoothing: [4, 4].

    Returns:
        [4 O, I, 3, 3], the four phases one after another; `interleave` puts them in place.
    """
    outputs, inputs = weight.shape[:2]
    flat = weight.reshape(outputs * inputs, 1, 3, 3)
    full = F.conv2d(flat, 4 * smoothing[None, None].to(weight), padding=3)  # symmetric filter
    full = full.reshape(outputs, inputs, 6, 6)
    phases = [
        full[:, :, [py + 4, py + 2, py]][..., [px + 4, px + 2, px]]
        for py in (0, 1)
        for px in (0, 1)
    ]
    return torch.cat(phases)


def interleave(phases: Tensor) -> Tensor:
    """[B, 4 O, H, W] phases (0, 0), (0, 1), (1, 0), (1, 1) of a picture -> [B, O, 2 H, 2 W],
    channels last, so that whole pixels are copied and not single numbers."""
    batch, channels, height, width = phases.shape
    split = phases.permute(0, 2, 3, 1).reshape(batch, height, width, 2, 2, channels // 4)
    rows = split.transpose(2, 3).reshape(batch, 2 * height, 2 * width, channels // 4)
    return rows.permute(0, 3, 1, 2)


def scaled(y: Tensor, gain: Tensor | None, bias: Tensor | None) -> Tensor:
    """[B, O, H, W] times [B or 1, O] plus [O], each where it is given."""
    if gain is not None:
        y = y * gain[:, :, None, None].to(y.dtype)
    return y if bias is None else y + bias[:, None, None].to(y.dtype)


class Derived(NamedTuple):
    """What follows from the weights of a modulated convolution."""

    kernel: Tensor
    """[O or 4 O, I, k, k] to convolve with: the weights, or the folded upsampling kernel."""
    energy: Tensor
    """[O, I] sums of the weights' squares, float32."""


class ModulatedConv(nn.Module):
    """Convolution whose input channels are scaled by a style (StyleGAN2; parity spec, 4.4).

    Computed unfused: scale the inputs by the style, convolve with the shared weight, scale the
    outputs by the demodulation factor. Equal to modulating the weights, and one convolution
    serves the whole batch. At inference, where all pictures share one style and the weights are
    fewer than the numbers they meet, the weights are modulated after all.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        style_dim: int,
        *,
        kernel: int = 3,
        upsample: bool = False,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.affine = EqualLinear(style_dim, inputs, bias_init=1.0)
        self.upsample = upsample
        self._frozen: Derived | None = None
        self._winograd: Winograd | None = None

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> ModulatedConv:
        self._forget()  # weights move or change their type
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def _load_from_state_dict(self, *args: Any) -> None:
        self._forget()
        super()._load_from_state_dict(*args)

    def train(self, mode: bool = True) -> ModulatedConv:
        """Also forgets what was derived from the weights: they may be about to change."""
        self._forget()
        return super().train(mode)

    def _forget(self) -> None:
        if self._winograd is None:  # else there is nothing left to derive it from
            self._frozen = None

    def convolve(
        self, x: Tensor, style: Tensor, gain: Tensor | None = None, bias: Tensor | None = None
    ) -> Tensor:
        """Modulated convolution, in the weights' type; twice the size when upsampling.

        Args:
            x: [B, I, H, W].
            style: [B or 1, I] factors on the inputs.
            gain: [B or 1, O] factors on the outputs.
            bias: [O].
        """
        weight: Tensor = self._derived().kernel
        phases = 4 if self.upsample else 1
        if gain is not None:
            gain = gain.repeat(1, phases)
        if bias is not None:
            bias = bias.to(weight.dtype).repeat(phases)
        x = x.to(weight.dtype)
        padding = weight.shape[-1] // 2
        if self._is_cheaper_modulated(weight, x, style):
            modulated = weight * style[0][:, None, None]
            if gain is not None:
                modulated = modulated * gain[0][:, None, None, None]
            y = F.conv2d(x, modulated.to(x.dtype), bias, padding=padding)
        else:
            y = F.conv2d(x * style[:, :, None, None].to(x.dtype), weight, padding=padding)
            y = scaled(y, gain, bias)
        return interleave(y) if self.upsample else y

    @staticmethod
    def _is_cheaper_modulated(weight: Tensor, x: Tensor, style: Tensor) -> bool:
        if torch.is_grad_enabled() or len(style) > 1:
            return False
        return weight.numel() < len(x) * (weight.shape[0] + weight.shape[1]) * x[0, 0].numel()

    def demodulation(self, style: Tensor) -> Tensor:
        """[B, O] factors that give every output channel unit expected variance."""
        return torch.rsqrt(style.float().square() @ self._derived().energy.T + 1e-8)

    def _derived(self) -> Derived:
        with torch.autocast(self.weight.device.type, enabled=False):
            if self.training or (torch.is_grad_enabled() and self.weight.requires_grad):
                return self._derive()
            if self._frozen is None:  # frozen weights: constants, found once
                # also for calls that need gradients, which refuse what inference mode made
                with torch.inference_mode(mode=False), torch.no_grad():
                    self._frozen = self._derive()
            return self._frozen

    def _derive(self) -> Derived:
        if self._winograd is not None:
            raise RuntimeError(NO_WAY_BACK)
        kernel: Tensor = self.weight
        if self.upsample:
            kernel = upsampling_kernel(kernel, resampling_filter().to(kernel))
        return Derived(kernel, self._energy())

    def _energy(self) -> Tensor:
        return self.weight.float().square().sum(dim=(2, 3))

    @torch.no_grad()
    def freeze(self, dtype: torch.dtype, compiled: bool = True) -> None:
        """Convolve in `dtype` from here on, channels last; for inference. `compiled`: by numba's
        loops where these are for such a convolution; then they alone keep the weights."""
        if self._winograd is not None:
            return
        if compiled and dtype == torch.float32 and can_convolve(self.weight):
            self.eval()
            nothing = self.weight.new_empty(0)
            self._frozen = Derived(nothing, self._energy())
            self._winograd = Winograd(self.weight, phases=4 if self.upsample else 1)
            self.weight = nn.Parameter(nothing, requires_grad=False)  # its type stays
            return
        if self._frozen is not None and self._frozen.kernel.dtype == self.weight.dtype == dtype:
            return
        self.eval()
        kernel, energy = self._derive()
        layout = torch.channels_last
        self.weight.data = self.weight.to(dtype, memory_format=layout)
        self._frozen = Derived(kernel.to(dtype, memory_format=layout), energy)


class SynthesisLayer(ModulatedConv):
    """Modulated 3x3 convolution, fixed noise, bias, leaky ReLU (parity spec, 4.5)."""

    noise_const: Tensor
    resample_filter: Tensor

    def __init__(
        self,
        inputs: int,
        outputs: int,
        style_dim: int,
        side: int,
        *,
        upsample: bool = False,
        noise: bool = True,
        clamp: float | None = None,
    ) -> None:
        super().__init__(inputs, outputs, style_dim, upsample=upsample)
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.register_buffer("noise_const", torch.randn(side, side))
        self.register_buffer("resample_filter", resampling_filter())
        self.noise = noise
        self.clamp = clamp

    def forward(self, x: Tensor, latent: Tensor) -> Tensor:
        """[B, I, H, W] and [B or 1, D] -> [B, O, side, side]."""
        style = self.affine(latent)
        # leaky ReLU is positively homogeneous, so its gain sqrt(2) goes into what precedes it.
        gain, bias = self.demodulation(style) * SQRT2, self.bias * SQRT2
        noise = self.noise_const * (self.noise_strength * SQRT2) if self.noise else None
        if self._winograd is not None:
            if torch.is_grad_enabled() and (x.requires_grad or style.requires_grad):
                raise RuntimeError(NO_WAY_BACK)
            return self._winograd(
                x.float(), scale=style, gain=gain, bias=bias, noise=noise, slopes=0.2,
                limit=math.inf if self.clamp is None else self.clamp,
            )  # fmt: skip
        y = self.convolve(x, style, gain, bias)
        if noise is not None:
            y = y + noise.to(y.dtype)
        y = leaky_relu(y, 0.2)
        return y if self.clamp is None else clamped(y, self.clamp)


class ToRGB(ModulatedConv):
    """Modulated 1x1 convolution without demodulation (parity spec, 4.6)."""

    def __init__(
        self, inputs: int, outputs: int, style_dim: int, *, clamp: float | None = None
    ) -> None:
        super().__init__(inputs, outputs, style_dim, kernel=1)
        self.gain = 1 / math.sqrt(inputs)
        self.clamp = clamp
        self._panels: Tensor | None = None

    def forward(self, x: Tensor, latent: Tensor) -> Tensor:
        """[B, I, H, W] and [B or 1, D] -> [B, O, H, W]."""
        y = self.convolve(x, self.affine(latent) * self.gain, bias=self.bias)
        return y if self.clamp is None else clamped(y, self.clamp)

    def onto(self, image: Tensor | None, x: Tensor, latent: Tensor) -> Tensor:
        """[B, O, H, W] this layer's colours, float32, and those of the image of half the sides."""
        if self._panels is not None and not torch.is_grad_enabled():
            style = self.affine(latent) * self.gain  # [B or 1, I]
            limit = math.inf if self.clamp is None else self.clamp
            weights = self._panels * style[:, None, :, None]
            return added_colours(x.float(), weights, self.bias, limit, image)
        own: Tensor = self(x, latent).float()
        return own if image is None else upsample2(image) + own

    def freeze(self, dtype: torch.dtype, compiled: bool = True) -> None:
        """Also prepares `onto`."""
        super().freeze(dtype, compiled)
        kernel = self._derived().kernel
        if compiled and has_loops(kernel):
            self._panels = panels(kernel[:, :, 0, 0])

    def _forget(self) -> None:
        super()._forget()
        self._panels = None


class SynthesisBlock(nn.Module):
    """Two layers and an image summed up over the resolutions (parity spec, 4.7).

    Args:
        inputs: channels of the incoming features; 0 for the first block, which has a learned
            constant in their place.
        outputs: channels of its features.
        side: side of its output, pixels.
        image_channels: channels of the image it adds to.
    """

    resample_filter: Tensor

    def __init__(
        self,
        inputs: int,
        outputs: int,
        style_dim: int,
        side: int,
        image_channels: int,
        *,
        noise: bool = True,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("resample_filter", resampling_filter())
        if inputs:
            self.conv0 = SynthesisLayer(
                inputs, outputs, style_dim, side, upsample=True, noise=noise, clamp=clamp
            )
        else:
            self.const = nn.Parameter(torch.randn(outputs, side, side))
        self.conv1 = SynthesisLayer(outputs, outputs, style_dim, side, noise=noise, clamp=clamp)
        self.torgb = ToRGB(outputs, image_channels, style_dim, clamp=clamp)
        self.is_first = inputs == 0

    @property
    def latents(self) -> int:
        """How many latents its layers take, torgb included."""
        return 2 if self.is_first else 3

    def forward(self, x: Tensor | None, image: Tensor | None, ws: Tensor) -> tuple[Tensor, Tensor]:
        """Features and image of twice the size.

        Args:
            x: [B, inputs, side/2, side/2]; None for the first block.
            image: [B, image_channels, side/2, side/2]; None for the first block.
            ws: [B, latents, D]; [1, latents, D] where all pictures share them.
        """
        x = self.const.expand(len(ws), -1, -1, -1) if x is None else self.conv0(x, ws[:, 0])
        x = self.conv1(x, ws[:, -2])
        return x, self.torgb.onto(image, x, ws[:, -1])
