"""A folder in EG3D's format, of balls: pictures, labels and, on request, mattes and σ maps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from balls import ANGLES, view
from PIL import Image

from tpvideo.stages import geometry


def save_folder(
    folder: Path, *, side: int = 64, mattes: bool = False, confidence: bool = False
) -> Path:
    """One picture for each of the four angles, on grey where there are no mattes."""
    listed = []
    for number, (yaw, pitch) in enumerate(ANGLES):
        camera, rgba, _ = view(yaw, pitch, side)
        name = f"00000/img{number:08d}.png"
        picture = rgba[..., :3] if mattes else rgba[..., :3] + 0.5 * (1 - rgba[..., 3:])
        _save(folder / name, picture)
        if mattes:
            _save(folder / "mattes" / name, rgba[..., 3])
        if confidence:
            target = (folder / "confidence" / name).with_suffix(".npy")
            target.parent.mkdir(parents=True, exist_ok=True)
            across = np.linspace(0, 1, side, dtype=np.float32)
            np.save(target, np.broadcast_to(across, (side, side)))
        listed.append([name, geometry.label(camera).tolist()])
    (folder / "dataset.json").write_text(json.dumps({"labels": listed}))
    return folder


def _save(path: Path, picture: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.round(255 * picture.clip(0, 1)).astype(np.uint8)).save(path)
