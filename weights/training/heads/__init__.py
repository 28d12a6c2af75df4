"""Synthetic heads: people who do not exist, drawn from exactly known cameras.

`pack` loads the assets, `identity`, `expression` and `light` draw a person, a face and a light
from a random generator, `head` and `scene` put them together, `render` makes pictures, `views`
the training and held-out sets, `talk` a clip with sound. docs/heads.md tells the whole story.

Everything but this file and the command lines needs the `training` extra.
"""

from __future__ import annotations

from importlib.util import find_spec

from tpvideo.pipeline.errors import MissingExtraError


def require_training_extra() -> None:
    """Raise MissingExtraError, naming the package, unless the generator's libraries are there."""
    packages = {"numba": "numba", "cv2": "opencv-python-headless", "scipy": "scipy"}
    for module, package in packages.items():
        if find_spec(module) is None:
            raise MissingExtraError(package, "training", "the synthetic-head generator")
