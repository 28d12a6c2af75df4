"""How different two pictures look: distances between the features that a trained network has of
them (Zhang et al. 2018, The Unreasonable Effectiveness of Deep Features as a Perceptual Metric)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

Trunk = Literal["alex", "vgg"]

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


def unit(features: Tensor) -> Tensor:
    """[B, C, H, W] with every pixel's feature vector brought to length 1."""
    return features / (features.square().sum(dim=1, keepdim=True).sqrt() + 1e-10)


class PerceptualDistance(nn.Module):
    """The published metric: `features` are the convolutions of an ImageNet classifier, numbered
    as in torchvision's AlexNet and VGG16; `lins` hold one weight a channel for each of the five
    layers that are compared.

    Args:
        trunk: `alex` (Krizhevsky 2014, One weird trick) or `vgg` (Simonyan and Zisserman 2015,
            configuration D).
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, trunk: Trunk = "alex") -> None:
        super().__init__()
        self.features, self.taps, widths = _alexnet() if trunk == "alex" else _vgg16()
        self.lins = nn.ModuleList(nn.Conv2d(width, 1, 1, bias=False) for width in widths)
        mean, deviation = (
            torch.tensor(value)[:, None, None] for value in (_IMAGENET_MEAN, _IMAGENET_DEVIATION)
        )
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("deviation", deviation, persistent=False)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """[B] distances of pictures [B, 3, H, W], -1..1; 0 for equal ones."""
        both = ((torch.cat([a, b]) + 1) / 2 - self.mean) / self.deviation
        distance = torch.zeros(len(a), device=a.device)
        for features, weight in zip(tapped(self.features, both, self.taps), self.lins, strict=True):
            first, second = unit(features).chunk(2)
            distance = distance + weight((first - second) ** 2).mean(dim=(1, 2, 3))
        return distance


class FeatureDistance(nn.Module):
    """The same without learnt weights, on any chain of layers: mean squared difference of unit
    feature vectors, summed over the tapped layers.

    Args:
        features: layers applied one after another.
        taps: numbers of those whose results are compared.
    """

    def __init__(self, features: nn.Sequential, taps: Sequence[int]) -> None:
        super().__init__()
        self.features, self.taps = features, tuple(taps)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """[B] distances of pictures [B, 3, H, W] in the range that the layers were made for."""
        distance = torch.zeros(len(a), device=a.device)
        for features in tapped(self.features, torch.cat([a, b]), self.taps):
            first, second = unit(features).chunk(2)
            distance = distance + ((first - second) ** 2).sum(dim=1).mean(dim=(1, 2))
        return distance


def tapped(layers: nn.Sequential, x: Tensor, taps: Iterable[int]) -> list[Tensor]:
    """Results of the layers with these numbers; nothing behind the last of them is computed."""
    wanted = sorted(taps)
    found = []
    for number in range(wanted[-1] + 1):
        x = layers[number](x)
        if number in wanted:
            found.append(x)
    return found


def _alexnet() -> tuple[nn.Sequential, tuple[int, ...], tuple[int, ...]]:
    """Convolutions, the five rectifiers that are compared, and their channels."""
    layers = nn.Sequential(
        nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, 1, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, 1, 1), nn.ReLU(),
        nn.Conv2d(384, 256, 3, 1, 1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, 1, 1), nn.ReLU(),
    )  # fmt: skip
    return layers, (1, 4, 7, 9, 11), (64, 192, 384, 256, 256)


def _vgg16() -> tuple[nn.Sequential, tuple[int, ...], tuple[int, ...]]:
    """Convolutions, the last rectifier of each of the five sizes, and their channels."""
    layers: list[nn.Module] = []
    taps: list[int] = []
    inputs = 3
    widths = (64, 128, 256, 512, 512)
    for width, repeats in zip(widths, (2, 2, 3, 3, 3), strict=True):
        if taps:
            layers.append(nn.MaxPool2d(2))
        for _ in range(repeats):
            layers += [nn.Conv2d(inputs, width, 3, 1, 1), nn.ReLU()]
            inputs = width
        taps.append(len(layers) - 1)
    return nn.Sequential(*layers), tuple(taps), widths
