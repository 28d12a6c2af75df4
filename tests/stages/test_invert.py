from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import random_face, tiny_network

from tpvideo.pipeline.frame import Face, Posed, Stamp
from tpvideo.stages.invert import Inversion, network_input

RGB = np.zeros((4, 4, 3), np.uint8)


def posed(index: int, face: Face | None) -> Posed:
    return Posed(Stamp(index, 40 * index), RGB, face, cut=index == 0)


def test_frames_keep_their_order_and_those_without_a_face_their_place() -> None:
    faces = [random_face(0), None, random_face(1), None, None, random_face(2)]
    items = [posed(index, face) for index, face in enumerate(faces)]
    stage = Inversion(tiny_network(), batch=6)
    found = stage.process(items)
    assert [item.stamp for item in found] == [item.stamp for item in items]
    assert [item.face for item in found] == faces
    assert [item.cut for item in found] == [True] + 5 * [False]
    assert [item.head is None for item in found] == [False, True, False, True, True, False]
    for item, face in zip(found, faces, strict=True):
        if face is not None and item.head is not None:
            alone = stage.invert([face])[0]
            torch.testing.assert_close(item.head.planes, alone.planes, atol=2e-5, rtol=0)
            torch.testing.assert_close(item.head.latents, alone.latents, atol=2e-5, rtol=0)


def test_no_face_at_all_runs_no_network() -> None:
    network = tiny_network()
    network.psp_encoder.register_forward_hook(lambda *_: pytest.fail("the encoder ran"))
    found = Inversion(network).process([posed(0, None), posed(1, None)])
    assert [item.head for item in found] == [None, None]


def test_a_head_has_latents_and_planes_that_need_no_gradient() -> None:
    head = Inversion(tiny_network()).invert([random_face(0)])[0]
    assert head.latents.shape == (6, 16) and head.planes.shape == (48, 16, 16)
    assert not head.planes.requires_grad
    assert head.planes.dtype == torch.float32


def test_lower_precision_stays_close_and_leaves_the_thread_as_it_was() -> None:
    network = tiny_network()
    exact = Inversion(network).invert([random_face(0)])[0]
    rough = Inversion(network, dtype=torch.bfloat16).invert([random_face(0)])[0]
    apart = (exact.planes - rough.planes).abs().mean() / exact.planes.std()
    assert 0 < apart < 0.1  # bfloat16 keeps 8 bits
    assert not torch.is_autocast_enabled("cpu") and not torch.is_inference_mode_enabled()


def test_the_network_sees_the_person_on_black() -> None:
    face = random_face(0)
    pictures, labels = network_input([face], 48, torch.device("cpu"))
    assert (pictures[0, :, 0] == -1).all()  # the matte is clear at the rim
    inner = torch.from_numpy(face.crop[8:40, 8:40]).permute(2, 0, 1) / 127.5 - 1
    torch.testing.assert_close(pictures[0, :, 8:40, 8:40], inner, atol=1e-6, rtol=0)
    np.testing.assert_array_equal(labels[0].numpy(), face.camera)
    assert network_input([face, face], 32, torch.device("cpu"))[0].shape == (2, 3, 32, 32)


def test_a_face_that_is_the_one_before_it_runs_no_network() -> None:
    network = tiny_network()
    runs: list[int] = []
    network.psp_encoder.register_forward_hook(lambda _module, args, _out: runs.append(len(args[0])))
    stage = Inversion(network, batch=4)
    first, second = random_face(0), random_face(1)
    found = stage.process([posed(n, face) for n, face in enumerate((first, first, None, first))])
    found += stage.process([posed(n, face) for n, face in enumerate((first, second, first))])
    assert runs == [1, 2]
    heads = [item.head for item in found]
    assert heads[0] is heads[1] is heads[3] is heads[4] and heads[2] is None
    assert heads[5] is not heads[4] and heads[6] is not heads[5]
