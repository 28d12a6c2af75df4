"""Write the matting network as an ONNX file with MODNet's contract."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper

from tpvideo.stages.networks.matting import STRIDE, MattingNetwork


def export_onnx(
    network: MattingNetwork, path: Path, notes: Mapping[str, str], *, half: bool = True
) -> None:
    """Write `input` [N, 3, H, W] in -1..1 to `output` [N, 1, H, W] in 0..1, all sizes free.

    Args:
        network: on any device; its mode and place stay as they are.
        path: the file to write.
        notes: metadata to keep in the file.
        half: store the weights as float16 (computed in float32 all the same).
    """
    free = {"input": {0: "N", 2: "H", 3: "W"}, "output": {0: "N", 2: "H", 3: "W"}}
    part = path.with_suffix(".part")
    was_training = network.training
    network.eval()
    example = torch.zeros(1, 3, 2 * STRIDE, 3 * STRIDE, device=next(network.parameters()).device)
    with warnings.catch_warnings():  # the exporter without onnxscript is announced as legacy
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network, (example,), part, input_names=["input"], output_names=["output"],
            dynamic_axes=free, opset_version=17, dynamo=False,
        )  # fmt: skip
    network.train(was_training)
    model = onnx.load(part)
    split_last_join(model)
    if half:
        _store_half(model)
    helper.set_model_props(model, dict(notes))
    onnx.checker.check_model(model)
    onnx.save(model, part)
    part.replace(path)


def split_last_join(model: onnx.ModelProto) -> None:
    """Let the last step convolve the doubled features and the picture apart and add the results,
    instead of joining their channels, in place: the same but for rounding, and the runtime keeps to
    its fast layout, which wants channels by the eight or sixteen.

    Weights must be float32, as they are before `_store_half`.
    """
    graph = model.graph
    nodes = list(graph.node)
    place = next(
        at for at, node in enumerate(nodes) if "input" in node.input and node.op_type == "Concat"
    )
    join, mix = nodes[place], nodes[place + 1]
    assert mix.op_type == "Conv" and mix.input[0] == join.output[0]
    weight = next(value for value in graph.initializer if value.name == mix.input[1])
    values = numpy_helper.to_array(weight)
    graph.initializer.remove(weight)
    coarse = values.shape[1] - 3
    parts = {"coarse": values[:, :coarse], "picture": values[:, coarse:]}
    mixed = []
    for (name, part), source in zip(parts.items(), join.input, strict=True):
        key = f"{weight.name}.{name}"
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(part), key))
        convolution = onnx.NodeProto()
        convolution.CopyFrom(mix)
        bias = mix.input[2:] if name == "coarse" else []
        del convolution.input[:], convolution.output[:]
        convolution.name = f"{mix.name}/{name}"
        convolution.input.extend([source, key, *bias])
        convolution.output.append(f"{mix.output[0]}.{name}")
        mixed.append(convolution)
    total = helper.make_node("Add", [node.output[0] for node in mixed], [mix.output[0]])
    nodes[place : place + 2] = [*mixed, total]
    del graph.node[:]
    graph.node.extend(nodes)


def _store_half(model: onnx.ModelProto) -> None:
    """Keep large weights as float16 behind a cast, which the runtime folds when it loads."""
    casts = []
    for weight in model.graph.initializer:
        if weight.data_type != onnx.TensorProto.FLOAT or np.prod(weight.dims) < 64:
            continue
        name = weight.name
        values = numpy_helper.to_array(weight).astype(np.float16)
        weight.CopyFrom(numpy_helper.from_array(values, f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
