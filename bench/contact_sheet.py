"""Draw a few frames of a source from several angles: the pictures in README and docs.

    python bench/contact_sheet.py SOURCE OUT.jpg [--frames 3] [--yaws -0.5,-0.3,0,0.3,0.5]

The first column is the source's crop.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from tpvideo.pipeline import app
from tpvideo.pipeline.config import Settings
from tpvideo.pipeline.frame import Inverted, Posed, StreamInfo
from tpvideo.pipeline.runner import read
from tpvideo.stages.backdrop import parse_backdrop
from tpvideo.stages.decode import FileSource
from tpvideo.stages.face import FaceCrop
from tpvideo.stages.invert import Inversion
from tpvideo.stages.render import NovelView, resized


class Faces(list[Posed]):
    """A sink that keeps the frames with a face."""

    def open(self, info: StreamInfo) -> None:
        """Nothing to make ready."""

    def consume(self, item: Posed) -> None:
        """Keep it."""
        if item.face is not None:
            self.append(item)

    def finish(self) -> None:
        """Nothing to finish."""

    def close(self) -> None:
        """Nothing to release."""


def pick_faces(
    source: Path, count: int, settings: Settings, machine: app.Machine, networks: app.Networks
) -> list[Posed]:
    """`count` frames with a face, spread over the source, tracked from the start."""
    matting = app.matting_stage(settings, machine, networks)
    found = Faces()
    app.posed(read(FileSource(source)), matting, FaceCrop(networks.finder)).into(found).run()
    chosen = np.linspace(0, len(found) - 1, count).round().astype(int)
    return [found[index] for index in sorted(set(chosen))] if found else []


def main() -> None:
    """Parse the command line and write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--frames", type=int, default=3)
    parser.add_argument("--yaws", default="-0.5,-0.3,0,0.3,0.5")
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--model", default="default")
    parser.add_argument("--detail", choices=("on", "off"), default="on")
    args = parser.parse_args()
    settings = Settings(model=args.model)
    machine = app.pick_machine(settings)
    networks = app.load_networks(settings, machine)
    network = networks.triplane
    faces = pick_faces(args.source, args.frames, settings, machine, networks)
    inversion = Inversion(network, device=machine.device, dtype=machine.dtype)
    rows: list[list[np.ndarray]] = []
    for posed in faces:
        [item] = inversion.process([posed])
        assert isinstance(item, Inverted) and item.face is not None
        row = [resized(item.face.crop, args.side)]
        for yaw in (float(part) for part in args.yaws.split(",")):
            view = NovelView(
                network,
                yaw_rad=yaw,
                backdrop=parse_backdrop("black"),
                size=512,
                detail=args.detail == "on",
                device=machine.device,
                dtype=machine.dtype,
            )
            [drawn] = view.process([item])
            row.append(resized(drawn.rgb, args.side))
        rows.append(row)
    if not rows:
        raise SystemExit(f"no face in {args.source}")
    sheet = np.concatenate([np.concatenate(row, axis=1) for row in rows])
    Image.fromarray(sheet).save(args.target, quality=88)


if __name__ == "__main__":
    main()
