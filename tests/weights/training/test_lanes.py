from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
import torch
from eg3d_folder import save_folder

from tpvideo.weights.training.batch import Batch
from tpvideo.weights.training.lanes import Lanes
from tpvideo.weights.training.photographs import Photographs


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_folder(tmp_path_factory.mktemp("eg3d"))


def sampler(folder: Path, seed: int) -> Photographs:
    return Photographs(folder, side=32, target_side=64, seed=seed, flaws=True)


def same(one: Batch, other: Batch) -> bool:
    return torch.equal(one.images, other.images) and torch.equal(one.labels, other.labels)


def test_lanes_hand_out_their_samplers_batches_in_turn(folder: Path) -> None:
    plain = [sampler(folder, seed) for seed in (1, 2, 3)]
    with closing(Lanes([sampler(folder, seed) for seed in (1, 2, 3)], 2)) as lanes:
        assert len(lanes) == 4
        for number in range(7):
            assert same(lanes.batch(2), plain[number % 3].batch(2)), number


def test_what_was_prepared_and_not_handed_out_comes_again_after_resuming(folder: Path) -> None:
    with (
        closing(Lanes([sampler(folder, seed) for seed in (1, 2)], 2)) as lanes,
        closing(Lanes([sampler(folder, seed) for seed in (8, 9)], 2)) as late,
    ):
        for _ in range(3):
            lanes.batch(2)
        state = lanes.state
        expected = [lanes.batch(2) for _ in range(4)]
        late.batch(2)  # under way when the state is set
        late.state = state
        assert all(same(late.batch(2), batch) for batch in expected)


def test_an_error_of_a_lane_reaches_the_one_who_waits(folder: Path) -> None:
    broken = sampler(folder, 1)
    broken.names = ["nowhere.png"]
    broken.labels = broken.labels[:1]
    with (
        closing(Lanes([broken], 2)) as lanes,
        pytest.raises(Exception, match=r"nowhere\.png"),
    ):
        lanes.batch(2)
