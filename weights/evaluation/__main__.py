"""python -m tpvideo.weights.evaluation MODEL HELD_OUT_FOLDER: the scores in weights/README.md."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click
import torch
from PIL import Image

from tpvideo.weights import store
from tpvideo.weights.evaluation.heldout import HeldOut, contact_sheet, score, table


@click.command()
@click.argument("model")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--sheet", type=click.Path(path_type=Path), help="Write a picture of some heads.")
@click.option("--json", "as_json", type=click.Path(path_type=Path), help="Write the numbers.")
@click.option("--dtype", type=click.Choice(["float32", "bfloat16"]), default="float32")
def main(model: str, folder: Path, sheet: Path | None, as_json: Path | None, dtype: str) -> None:
    """Score MODEL (a name or a file) on the held-out heads in FOLDER.

    Foreground PSNR in dB ± its standard error / foreground SSIM, over targets on black.
    """
    network, _ = store.load(model, device="cpu", dtype=torch.float32)
    heads = HeldOut.read(folder)
    scores, rendered = score(network, heads, dtype=getattr(torch, dtype))
    print(table(scores))
    if as_json is not None:
        as_json.write_text(json.dumps([asdict(item) for item in scores], indent=1))
    if sheet is not None:
        Image.fromarray(contact_sheet(heads, rendered)).save(sheet)


if __name__ == "__main__":
    main()
