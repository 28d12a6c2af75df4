from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import random_face, tiny_network

from tpvideo.pipeline.errors import WeightsError
from tpvideo.pipeline.frame import Head, Inverted, Stamp
from tpvideo.stages.edit import Edit
from tpvideo.stages.edited_detail import EditedView, unchanged
from tpvideo.stages.invert import Inversion
from tpvideo.stages.networks.editing import Shift, edited
from tpvideo.stages.networks.triplanenet import TriPlaneNet
from tpvideo.stages.render import NovelView

LATENTS = (6, 16)


@pytest.fixture(scope="module")
def network() -> TriPlaneNet:
    return tiny_network()


@pytest.fixture(scope="module")
def heads(network: TriPlaneNet) -> list[Head]:
    return Inversion(network).invert([random_face(seed) for seed in range(3)])


def packets(heads: list[Head]) -> list[Inverted]:
    rgb = np.zeros((8, 8, 3), np.uint8)
    return [Inverted(Stamp(i, i), rgb, random_face(i), head) for i, head in enumerate(heads)]


def some_latents(size: float = 1.0) -> Shift:
    random = torch.Generator().manual_seed(3)
    return Shift(latents=size * torch.randn(LATENTS, generator=random))


def test_the_planes_move_by_what_the_generator_makes_of_the_moved_latents(
    network: TriPlaneNet, heads: list[Head]
) -> None:
    shift = some_latents()
    assert shift.latents is not None
    before = heads[0]
    [item] = Edit(network, shift).process(packets(heads)[:1])
    assert item.head is not None
    with torch.inference_mode():
        after = network.decoder.planes((before.latents + shift.latents)[None])[0]
        first = network.decoder.planes(before.latents[None])[0]
    torch.testing.assert_close(item.head.planes, before.planes + after - first)  # eq. 16
    torch.testing.assert_close(item.head.latents, before.latents + shift.latents)
    assert item.head.unedited is before.planes
    assert (item.head.planes - before.planes).abs().max() > 1e-3


def test_a_shift_of_the_planes_is_enlarged_to_them_and_leaves_the_latents(
    network: TriPlaneNet, heads: list[Head]
) -> None:
    shift = Shift(planes=torch.full((48, 4, 4), 0.25))
    [item] = Edit(network, shift).process(packets(heads)[:1])
    assert item.head is not None
    torch.testing.assert_close(item.head.planes, heads[0].planes + 0.25)
    torch.testing.assert_close(item.head.latents, heads[0].latents)


def test_opposite_strengths_undo_each_other(network: TriPlaneNet, heads: list[Head]) -> None:
    ws, planes = heads[0].latents[None], heads[0].planes[None]
    shift = some_latents()
    assert shift.latents is not None
    there, moved = edited(network, planes, ws, shift)
    back, origin = edited(network, there, moved, Shift(latents=-shift.latents))
    torch.testing.assert_close(back, planes, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(origin, ws)


def test_a_head_is_the_same_alone_and_in_a_batch(network: TriPlaneNet, heads: list[Head]) -> None:
    edit = Edit(network, some_latents())
    together = edit.edit(heads)
    for head, other in zip(heads, together, strict=True):
        [alone] = edit.edit([head])
        torch.testing.assert_close(alone.planes, other.planes, rtol=1e-4, atol=1e-4)


def test_a_head_that_stays_is_edited_once_and_a_frame_without_one_passes(
    network: TriPlaneNet, heads: list[Head]
) -> None:
    edit = Edit(network, some_latents())
    items = packets([heads[0], heads[0], heads[1]])
    items.insert(1, Inverted(Stamp(9, 9), items[0].rgb, None, None))
    found = edit.process(items)
    assert found[0].head is found[2].head
    assert found[1].head is None and found[1].stamp == Stamp(9, 9)
    assert found[3].head is not found[0].head
    [again] = edit.process(items[3:])
    assert again.head is found[3].head  # remembered from the batch before


def test_the_same_edit_adds_the_same_to_every_frame(
    network: TriPlaneNet, heads: list[Head]
) -> None:
    latents = some_latents().latents
    edit = Edit(network, Shift(latents, torch.ones(48, 16, 16)))
    same = Head(heads[0].latents, heads[1].planes)
    first, second = edit.edit([heads[0], same])
    torch.testing.assert_close(
        first.planes - heads[0].planes, second.planes - same.planes, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(
    "shift", [Shift(latents=torch.zeros(4, 16)), Shift(planes=torch.zeros(96, 8, 8))]
)
def test_directions_of_another_size_are_refused(network: TriPlaneNet, shift: Shift) -> None:
    with pytest.raises(WeightsError, match="do not fit the model"):
        Edit(network, shift)


def test_the_source_is_fetched_only_where_the_edit_changed_nothing() -> None:
    before = torch.zeros(1, 3, 16, 16)
    after = before.clone()
    after[..., :6] = 0.6
    kept = unchanged(before, after)
    assert kept.shape == (1, 1, 16, 16)
    assert kept[..., :6].max() < 0.01
    assert kept[..., 6].max() < 0.1  # what is beside a change goes with it
    assert kept[..., 11:].min() > 0.99


def test_what_moved_is_looked_up_where_it_was() -> None:
    motion = torch.zeros(3, 8, 8)
    motion[1, 4:] = -0.1  # all above y = 0 was lower
    view = EditedView(torch.zeros(1, 1, 4, 4), motion, box=0.8)
    points = torch.zeros(1, 3, 1, 2)
    points[0, :, 0, 0] = torch.tensor([0.05, 0.25, 0.3])
    points[0, :, 0, 1] = torch.tensor([0.05, -0.25, 0.3])
    expected = points.clone()
    expected[0, 1, 0, 0] = 0.15
    torch.testing.assert_close(view.origins(points), expected)
    right = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
    torch.testing.assert_close(view.share(right), right)
    still = view._replace(motion=None)
    assert still.origins(points) is points
    assert still.share(right).max() == 0


def test_a_change_of_a_dark_face_counts_as_much_as_one_of_a_light_face() -> None:
    light, dark = torch.full((1, 3, 16, 16), 0.4), torch.full((1, 3, 16, 16), -0.7)
    small = 0.03 * torch.ones(1, 3, 16, 16)
    assert unchanged(dark, dark + small).max() < unchanged(light, light + small).min()


def test_an_edit_shows_through_the_detail_of_the_source(network: TriPlaneNet) -> None:
    """With the source's own pictures laid over everything, no edit could be seen."""
    [head] = Inversion(network).invert([random_face(0)])
    moved = Head(head.latents, head.planes + 3.0)
    told = Head(head.latents, head.planes + 3.0, unedited=head.planes)
    rgb = np.zeros((8, 8, 3), np.uint8)
    view = NovelView(network, yaw_rad=0.1, size=64)
    face = random_face(0)
    plain = NovelView(network, yaw_rad=0.1, size=64, detail=False)
    [soft] = plain.process([Inverted(Stamp(0, 0), rgb, face, moved)])
    [fetched] = view.process([Inverted(Stamp(0, 0), rgb, face, moved)])
    [gated] = view.process([Inverted(Stamp(0, 0), rgb, face, told)])
    inner = np.s_[24:40, 24:40]

    def distance(one: np.ndarray, other: np.ndarray) -> float:
        return float(np.abs(one[inner].astype(int) - other[inner].astype(int)).mean())

    assert distance(fetched.rgb, soft.rgb) > 0  # there is detail to be fetched
    assert distance(gated.rgb, soft.rgb) < distance(fetched.rgb, soft.rgb)
