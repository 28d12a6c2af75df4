"""Processor time of each part of inversion and volume rendering, plain and lean, interleaved.

    OMP_NUM_THREADS=1 python bench/parts.py --model default

The picture is the first face of a clip. Only the march depends on what it shows: it is
shorter the more of a ray is hidden or empty. PSNR is of the finished picture to the plain one.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from tpvideo.pipeline.doctor_machine import has_amx, has_avx512_bf16
from tpvideo.stages import geometry
from tpvideo.stages.decode import FileSource
from tpvideo.stages.face import FaceCrop
from tpvideo.stages.facefinder import FaceFinder
from tpvideo.stages.invert import network_input
from tpvideo.stages.networks.lean import make_lean
from tpvideo.stages.networks.triplanenet import TriPlaneNet
from tpvideo.weights import store

CLIP = Path(__file__).resolve().parents[1] / "samples" / "talk.mp4"
Run = Callable[[str, Callable[[], Any]], Any]


def head_of(clip: Path, side: int) -> tuple[Tensor, Tensor]:
    """The first face of a clip as the network takes it, and its camera."""
    source, face = FileSource(clip), FaceCrop(FaceFinder.load(store.find("face")))
    face.open(source.open())
    try:
        found = next(p.face for item in source for p in face.process([item]) if p.face)
    finally:
        source.close()
    return network_input([found], side, torch.device("cpu"))


def frame(network: TriPlaneNet, picture: Tensor, label: Tensor, novel: Tensor, run: Run) -> Tensor:
    """One frame, part by part."""
    decoder = network.decoder
    ws = run("encoder", lambda: network.encode(picture))
    first = run("backbone", lambda: decoder.planes(ws))
    missed = run("first render, residuals", lambda: network.residuals(picture, label, ws, first))
    planes = run("offsets U-Net", lambda: network.triplanenet_encoder(missed, first).float())
    seen = run("march", lambda: decoder.look(planes, novel))
    view = run("super-resolution", lambda: decoder.finish(seen, ws, decoder.raw_side))
    image: Tensor = view.image[:, :3].float()
    return image


def main() -> None:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="default")
    parser.add_argument("--clip", type=Path, default=CLIP)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    torch.set_num_threads(1)
    networks = {"plain": store.load(args.model)[0]}
    networks["lean, torch alone"] = make_lean(store.load(args.model)[0], compiled=False)
    networks["lean"] = make_lean(store.load(args.model)[0])
    if has_amx() or has_avx512_bf16():
        networks["lean bfloat16"] = make_lean(store.load(args.model)[0], torch.bfloat16)
    picture, label = head_of(args.clip, networks["plain"].side)
    novel = torch.from_numpy(geometry.label(geometry.look_at_camera(-0.3)))[None]
    spent: dict[str, dict[str, list[float]]] = {}
    gflop: dict[str, float] = {}
    pictures = {}

    def counted(part: str, work: Callable[[], Any]) -> Any:
        with FlopCounterMode(display=False) as counter:
            result = work()
        gflop[part] = counter.get_total_flops() / 1e9
        return result

    with torch.inference_mode(False), torch.no_grad():
        frame(networks["plain"], picture, label, novel, counted)
        for name, network in networks.items():  # warm
            pictures[name] = frame(network, picture, label, novel, lambda _, work: work())
        for _ in range(args.rounds):
            for name, network in networks.items():

                def timed(part: str, work: Callable[[], Any], name: str = name) -> Any:
                    begun = time.process_time()
                    result = work()
                    spent.setdefault(part, {}).setdefault(name, []).append(
                        1000 * (time.process_time() - begun)
                    )
                    return result

                frame(network, picture, label, novel, timed)
    print(f"{'CPU ms, one thread':26}{'GFLOP':>8}" + "".join(f"{name:>19}" for name in networks))
    totals = dict.fromkeys(networks, 0.0)
    for part, times in spent.items():
        medians = {name: statistics.median(times[name]) for name in networks}
        totals = {name: totals[name] + medians[name] for name in networks}
        row = "".join(f"{medians[name]:19.1f}" for name in networks)
        print(f"{part:26}{gflop[part]:8.2f}{row}")
    print(f"{'all':26}{sum(gflop.values()):8.2f}" + "".join(f"{t:19.1f}" for t in totals.values()))
    for name in list(networks)[1:]:
        error = (pictures[name] - pictures["plain"]).square().mean().item()
        print(f"{name}: {10 * math.log10(4 / error):.1f} dB to plain")


if __name__ == "__main__":
    main()
