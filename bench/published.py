"""Make `--model ffhq512` run on a clip with files built like the published ones.

    python bench/published.py CLIP OUT.mp4 [--offsets pixelshuffle] [-- OPTIONS]

EG3D's `.pth` and TriPlaneNet's `.pt` are filled by the seeded rule of `weights/rule.py`, imported
and used through the command line, each step in a process of its own. The picture means nothing:
the weights are random. It prints the time and peak memory of each step.
"""

from __future__ import annotations

import argparse
import collections
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from run import CHILD, count_frames

SALT = "A6:"
"""Of the public golden set."""

RENDERING = {
    "superresolution_module": "training.superresolution.SuperresolutionHybrid8XDC",
    "depth_resolution": 48, "depth_resolution_importance": 48, "ray_start": 2.25, "ray_end": 3.3,
    "box_warp": 1, "avg_camera_radius": 2.7, "avg_camera_pivot": [0, 0, 0.2], "c_scale": 1,
    "disparity_space_sampling": False, "clamp_mode": "softplus", "image_resolution": 512,
    "c_gen_conditioning_zero": False, "gpc_reg_prob": 0.5, "superresolution_noise_mode": "none",
    "density_reg": 0.25, "density_reg_p_dist": 0.004, "reg_type": "l1", "decoder_lr_mul": 1.0,
    "sr_antialias": True,
}  # fmt: skip

WIDTHS = {"channel_base": 32768, "channel_max": 512, "fused_modconv_default": "inference_only"}

INIT = {
    "z_dim": 512, "w_dim": 512, "c_dim": 25, "img_resolution": 512, "img_channels": 3,
    "mapping_kwargs": {"num_layers": 2}, "num_fp16_res": 0, "conv_clamp": None,
    "sr_num_fp16_res": 4, "sr_kwargs": WIDTHS, **WIDTHS, "rendering_kwargs": RENDERING,
}  # fmt: skip


def build(folder: Path, offsets: str) -> None:
    """Write `ffhq512-128.pth` and `triplanenet_v2_final.pt` (parity spec, section 16)."""
    import numpy as np
    import torch

    from tpvideo.stages.networks.triplanenet import TriPlaneNet
    from tpvideo.weights.rule import make_tensor

    with torch.device("meta"):
        shapes = TriPlaneNet(offsets={"up": offsets}).state_dict()
    average = make_tensor(SALT, "latent_avg", list(shapes.pop("latent_avg").shape))
    state = collections.OrderedDict(
        (key, make_tensor(SALT, key, list(tensor.shape))) for key, tensor in shapes.items()
    )
    generator = collections.OrderedDict(
        (key.removeprefix("decoder."), tensor)
        for key, tensor in state.items()
        if key.startswith("decoder.")
    )
    torch.save(
        {"latent_avg": average[None], "init_kwargs": INIT, "G_ema": generator},
        folder / "ffhq512-128.pth",
    )
    content: dict[str, Any] = {
        "state_dict": state,
        "opts": {"n_styles": 14, "use_pixelshuffle": offsets == "pixelshuffle",
                 "device": "cuda:0", "exp_dir": "experiment", "checkpoint_path": None},
        "best_val_loss": np.float64(0.25),
        "step": 1_000_000,
    }  # fmt: skip
    for name in ("triplane", "psp"):
        prefix = "triplanenet_encoder." if name == "triplane" else "psp_encoder."
        content[f"{name}_optimizer"] = _optimizer(
            [tensor for key, tensor in state.items() if key.startswith(prefix)]
        )
    torch.save(content, folder / "triplanenet_v2_final.pt")


def _optimizer(parameters: list[Any]) -> dict[str, Any]:
    """The state of RAdam with look-ahead; its averages share the memory of the weights."""
    averages = ("exp_avg", "exp_avg_sq", "slow_buffer")
    state = {
        index: {"step": 1_000_000, **dict.fromkeys(averages, parameter)}
        for index, parameter in enumerate(parameters)
    }
    group = {"lr": 1e-4, "betas": (0.95, 0.999), "eps": 1e-5, "weight_decay": 0,
             "params": list(state)}  # fmt: skip
    return {"state": state, "param_groups": [group]}


def run_step(name: str, arguments: list[str]) -> None:
    """Run the command `tpvideo` with these arguments, and print what it took."""
    print(f"$ tpvideo {' '.join(arguments)}", flush=True)
    command = [sys.executable, "-c", CHILD, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    said, _, figure_text = done.stdout.partition("BENCH ")
    print(said, flush=True)
    figures = json.loads(figure_text or '{"code": 1}')
    if figures["code"]:
        sys.exit(f"{name} failed")
    print(
        f"{name}: {figures['wall_s']:.1f} s, {figures['cpu_s']:.1f} s of CPU, "
        f"peak memory {figures['peak_mib']:.0f} MiB\n",
        flush=True,
    )


def main() -> None:
    """Build, import, render."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clip", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--offsets", choices=("nearest", "pixelshuffle"), default="nearest")
    parser.add_argument("options", nargs="*", help="further options of the program, after --")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        os.environ["TPVIDEO_WEIGHTS"] = str(folder / "weights")
        # In a process of its own, or its memory would be counted into that of the next ones.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            pool.submit(build, folder, args.offsets).result()
        run_step(
            "import EG3D",
            ["weights", "import", "--accept-licence", str(folder / "ffhq512-128.pth")],
        )
        run_step(
            "import",
            ["weights", "import", "--accept-licence", str(folder / "triplanenet_v2_final.pt")],
        )
        run_step(
            "render",
            [str(args.clip), "--trim", "0:00-0:00.1", "--yaw", "-0.3", "--model", "ffhq512",
             "-o", str(args.target), "--overwrite", "--progress", "plain", *args.options],
        )  # fmt: skip
    print(f"{count_frames(args.target)} frames in {args.target}")


if __name__ == "__main__":
    main()
