from __future__ import annotations

import logging
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tpvideo.pipeline.errors import ConfigError, WeightsError
from tpvideo.pipeline.frame import Decoded, Image, Matted, Stamp, StreamInfo
from tpvideo.pipeline.stage import Stage
from tpvideo.stages.matting import MODNET_FILE, Matting, NoMatting, open_matting

Size = tuple[int, int]

INFO = StreamInfo(64, 48, Fraction(25), Fraction(1, 25), None)


def decoded(rgb: Image, index: int = 0) -> Decoded:
    return Decoded(Stamp(index, index), rgb)


def matted(stage: Stage[Decoded, Matted], rgb: Image) -> Matted:
    (item,) = stage.process([decoded(rgb)])
    return item


@pytest.fixture
def stand_in(tmp_path: Path) -> Path:
    """A network of MODNet's contract that calls red a person: alpha = sigmoid(20 red)."""
    return write_stand_in(tmp_path / "red.onnx")


def write_stand_in(
    path: Path,
    *,
    name: str = "input",
    shape: tuple[object, ...] = ("N", 3, "H", "W"),
    out: int = 1,
    short_side: int | None = None,
) -> Path:
    """Fails, like MODNet, for sides that are no multiples of 32."""
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    red = np.zeros((out, 3, 1, 1), np.float32)
    red[:, 0] = 20
    nodes = [
        helper.make_node("Conv", [name, "red"], ["level"]),
        helper.make_node(
            "AveragePool", ["level"], ["pooled"], kernel_shape=[32, 32], strides=[32, 32]
        ),
        helper.make_node("Resize", ["pooled", "", "scales"], ["coarse"], mode="nearest"),
        helper.make_node("Mul", ["coarse", "nothing"], ["zero"]),
        helper.make_node("Add", ["level", "zero"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["output"]),
    ]
    constants = [
        onnx.numpy_helper.from_array(red, "red"),
        onnx.numpy_helper.from_array(np.array([1, 1, 32, 32], np.float32), "scales"),
        onnx.numpy_helper.from_array(np.zeros(1, np.float32), "nothing"),
    ]
    graph = helper.make_graph(
        nodes,
        "stand-in",
        [helper.make_tensor_value_info(name, kind, shape)],
        [helper.make_tensor_value_info("output", kind, ("N", out, "H", "W"))],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    if short_side is not None:
        helper.set_model_props(model, {"short_side": str(short_side)})
    onnx.save(model, path)
    return path


def half_red(height: int, width: int) -> Image:
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[:, : width // 2, 0] = 255
    return rgb


def test_the_matte_covers_the_picture_and_follows_the_network(stand_in: Path) -> None:
    stage = Matting(stand_in, short_side=64, smooth=0)
    assert stage.open(INFO) is INFO
    rgb = half_red(100, 180)
    item = matted(stage, rgb)
    assert item.rgb is rgb
    assert item.stamp == Stamp(0, 0)
    assert item.alpha.dtype == np.uint8
    assert item.alpha.shape == (64, 128)  # 115.2 columns, rounded to a multiple of 32
    assert (item.alpha[:, :60] == 255).all()
    assert (item.alpha[:, 68:] == 0).all()
    stage.close()


@pytest.mark.parametrize(
    ("size", "matte"),
    [((1080, 1920), (256, 448)), ((1920, 1080), (448, 256)), ((3, 5000), (256, 1024))],
)
def test_sides_become_multiples_of_32_and_stay_bounded(
    stand_in: Path, size: Size, matte: Size
) -> None:
    stage = Matting(stand_in, smooth=0)
    stage.open(INFO)
    assert stage.process([decoded(half_red(*size))])[0].alpha.shape == matte


def test_the_file_may_say_its_own_short_side(tmp_path: Path) -> None:
    stage = Matting(write_stand_in(tmp_path / "own.onnx", short_side=96), smooth=0)
    stage.open(INFO)
    assert stage.process([decoded(half_red(50, 50))])[0].alpha.shape == (96, 96)


def test_items_keep_their_order_and_a_frame_alone_gives_the_same(stand_in: Path) -> None:
    stage = Matting(stand_in, short_side=32, smooth=0)
    stage.open(INFO)
    frames = [decoded(np.roll(half_red(32, 64), 8 * n, axis=1), n) for n in range(3)]
    together = stage.process(frames)
    assert [item.stamp.index for item in together] == [0, 1, 2]
    for frame, item in zip(frames, together, strict=True):
        np.testing.assert_array_equal(stage.process([frame])[0].alpha, item.alpha)


def test_smoothing_holds_the_matte_where_the_picture_is_nearly_still(stand_in: Path) -> None:
    # Levels 127 and 129 lie on both sides of one half: the network flickers between them.
    flicker = {}
    for smooth in (0.0, 1.0):
        stage = Matting(stand_in, short_side=32, smooth=smooth)
        stage.open(INFO)
        frames = [np.full((32, 32, 3), 127 + 2 * (n % 2), np.uint8) for n in range(20)]
        mattes = [stage.process([decoded(rgb)])[0].alpha.astype(float) for rgb in frames]
        flicker[smooth] = np.abs(np.diff(mattes[10:], axis=0)).mean()
    assert flicker[1.0] < 0.2 * flicker[0.0]


def test_opening_again_forgets_the_last_stream(stand_in: Path) -> None:
    stage = Matting(stand_in, short_side=32, smooth=1.0)
    bright, dim = np.full((32, 32, 3), 132, np.uint8), np.full((32, 32, 3), 129, np.uint8)
    stage.open(INFO)
    first = stage.process([decoded(dim)])[0].alpha
    stage.process([decoded(bright)])
    stage.close()
    stage.open(INFO)
    np.testing.assert_array_equal(stage.process([decoded(dim)])[0].alpha, first)


def test_no_matting_calls_everything_the_person() -> None:
    item = matted(NoMatting(), half_red(6, 8))
    assert item.alpha.shape == (6, 8)
    assert (item.alpha == 255).all()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"name": "image"}, r"has inputs \['image'\]"),
        ({"shape": ("N", 4, "H", "W")}, r"has input tensor\(float\) \['N', 4"),
        ({"out": 2}, r"has output tensor\(float\)"),
    ],
)
def test_a_network_of_another_contract_is_refused_in_one_line(
    tmp_path: Path, change: Any, reason: str
) -> None:
    path = tmp_path / "other.onnx"
    try:
        write_stand_in(path, **change)
    except ValueError:
        pytest.skip("onnx itself refuses to build it")
    with pytest.raises(WeightsError, match=r"other\.onnx") as caught:
        Matting(path).open(INFO)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_missing_or_not_onnx_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no matting network at .*absent\.onnx"):
        Matting(tmp_path / "absent.onnx").open(INFO)
    junk = tmp_path / "junk.onnx"
    junk.write_text("this is not a network")
    with pytest.raises(WeightsError, match=r"junk\.onnx cannot be opened") as caught:
        Matting(junk).open(INFO)
    assert "\n" not in str(caught.value)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="short side"):
        Matting("any.onnx", short_side=8)
    with pytest.raises(ConfigError, match="smoothing"):
        Matting("any.onnx", smooth=2)


def test_a_missing_accelerator_is_said_and_the_cpu_used(
    stand_in: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("onnxruntime has CUDA here")
    stage = Matting(stand_in, short_side=32, device="cuda")
    with caplog.at_level(logging.WARNING):
        stage.open(INFO)
    assert "matting runs on the CPU" in caplog.text
    stage.process([decoded(half_red(32, 32))])


def test_auto_prefers_modnet_from_the_store(tmp_path: Path, stand_in: Path) -> None:
    stand_in.rename(tmp_path / MODNET_FILE)
    for choice in ("auto", "modnet"):
        stage = open_matting(choice, store_dir=tmp_path, smooth=0, short_side=32)
        stage.open(INFO)
        assert matted(stage, half_red(32, 64)).alpha[0, 0] == 255


def test_modnet_without_its_file_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="weights pull modnet"):
        open_matting("modnet", store_dir=tmp_path)


def test_none_and_a_path_are_choices_too(stand_in: Path) -> None:
    assert isinstance(open_matting("none"), NoMatting)
    stage = open_matting(str(stand_in))
    stage.open(INFO)
