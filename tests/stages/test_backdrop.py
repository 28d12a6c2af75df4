from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tpvideo.pipeline.errors import ConfigError
from tpvideo.stages.backdrop import Backdrop, Behind, parse_backdrop

RED, BLUE = torch.tensor([0.9, 0.1, 0.1]), torch.tensor([0.1, 0.2, 0.8])


def portrait() -> tuple[Tensor, Tensor]:
    """[3, 64, 64] a red person before a blue wall, and the matte."""
    alpha = torch.zeros(1, 64, 64)
    alpha[:, 20:, 20:44] = 1
    return torch.where(alpha > 0, RED[:, None, None], BLUE[:, None, None]), alpha


def parsed(text: str) -> Backdrop:
    backdrop = parse_backdrop(text)
    assert backdrop is not None
    return backdrop


@pytest.mark.parametrize(
    ("text", "colour"),
    [
        ("black", (0.0, 0.0, 0.0)),
        ("white", (1.0, 1.0, 1.0)),
        ("#336600", (0.2, 0.4, 0.0)),
        ("#ABCDEF", (171 / 255, 205 / 255, 239 / 255)),
    ],
)
def test_a_colour_fills_the_picture(text: str, colour: tuple[float, float, float]) -> None:
    picture = parsed(text)(*portrait(), 5)
    expected = torch.tensor(colour)[:, None, None].expand(3, 5, 5)
    torch.testing.assert_close(picture, expected)


def test_transparent_is_no_backdrop() -> None:
    assert parse_backdrop("transparent") is None


@pytest.mark.parametrize("text", ["", "green", "#12345", "#12345g", "336600", "Black"])
def test_another_name_is_refused_with_the_choices(text: str) -> None:
    with pytest.raises(ConfigError, match=r"black, white, #rrggbb, blur, source or transparent"):
        parse_backdrop(text)


@pytest.mark.parametrize("name", ["blur", "source"])
def test_the_wall_goes_on_behind_the_person(name: str) -> None:
    picture = parsed(name)(*portrait(), 48)
    assert picture.shape == (3, 48, 48)
    torch.testing.assert_close(picture, BLUE[:, None, None].expand(3, 48, 48), atol=1e-3, rtol=0)


def test_the_source_stays_sharp_where_no_person_is() -> None:
    noise = torch.rand(3, 64, 64)
    alpha = torch.zeros(1, 64, 64)
    alpha[:, 40:] = 1
    picture = Behind(blur=False)(noise, alpha, 64)
    torch.testing.assert_close(picture[:, :36], noise[:, :36])
    assert (picture[:, 44:] - noise[:, 44:]).abs().mean() > 0.1


def test_blur_keeps_large_shapes_and_no_grain() -> None:
    wall = torch.zeros(3, 64, 64)
    wall[:, :, 32:] = 1
    picture = Behind(blur=True)(wall, torch.zeros(1, 64, 64), 64)
    assert (picture[:, :, :24] < 0.05).all() and (picture[:, :, 40:] > 0.95).all()
    grain = torch.rand(3, 64, 64)
    softened = Behind(blur=True)(grain, torch.zeros(1, 64, 64), 64)
    assert softened.std() < grain.std() / 5


def test_a_crop_full_of_person_still_gives_a_picture() -> None:
    picture = Behind(blur=True)(torch.rand(3, 64, 64), torch.ones(1, 64, 64), 32)
    assert ((picture >= 0) & (picture <= 1)).all()
