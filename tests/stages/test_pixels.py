from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from tpvideo.stages import pixels


def test_black_is_minus_one_and_white_is_one() -> None:
    picture = np.array([[[0, 255, 51]]], np.uint8)
    tensor = pixels.to_tensor([picture])
    assert tensor.dtype == torch.float32
    expected = torch.tensor([-1.0, 1.0, -0.6]).reshape(1, 3, 1, 1)
    torch.testing.assert_close(tensor, expected, atol=1e-6, rtol=0)


def test_colours_rows_and_pictures_keep_their_places() -> None:
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 256, (4, 6, 3), dtype=np.uint8) for _ in range(3)]
    tensor = pixels.to_tensor(pictures)
    assert tensor.shape == (3, 3, 4, 6)
    assert tensor[2, 1, 3, 5].item() == np.float32(pictures[2][3, 5, 1]) * np.float32(2 / 255) - 1


def test_every_level_survives_the_way_there_and_back() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    picture = np.stack([levels, levels[::-1], levels.T], axis=-1)
    again = pixels.to_images(pixels.to_tensor([picture]))
    np.testing.assert_array_equal(again[0], picture)
    np.testing.assert_array_equal(pixels.to_images(pixels.to_tensor([levels]))[0], levels)


def test_values_are_rounded_to_nearest_and_limited() -> None:
    values = torch.tensor([-2.0, 2.0, 100.4 / 127.5 - 1, 100.6 / 127.5 - 1])
    level = pixels.to_images(values.reshape(1, 1, 2, 2))[0]
    np.testing.assert_array_equal(level, [[0, 255], [100, 101]])


def test_a_matte_is_one_channel() -> None:
    matte = np.full((2, 3), 255, np.uint8)
    assert pixels.to_tensor([matte, matte]).shape == (2, 1, 2, 3)
    assert pixels.to_images(torch.zeros(1, 1, 2, 3))[0].shape == (2, 3)
    assert pixels.to_images(torch.zeros(1, 4, 2, 3))[0].shape == (2, 3, 4)


def test_the_given_pictures_are_left_alone() -> None:
    picture = np.full((2, 2, 3), 7, np.uint8)
    pixels.to_tensor([picture])
    assert (picture == 7).all()
    values = torch.zeros(1, 3, 2, 2)
    pixels.to_images(values)
    assert (values == 0).all()


@pytest.mark.parametrize("size", [(40, 40), (25, 60), (90, 130)])
@pytest.mark.parametrize("channels", [(), (3,)])
@pytest.mark.parametrize("kind", ["bilinear", "bicubic"])
def test_pictures_are_resampled_as_pillow_does(
    size: tuple[int, int], channels: tuple[int, ...], kind: Literal["bilinear", "bicubic"]
) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (64, 80, *channels), np.uint8)
    picture.setflags(write=False)
    filters = {"bilinear": Pillow.Resampling.BILINEAR, "bicubic": Pillow.Resampling.BICUBIC}
    expected = np.asarray(Pillow.fromarray(picture).resize(size[::-1], filters[kind]))
    found = pixels.resampled(picture, *size, kind)
    assert found.shape == expected.shape and found.dtype == np.uint8
    assert np.abs(found.astype(int) - expected).max() <= 1  # the order of two roundings


def test_a_mirrored_or_planar_picture_is_taken_as_it_looks() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    planar = np.ascontiguousarray(picture.transpose(2, 0, 1)).transpose(1, 2, 0)
    tensor = pixels.to_tensor([planar])
    assert tensor.is_contiguous()
    torch.testing.assert_close(tensor, pixels.to_tensor([picture]))
    mirrored = pixels.to_tensor([picture[:, ::-1]])
    torch.testing.assert_close(mirrored, pixels.to_tensor([picture]).flip(3))


@pytest.mark.gpu
def test_pictures_arrive_on_a_gpu_as_they_left() -> None:
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 256, (64, 48, 3), dtype=np.uint8) for _ in range(8)]
    there = [pixels.to_tensor(pictures[at : at + 2], "cuda") for at in range(0, 8, 2)]
    assert all(tensor.is_cuda for tensor in there)
    for tensor, at in zip(there, range(0, 8, 2), strict=True):
        np.testing.assert_array_equal(pixels.to_images(tensor)[1], pictures[at + 1])
