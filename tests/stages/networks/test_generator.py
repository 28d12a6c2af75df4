from __future__ import annotations

from typing import Any

import pytest
import torch
from parity import own_keys, published_keys
from tiny import labels, tiny_network
from torch import Tensor

from tpvideo.stages.networks import generator as module
from tpvideo.stages.networks.density_grid import density_grid, grid_points
from tpvideo.stages.networks.generator import Generator, View, as_image, resize
from tpvideo.stages.networks.layers import upsample2
from tpvideo.stages.networks.triplanenet import TriPlaneNet
from tpvideo.stages.networks.volume import Composite, camera_rays, rays_through

FRONT = labels((0.3, 0.1), (-0.4, 0.0))
ROUNDING: dict[str, Any] = {"atol": 1e-5, "rtol": 0}  # order of summation


def tiny_generator(**changes: Any) -> tuple[Generator, Tensor, Tensor]:
    """A generator, planes and latents for two heads."""
    generator = tiny_network(**changes).decoder
    ws = torch.randn(2, generator.latents, 16)
    planes = generator.planes(ws)
    return generator, planes, ws


def assert_same(found: View, expected: View) -> None:
    for name, value in found._asdict().items():
        torch.testing.assert_close(value, getattr(expected, name), **ROUNDING, msg=name)


def test_keys_and_shapes_are_the_published_ones() -> None:
    with torch.device("meta"):
        generator = TriPlaneNet().decoder
    expected = published_keys("keys_eg3d_G_ema.json", "")
    assert len(expected) == 176
    assert sorted(own_keys(generator)) == sorted(expected)


def test_a_view_has_the_promised_sizes_and_ranges() -> None:
    generator, planes, ws = tiny_generator()
    view = generator.render(planes, ws, FRONT)
    shapes = [tuple(picture.shape) for picture in view]
    assert shapes == [(2, 4, 64, 64), (2, 3, 16, 16), (2, 1, 16, 16), (2, 1, 16, 16)]
    assert view.alpha.min() >= 0 and view.alpha.max() <= 1 + 1e-5
    assert view.depth.min() >= 2.28 and view.depth.max() <= 3.12 + 0.84 / 5
    assert view.alpha.std() > 0.01  # the test looks at something


def test_planes_of_a_small_backbone_are_enlarged() -> None:
    generator, _, ws = tiny_generator(backbone_widths=[16, 16])
    assert generator.latents == 4
    small = generator.backbone.synthesis(ws)
    assert small.shape[-1] == 8
    assert torch.equal(generator.planes(ws), upsample2(small))


def test_a_wrong_number_of_latents_is_refused() -> None:
    generator, _, ws = tiny_generator()
    with pytest.raises(ValueError, match=r"ws must have shape \[any, 6, any\]"):
        generator.planes(ws[:, :5])


def test_a_view_does_not_depend_on_the_batch() -> None:
    generator, planes, ws = tiny_generator()
    together = generator.render(planes, ws, FRONT)
    for index in range(2):
        one = slice(index, index + 1)
        alone = generator.render(planes[one], ws[one], FRONT[one])
        assert_same(alone, View(*(picture[one] for picture in together)))


