from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tpvideo.pipeline.errors import MissingExtraError, WeightsError
from tpvideo.stages.insight import DETECTOR, LANDMARKS, InsightFaceFinder


def test_without_the_extra_the_error_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "insightface.app.common", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tpvideo\[insightface\]'"):
        InsightFaceFinder(tmp_path)


def test_without_its_models_the_error_names_file_and_folder(tmp_path: Path) -> None:
    pytest.importorskip("insightface")
    with pytest.raises(WeightsError, match=f"no {DETECTOR} in .*non-commercial"):
        InsightFaceFinder(tmp_path)


def test_angles_and_points_come_in_our_convention(tmp_path: Path) -> None:
    """A bright spot stands for a face whose nose points 20 degrees to image right."""
    pytest.importorskip("insightface")
    _stand_ins(tmp_path, yaw_deg=20)
    finder = InsightFaceFinder(tmp_path)
    rgb = np.zeros((640, 640, 3), np.uint8)
    rgb[320:328, 400:408] = 255
    (box,) = finder.find(rgb)
    reading = finder.read(rgb, box)
    assert math.degrees(reading.yaw_rad) == pytest.approx(-20, abs=0.5)
    assert math.degrees(reading.pitch_rad) == pytest.approx(0, abs=0.5)
    assert reading.score > 0.5
    # the stand-in plants the nose on the corner of the bright cell
    assert np.linalg.norm(reading.points[2] - [400, 320]) < 8
    assert finder.read(np.zeros_like(rgb), box).score == 0


def _stand_ins(folder: Path, yaw_deg: float) -> None:
    """Models with InsightFace's inputs and outputs: a detector that sees bright cells of 8
    pixels, and landmarks of the mean shape, turned."""
    onnx = pytest.importorskip("onnx")
    from insightface.data import get_object

    make = onnx.helper
    nodes: list[Any] = []
    constants: dict[str, Any] = {"weight": np.full((1, 3, 1, 1), 1 / 3, np.float32)}
    constants["column"] = np.array([-1, 1], np.int64)
    nodes.append(make.make_node("Conv", ["picture", "weight"], ["gray"]))
    outputs: dict[str, list[str]] = {"score": [], "box": [], "points": []}
    for stride in (8, 16, 32):
        window = {"kernel_shape": [stride, stride], "strides": [stride, stride]}
        nodes += [
            make.make_node("AveragePool", ["gray"], [f"cells{stride}"], **window),
            make.make_node("Reshape", [f"cells{stride}", "column"], [f"list{stride}"]),
            make.make_node("Concat", [f"list{stride}"] * 2, [f"pair{stride}"], axis=1),
            make.make_node("Reshape", [f"pair{stride}", "column"], [f"flat{stride}"]),
            make.make_node("Mul", [f"flat{stride}", f"on{stride}"], [f"score{stride}"]),
            make.make_node("Mul", [f"flat{stride}", "none"], [f"zero{stride}"]),
            make.make_node("Add", [f"zero{stride}", "reach"], [f"box{stride}"]),
            make.make_node("Add", [f"zero{stride}", "five"], [f"points{stride}"]),
        ]
        constants[f"on{stride}"] = np.array([0.95 if stride == 8 else 0.0], np.float32)
        for kind in outputs:
            outputs[kind].append(f"{kind}{stride}")
    constants["none"] = np.array([0.0], np.float32)
    constants["reach"] = np.array([[5, 5, 5, 5]], np.float32)
    constants["five"] = np.array([[-2, -2, 2, -2, 0, 0, -1.5, 2.5, 1.5, 2.5]], np.float32)
    widths = {"score": 1, "box": 4, "points": 10}
    sizes = {name: ["n", widths[kind]] for kind, names in outputs.items() for name in names}
    _write(folder / DETECTOR, nodes, constants, [1, 3, "h", "w"], sizes)

    mean = np.asarray(get_object("meanshape_68.pkl"), np.float32)
    mean = (mean - mean.mean(0)) / np.abs(mean - mean.mean(0)).max() * 0.6
    cos, sin = math.cos(math.radians(yaw_deg)), math.sin(math.radians(yaw_deg))
    turned = mean @ np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]], np.float32)
    shape = np.concatenate([np.zeros((1103 - 68, 3), np.float32), turned]).reshape(1, 3309)
    landmark_nodes = [
        make.make_node("ReduceMean", ["picture"], ["mean"], axes=[1, 2, 3], keepdims=0),
        make.make_node("Reshape", ["mean", "column"], ["row"]),
        make.make_node("Mul", ["row", "none"], ["zero"]),
        make.make_node("Add", ["zero", "shape"], ["out"]),
    ]
    constants = {
        "none": np.array([0], np.float32),
        "shape": shape,
        "column": np.array([-1, 1], np.int64),
    }
    _write(folder / LANDMARKS, landmark_nodes, constants, [1, 3, 192, 192], {"out": [1, 3309]})


def _write(path: Path, nodes: Any, constants: Any, shape: Any, outputs: Any) -> None:
    onnx = pytest.importorskip("onnx")
    make = onnx.helper
    kind = onnx.TensorProto.FLOAT
    graph = make.make_graph(
        nodes,
        "stand-in",
        [make.make_tensor_value_info("picture", kind, shape)],
        [make.make_tensor_value_info(name, kind, size) for name, size in outputs.items()],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
