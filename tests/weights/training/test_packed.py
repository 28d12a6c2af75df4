from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from balls import CENTRE, RADIUS, colour, save_balls

from tpvideo.pipeline.errors import ConfigError
from tpvideo.stages import geometry
from tpvideo.weights.training import packed as module
from tpvideo.weights.training.batch import Batch, Geometry
from tpvideo.weights.training.packed import HeadViews, mean_surface, pack

MIRROR = np.array([-1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packed views of three balls."""
    folder = tmp_path_factory.mktemp("balls")
    pack(save_balls(folder / "npz", 3), folder / "views")
    return folder / "views"


def views(folder: Path, seed: int = 5) -> HeadViews:
    return HeadViews(folder, side=32, points=64, seed=seed)


def assert_equal(found: Batch, expected: Batch) -> None:
    assert found.geometry is not None and expected.geometry is not None
    pairs = zip(found[:5] + found.geometry, expected[:5] + expected.geometry, strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def known(batch: Batch) -> Geometry:
    assert batch.geometry is not None
    return batch.geometry


def test_packed_views_are_the_files_in_order(packed: Path) -> None:
    rgba, depth = np.load(packed / "rgba.npy"), np.load(packed / "depth.npy")
    labels = np.load(packed / "labels.npy")
    assert rgba.shape == (3, 4, 64, 64, 4) and rgba.dtype == np.uint8
    assert depth.shape == (3, 4, 32, 32) and depth.dtype == np.float16
    assert labels.shape == (3, 4, 25) and labels.dtype == np.float32
    with np.load(packed.parent / "npz/0000002.npz") as last:
        np.testing.assert_array_equal(rgba[2], last["rgba"])
        np.testing.assert_array_equal(depth[2], last["depth"])
        np.testing.assert_array_equal(labels[2, 1], geometry.label(last["c2w"][1]))


def test_packing_can_stop_early_and_names_an_empty_folder(packed: Path, tmp_path: Path) -> None:
    pack(packed.parent / "npz", tmp_path / "two", limit=2)
    assert len(views(tmp_path / "two")) == 2
    with pytest.raises(ConfigError, match="no head views"):
        pack(tmp_path, tmp_path / "out")
    with pytest.raises(ConfigError, match="holds no packed views"):
        views(tmp_path)


def test_inputs_and_never_targets_are_seen_through_lenses(packed: Path, tmp_path: Path) -> None:
    """A lens here paints the picture blue; views 2 and 3 have none."""
    (tmp_path / "npz").mkdir()
    blue = np.zeros((2, 64, 64, 4), np.uint8)
    blue[..., 2:] = 255
    for file in (packed.parent / "npz").glob("*.npz"):
        with np.load(file) as arrays:
            np.savez(tmp_path / "npz" / file.name, **arrays, lens_rgba=blue)
    pack(tmp_path / "npz", tmp_path / "views")
    sampler = HeadViews(tmp_path / "views", side=32, points=8, seed=1, flaws=False)
    batch = sampler.batch(64)
    is_blue = (batch.images[:, 2] - batch.images[:, 0] > 0.05).flatten(1).float().mean(1) > 0.95
    assert 0.1 < is_blue.float().mean() < 0.6  # 0.6 of one half
    for target in batch.targets:
        assert (target[3] < 0).any()  # a ball, with black around it
    pack(packed.parent / "npz", tmp_path / "views")
    assert HeadViews(tmp_path / "views", side=32, points=8, seed=1).lens is None


def test_files_that_differ_are_not_packed_together(packed: Path, tmp_path: Path) -> None:
    for number, views in ((1, 4), (2, 3)):
        with np.load(packed.parent / "npz/0000001.npz") as arrays:
            np.savez(tmp_path / f"{number}.npz", **{k: arrays[k][:views] for k in arrays.files})
    with pytest.raises(ConfigError, match=r"2.npz holds .* but 1.npz .* same --views"):
        pack(tmp_path, tmp_path / "out")


def test_a_batch_has_the_promised_shapes_and_ranges(packed: Path) -> None:
    batch = views(packed).batch(5)
    assert [tuple(part.shape) for part in (*batch[:5], *known(batch))] == [
        (5, 3, 32, 32),
        (5, 25),
        (5, 3, 32, 32),
        (5, 4, 64, 64),
        (5, 25),
        (5, 1, 32, 32),
        *[(5, 64, 3)] * 4,
    ]
    for pictures in (batch.images, batch.targets):
        assert pictures.min() == -1 and pictures.max() <= 1
    assert (batch.targets[:, :3] <= batch.targets[:, 3:] + 1e-6).all()  # premultiplied
    torch.testing.assert_close(known(batch).toward.norm(dim=-1), torch.ones(5, 64))


@pytest.fixture
def plain_light(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the colours as they are filed."""
    monkeypatch.setattr(module, "change_light", lambda rgba, target, random: (rgba, target))


def centre_of(points: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> tuple[float, bool]:
    """Largest distance of points from the ball's surface, and whether the ball is mirrored."""
    straight, mirrored = (
        float(np.abs(np.linalg.norm(points - centre, axis=-1) - RADIUS).max())
        for centre in (CENTRE, CENTRE * MIRROR)
    )
    return min(straight, mirrored), mirrored < straight


@pytest.mark.usefixtures("plain_light")
def test_surface_points_lie_on_the_head_in_its_colours_mirrored_or_not(packed: Path) -> None:
    batch = views(packed).batch(16)
    flips = set()
    for index in range(16):
        points = known(batch).surface[index].double().numpy()
        apart, is_mirrored = centre_of(points)
        # Half precision depth; a pixel of alpha 0.98 can still be at the rim.
        assert apart < 0.004
        own = points * MIRROR if is_mirrored else points
        shown = known(batch).colours[index].numpy()
        truth = colour(own)
        light = (shown * truth).sum() / (truth * truth).sum()  # the balls differ in brightness
        np.testing.assert_allclose(shown, light * truth, atol=0.03)  # a pixel is 0.009 wide
        flips.add(is_mirrored)
    assert flips == {False, True}


@pytest.mark.usefixtures("plain_light")
def test_empty_points_are_before_everything_that_the_target_sees(packed: Path) -> None:
    batch = views(packed).batch(16)
    for index in range(16):
        _, is_mirrored = centre_of(known(batch).surface[index].double().numpy())
        centre = CENTRE * MIRROR if is_mirrored else CENTRE
        eye = batch.target_labels[index, :16].reshape(4, 4)[:3, 3].double().numpy()
        points = known(batch).empty[index].double().numpy()
        # The nearest that the segment from the camera to the point comes to the centre.
        span = points - eye
        share = ((centre - eye) * span).sum(-1) / (span * span).sum(-1)
        nearest = eye + np.clip(share, 0, 1)[:, None] * span
        assert (np.linalg.norm(nearest - centre, axis=-1) > RADIUS - 0.002).all()


def test_every_picture_agrees_with_its_label(packed: Path) -> None:
    """The ball's middle is where the label says, in input and target, mirrored or not."""
    batch = views(packed).batch(16)
    for index in range(16):
        _, is_mirrored = centre_of(known(batch).surface[index].double().numpy())
        centre = CENTRE * MIRROR if is_mirrored else CENTRE
        for pictures, labels, slack in (
            (batch.targets[index, 3:], batch.target_labels[index], 0.005),
            (
                batch.images[index].amax(0, keepdim=True),
                batch.labels[index],
                0.09,
            ),  # off on purpose
        ):
            solid = (pictures[0] > -0.8).double()
            side = solid.shape[-1]
            middles = (torch.arange(side, dtype=torch.float64) + 0.5) / side
            middle = [float((solid.sum(axis) * middles).sum() / solid.sum()) for axis in (0, 1)]
            camera = labels[:16].reshape(4, 4).double().numpy()
            x, y, z = (centre - camera[:3, 3]) @ camera[:3, :3]
            expected = [geometry.FOCAL * x / z + 0.5, geometry.FOCAL * y / z + 0.5]
            assert middle == pytest.approx(expected, abs=slack)


def test_the_same_seed_draws_the_same_batches_and_a_state_resumes_them(packed: Path) -> None:
    one, other = views(packed), views(packed)
    assert_equal(one.batch(3), other.batch(3))
    state = one.state
    expected = [one.batch(3), one.batch(2)]
    late = views(packed, seed=99)
    late.state = state
    assert_equal(late.batch(3), expected[0])
    assert_equal(late.batch(2), expected[1])
    assert not torch.equal(other.batch(3).labels, views(packed, seed=6).batch(3).labels)


def test_views_of_a_batch_mostly_differ(packed: Path) -> None:
    batch = views(packed).batch(64)
    same = (batch.labels == batch.target_labels).all(dim=1).float().mean().item()
    assert 0.05 < same < 0.4  # a fifth, give or take


def test_the_mean_surface_is_the_ball_and_sinks_beside_it(packed: Path) -> None:
    surface = mean_surface(views(packed), 16, 0.8)
    assert surface.shape == (16, 16)
    column, row = (int((value / 0.8 + 0.5) * 16) for value in CENTRE[:2])
    cells = np.arange(-2, 3)  # the surface is averaged over five by five
    x, y = np.meshgrid(
        *(
            (index + cells + 0.5) / 16 * 0.8 - 0.4 - middle
            for index, middle in ((column, CENTRE[0]), (row, CENTRE[1]))
        )
    )
    heights = CENTRE[2] + np.sqrt(RADIUS**2 - x**2 - y**2)
    assert surface[row, column].item() == pytest.approx(heights.mean(), abs=0.005)
    assert surface[0, 0].item() < CENTRE[2]
    assert surface[row, 12] > surface[row, 3]  # rows are y and columns x: the ball is to the right