@pytest.mark.parametrize("at_once", [150, 700, 12 * 200])
def test_rendering_in_parts_equals_rendering_at_once(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator, planes, ws = tiny_generator()
    calls: list[int] = []
    march = generator.march

    def counted(*args: Any, **options: Any) -> Any:
        calls.append(1)
        return march(*args, **options)

    monkeypatch.setattr(generator, "march", counted)
    with torch.no_grad():
        whole = generator.render(planes, ws, FRONT)
        assert len(calls) == 1
        monkeypatch.setattr(module, "POINTS_AT_ONCE", at_once)
        parts = generator.render(planes, ws, FRONT)
    assert len(calls) > 2
    assert_same(parts, whole)


def test_a_patch_is_the_window_of_the_whole_rendering() -> None:
    """Before super-resolution, whose convolutions look beyond the patch's rim."""
    generator, planes, ws = tiny_generator()
    whole = generator.render(planes, ws, FRONT)
    span = torch.arange(8)
    rows, columns = torch.meshgrid(span + 5, span + 2, indexing="ij")
    positions = (torch.stack([columns, rows], dim=-1).reshape(1, -1, 2) + 0.5) / 16
    patch = generator.finish(generator.march(planes, rays_through(FRONT, positions)), ws, 8)
    window = (..., slice(5, 13), slice(2, 10))
    assert patch.image.shape == (2, 4, 32, 32)
    for name in ("raw", "depth", "alpha"):
        found, expected = getattr(patch, name), getattr(whole, name)[window]
        torch.testing.assert_close(found, expected, **ROUNDING)


def test_a_coarser_look_keeps_what_is_seen() -> None:
    generator, planes, ws = tiny_generator()
    fine = as_image(generator.look(planes, FRONT, side=32).alphas, 32)
    coarse = as_image(generator.look(planes, FRONT, side=8).alphas, 8)
    apart = (resize(fine, 8) - coarse).abs().mean()
    assert apart < 0.5 * fine.std()
    assert generator.render(planes, ws, FRONT, side=8).image.shape[-1] == 32
    assert generator.render(planes, ws, FRONT, side=8, fit=True).image.shape[-1] == 64


def test_importance_samples_are_optional_and_change_the_picture() -> None:
    generator, planes, _ = tiny_generator()
    rays = camera_rays(FRONT, 8)
    both = generator.march(planes, rays)
    coarse = generator.march(planes, rays, fine=False)
    assert (both.alphas - coarse.alphas).abs().max() > 1e-4
    generator.fine = 0
    torch.testing.assert_close(generator.march(planes, rays).alphas, coarse.alphas)


def test_rendering_stays_in_float32_under_autocast() -> None:
    generator, planes, _ = tiny_generator()
    plain = generator.look(planes, FRONT)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = generator.look(planes, FRONT)
    assert torch.equal(mixed.features, plain.features)


def test_a_margin_keeps_the_rim_of_an_even_picture_even() -> None:
    """Convolutions see zeros outside; a margin puts the picture's own rim there."""

    def spread(margin: int) -> float:
        generator, _, ws = tiny_generator(margin=margin)
        even = Composite(
            torch.full((2, 256, 16), 0.7), torch.full((2, 256, 1), 2.7), torch.ones(2, 256, 1)
        )
        image = generator.finish(even, ws, 16).image
        assert image.shape == (2, 4, 64, 64)
        return (image - image[..., 32:33, 32:33]).abs().max().item()

    assert spread(0) > 0.01
    assert spread(4) < 1e-4


def test_resize_takes_exact_means_where_the_ratio_is_two() -> None:
    picture = torch.arange(16.0).reshape(1, 1, 4, 4)
    means = torch.tensor([[2.5, 4.5], [10.5, 12.5]])
    torch.testing.assert_close(resize(picture, 2)[0, 0], means)
    assert resize(picture, 4) is picture
    flat = resize(torch.full((1, 2, 12, 12), 0.3), 5)
    torch.testing.assert_close(flat, torch.full((1, 2, 5, 5), 0.3))


def test_the_density_grid_is_indexed_by_x_y_z() -> None:
    corners = grid_points(torch.tensor([0, 1, 3]), 4, box=0.6)
    torch.testing.assert_close(corners[0], torch.tensor([-0.3, -0.3, -0.3]))
    assert corners[1, 2].item() == pytest.approx(-0.1)  # the last coordinate is the fastest
    assert corners[2, 2].item() == pytest.approx(0.3)
    generator, planes, _ = tiny_generator()
    whole = density_grid(generator, planes[:1], 5)
    torch.testing.assert_close(density_grid(generator, planes[:1], 5, chunk=7), whole)
    place = grid_points(torch.tensor([2 * 25 + 3 * 5 + 4]), 5, generator.box)
    expected = generator.query(planes[:1], place[None]).sigmas.item()
    # a product with another number of rows adds up in another order
    assert whole[2, 3, 4].item() == pytest.approx(expected, abs=1e-5)
