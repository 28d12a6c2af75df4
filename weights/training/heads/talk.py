"""Make the sample clips: `python -m tpvideo.weights.training.heads.talk --pack PACK OUT`.

OUT/talk.mp4 is a person who talks in a room; OUT/talk_novel_-0.3.mp4 the same person at the
same time from the place that `tpvideo talk.mp4 --yaw -0.3` imagines.
"""

from __future__ import annotations

import logging
from pathlib import Path

import click

from tpvideo.pipeline.errors import OutputError, TpvideoError
from tpvideo.weights.training.heads import require_training_extra

log = logging.getLogger(__name__)

_PITCH_HZ = {"male": 118.0, "female": 205.0}


@click.command(name="talk")
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@click.option("--pack", type=click.Path(path_type=Path), required=True, help="Head asset pack.")
@click.option("--seed", default=3004, show_default=True, help="Who talks, and what.")
@click.option("--yaw", default=-0.3, show_default=True, help="Of the novel view, radians.")
@click.option("--seconds", default=5.0, show_default=True, help="Length of the clip.")
def main(out: Path, pack: Path, seed: int, yaw: float, seconds: float) -> None:
    """Render a talking person with sound into OUT, and the true novel view beside it."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        require_training_extra()
        _make(out, pack, seed, yaw, seconds)
    except TpvideoError as error:
        raise click.ClickException(str(error)) from error


def _make(out: Path, root: Path, seed: int, yaw_rad: float, seconds: float) -> None:
    import cv2
    import numpy as np

    from tpvideo.weights.training.heads.clip import RATE, ClipConfig, casting, perform, takes
    from tpvideo.weights.training.heads.movie import Movie
    from tpvideo.weights.training.heads.pack import Pack
    from tpvideo.weights.training.heads.speech import voice

    cv2.setNumThreads(1)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(out, f"{error.strerror}; choose another folder") from error
    pack = Pack(root)
    config = ClipConfig(seconds=seconds, novel_yaw_rad=yaw_rad)
    performance = perform(seed, config)
    pitch = _PITCH_HZ[casting(pack, seed).sex]
    sound = voice(performance.sounds, seconds, pitch, np.random.default_rng((seed, 2)))
    size = (config.width_px, config.height_px)
    side = config.novel_px
    with (
        Movie(out / "talk.mp4", *size, RATE, crf=19, sound=sound) as room,
        Movie(out / f"talk_novel_{yaw_rad:g}.mp4", side, side, RATE, crf=19) as novel,
    ):
        for i, take in enumerate(takes(pack, seed, performance, config), 1):
            room.show(take.room)
            novel.show(take.novel)
            if i % RATE == 0:
                log.info("%g s of %g", i / RATE, seconds)


if __name__ == "__main__":
    main()
