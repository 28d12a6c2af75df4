"""The published order of inference, written plainly, against the program's own order.

    python bench/reference.py [--model seeded] [--precision float32] [--device cpu] [--json FILE]
    python bench/reference.py --save FILE      # the seeded weights, for tpvideo --model FILE

What the original does for one frame and one novel view (parity spec, section 19): the whole
network twice; in each pass the style encoder, the backbone once for each of the first branch's two
renders, the renders with doubled depth samples, a super-resolution for each of the four, the
tri-plane encoder. In all 2 style encodings, 4 backbones, 8 renders, 8 super-resolutions, 2
tri-plane encodings, in float32, one frame at a time, planes read with grid_sample.

Ours: one encoding, one backbone, the two looks that the second branch needs, one novel view,
through the lean networks and the compiled march. Once with the doubled samples, where the pictures
must agree, and once with the model's own, as the program runs. On a GPU also replayed as CUDA
graphs, for one frame and for eight at once.

Both run the same modules, so the reference already has this project's convolutions; the original's
own are slower. Without the published checkpoint, weights come from the seeded rule of the parity
set: the arithmetic is the same, the picture means nothing.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tpvideo.stages import geometry
from tpvideo.stages.networks import generator as generator_module
from tpvideo.stages.networks.lean import make_lean, march_for
from tpvideo.stages.networks.triplane import sample_planes
from tpvideo.stages.networks.triplanenet import TriPlaneNet, mirror
from tpvideo.stages.replay import Replay
from tpvideo.weights import store
from tpvideo.weights.rule import make_tensor

SALT = "A6:"
"""Of the public golden set."""


def plain_planes(planes: Tensor, points: Tensor, *, box: float, axes: Any) -> Tensor:
    """Plane features at points, [B, N, C], as the paper's own code reads them: grid_sample."""
    batch, channels, height, width = planes.shape
    grid = torch.stack([points[..., list(pair)] for pair in axes], dim=1) * (2 / box)
    sampled = F.grid_sample(
        planes.reshape(batch * 3, channels // 3, height, width),
        grid.reshape(batch * 3, 1, -1, 2),
        align_corners=False,
    )
    return sampled.reshape(batch, 3, channels // 3, -1).mean(dim=1).transpose(1, 2)


def published(network: TriPlaneNet, image: Tensor, label: Tensor, novel: Tensor) -> Tensor:
    """[1, 3, S, S] the novel view, by two whole passes."""
    generator_module.sample_planes = plain_planes
    try:
        _whole_pass(network, image, label, mirror(label))
        return _whole_pass(network, image, label, novel)
    finally:
        generator_module.sample_planes = sample_planes


def _whole_pass(network: TriPlaneNet, image: Tensor, label: Tensor, camera: Tensor) -> Tensor:
    generator = network.decoder
    ws = network.encode(image)
    generator.planes(ws)  # for the look from the input's camera; the next one is for the mirror's
    planes = generator.planes(ws)
    residuals = network.residuals(image, label, ws, planes)  # two renders, two super-resolutions
    refined = network.triplanenet_encoder(residuals, planes).float()
    generator.render(refined, ws, label)
    return generator.render(refined, ws, camera).image.float()


def ours(network: TriPlaneNet, image: Tensor, label: Tensor, novel: Tensor) -> Tensor:
    """[1, 3, S, S] the novel view, as the stages compute it."""
    found = network.invert(image, label)
    return network.render(found.planes, found.ws, novel).image.float()


def seeded() -> TriPlaneNet:
    """The published sizes with the parity set's rule for weights."""
    network = TriPlaneNet()
    state = {
        name: make_tensor(SALT, name, list(value.shape))
        for name, value in network.state_dict().items()
    }
    network.load_state_dict(state)
    return network.eval().requires_grad_(False)


def timed(work: Callable[[], Tensor]) -> tuple[Tensor, float, float]:
    """The result, seconds by the clock and of the processor."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    if result.is_cuda:
        torch.cuda.synchronize()
    return result, time.perf_counter() - wall, time.process_time() - cpu


def psnr_db(picture: Tensor, truth: Tensor) -> float:
    """Of pictures in -1..1."""
    error = float((picture - truth).square().mean())
    return float("inf") if error == 0 else 10 * float(np.log10(4 / error))


def doubled(network: TriPlaneNet, factor: int) -> TriPlaneNet:
    """The same network with so many times the samples along each ray; weights are shared."""
    changed = copy.copy(network)
    changed._modules = dict(network._modules)
    changed._modules["decoder"] = copy.copy(network.decoder)
    changed.decoder.coarse *= factor
    changed.decoder.fine *= factor
    if changed.decoder.marcher is not None:
        changed.decoder.marcher = march_for(changed.decoder)
    return changed


def orders_of(
    network: TriPlaneNet, precision: str, device: torch.device
) -> dict[str, tuple[Callable[[], Tensor], int]]:
    """The ways to one novel view, by name, and how many frames each makes of it at once."""
    seen = torch.from_numpy(geometry.label(geometry.label_camera(0.1, 0.05)))[None]
    novel = torch.from_numpy(geometry.label(geometry.look_at_camera(-0.3)))[None]
    image = make_tensor(SALT, "input", [1, 3, network.side, network.side]).clamp(-1, 1)
    given = tuple(each.to(device) for each in (image, seen, novel))
    lean = make_lean(copy.deepcopy(network), getattr(torch, precision))
    twice, lean_twice = doubled(network, 2), doubled(lean, 2)
    orders: dict[str, tuple[Callable[[], Tensor], int]] = {
        "published order, doubled samples, float32": (lambda: published(twice, *given), 1),
        f"ours, doubled samples, {precision}": (lambda: ours(lean_twice, *given), 1),
        f"ours, the model's samples, {precision}": (lambda: ours(lean, *given), 1),
    }
    if device.type == "cuda":
        many = tuple(each.expand(8, *each.shape[1:]).contiguous() for each in given)
        replay = Replay("the novel view", lambda *inputs: ours(lean, *inputs))
        orders |= {
            f"ours, the model's samples, {precision}, graph": (lambda: replay(*given), 1),
            f"ours, the model's samples, {precision}, graph of 8": (lambda: replay(*many), 8),
        }
    return orders


def main() -> None:
    """Run the orders in turn; print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="seeded", help="a model of the store; or seeded weights")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=0, help="0: all cores")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--save", type=Path, help="write the seeded weights and end")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.save:
        store.save(args.save, seeded().state_dict(), {})
        return
    device = torch.device(args.device)
    network = seeded() if args.model == "seeded" else store.load(args.model, device)[0]
    rows = compared(orders_of(network.to(device), args.precision, device), args.repeat)
    print("| order | s a frame | CPU s | times faster (clock) | (CPU) | PSNR to the first, dB |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        figures = [f"{row[key]:.4f}" for key in ("wall_s", "cpu_s")]
        figures += [f"{row[key]:.2f}" for key in ("wall_ratio", "cpu_ratio")]
        print(f"| {row['order']} | {' | '.join(figures)} | {row['psnr_db']:.1f} |")
    if args.json:
        report = {"device": args.device, "threads": torch.get_num_threads(), "rows": rows}
        args.json.write_text(json.dumps(report) + "\n")


@torch.inference_mode()
def compared(
    orders: dict[str, tuple[Callable[[], Tensor], int]], repeat: int
) -> list[dict[str, Any]]:
    """Medians of each order and ratios to the first; they take turns."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in orders}
    pictures: dict[str, Tensor] = {}
    first, *others = orders
    for name in others if len(others) == 2 else orders:  # on a CPU the first takes long
        orders[name][0]()  # compile and warm
    for _ in range(repeat):
        for name, (work, frames) in orders.items():
            pictures[name], wall, cpu = timed(work)
            found[name].append((wall / frames, cpu / frames))
            print(f"{name}: {wall:.4f} s, {cpu:.4f} s of CPU", flush=True)
    base = [statistics.median(values) for values in zip(*found[first], strict=True)]
    rows = []
    for name, values in found.items():
        wall, cpu = (statistics.median(column) for column in zip(*values, strict=True))
        rows.append(
            {"order": name, "wall_s": wall, "cpu_s": cpu, "wall_ratio": base[0] / wall,
             "cpu_ratio": base[1] / cpu,
             "psnr_db": psnr_db(pictures[name][:1], pictures[first])}
        )  # fmt: skip
    return rows


if __name__ == "__main__":
    main()
