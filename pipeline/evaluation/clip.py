"""How well a clip is shown again from its own camera: likeness, and steadiness in time."""

from __future__ import annotations

import math
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tpvideo.pipeline import app
from tpvideo.pipeline.config import Settings
from tpvideo.pipeline.errors import NoFaceError
from tpvideo.pipeline.frame import Face, Image, Inverted, Posed, StreamInfo
from tpvideo.pipeline.runner import Pipeline, read
from tpvideo.stages import geometry, pixels
from tpvideo.stages.cut import cut
from tpvideo.stages.decode import FileSource
from tpvideo.stages.face import FaceCrop
from tpvideo.stages.facefinder import FaceBox, Finder
from tpvideo.stages.invert import network_input
from tpvideo.stages.limits import Limits
from tpvideo.stages.render import NovelView, resized
from tpvideo.weights.evaluation.paper import SIDE_PX, Trial, Tried, tables
from tpvideo.weights.evaluation.report import Finding, Measure, Row, mean_and_error, measure_table
from tpvideo.weights.evaluation.scores import psnr, ssim
from tpvideo.weights.evaluation.views import sheet_of

LEAST_DB = 28.0
"""What the same view should reach."""
SHOWN_EVERY = 25
SHOWN = 6
"""Frames on the contact sheet: the source, cut out, as the program shows it, as the network does,
and that from the paper's novel views."""
SHOWN_BY_PROGRAM = "the program, same view"

MEASURES = {
    "PSNR (dB)": Measure("psnr_db"),
    "SSIM": Measure("ssim", ".3f"),
    "acceleration": Measure("acceleration", ".5f"),
    "of the source": Measure("source_acceleration", ".5f"),
    "warping error": Measure("warping", ".5f"),
    "of the source's crop": Measure("source_warping", ".5f"),
}


def evaluate(
    source: Path,
    settings: Settings,
    machine: app.Machine,
    networks: app.Networks,
    most: int | None = None,
) -> Finding:
    """Scores of a clip or photograph, seen again from where it was taken.

    Args:
        settings: with the view `follow` at yaw and pitch 0 on black.
        machine: of `app.working_machine`.
        most: frames with a face that are looked at.

    Raises:
        NoFaceError: no frame shows a face.
    """
    view = app.novel_view(settings, machine, networks.triplane)
    watched = Watched(view, networks.finder, settings.size, most, Trial(networks.triplane))
    pipeline = app.inverted(source, settings, machine, networks).into(watched)
    watched.pipeline = pipeline
    pipeline.run()
    rows = watched.rows
    if not rows:
        raise NoFaceError(f"no face in the frames of {source} that were looked at")
    table = measure_table(rows, {k: v for k, v in MEASURES.items() if _is_known(rows, v.key)})
    own = watched.of_network
    notes = [*_notes(watched), *watched.trial.notes(own)]
    sheet = np.concatenate(watched.strips) if watched.strips else None
    return Finding("clip", str(source), [*rows, *own], [table, *tables(own)], notes, sheet)


class Watched:
    """A sink that draws each head from its own camera and holds it against the source.

    Args:
        view: what draws.
        finder: reads the landmarks of both.
        size: of the pictures, pixels.
        most: frames after which enough is seen.
        trial: scores the network's own pictures.
    """

    def __init__(
        self, view: NovelView, finder: Finder, size: int, most: int | None, trial: Trial
    ) -> None:
        self.view, self.finder, self.size, self.most = view, finder, size, most
        self.trial = trial
        self.pipeline: Pipeline | None = None
        self.rows: list[Row] = []
        """Of what the program shows: detail and all."""
        self.of_network: list[Row] = []
        """Of the network's own pictures, by the paper's measures."""
        self.strips: list[Image] = []
        self.missed = 0
        """Frames without a face."""
        self._points: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
        self._last: tuple[Image, Image] | None = None

    def open(self, info: StreamInfo) -> None:
        """Begin."""
        self.view.open(info)

    def consume(self, item: Inverted) -> None:
        """Measure a frame."""
        if item.face is None:
            self.missed += 1
            self._forget()
            return
        if self.most is not None and len(self.rows) >= self.most:
            return
        if item.cut:
            self._forget()
        [drawn] = self.view.process([item])
        self._compare(item, item.face, drawn.rgb)
        if self.pipeline is not None and len(self.rows) == self.most:
            self.pipeline.stop()

    def finish(self) -> None:
        """Nothing is written."""

    def close(self) -> None:
        """Nothing is held."""
        self.view.close()

    def _forget(self) -> None:
        self._points, self._last = [], None

    def _compare(self, item: Inverted, face: Face, drawn: Image) -> None:
        own, matte, box = level(item.rgb, face, self.size)
        shown, truth, alpha = (
            pixels.to_tensor([picture]).add(1).div(2) for picture in (drawn, own, matte)
        )
        mask = (alpha > 0.5).float()
        if not bool(mask.any()):
            return
        scores = {
            "psnr_db": float(psnr(shown, truth * alpha, mask)),
            "ssim": float(ssim(shown, truth * alpha, mask)),
        }
        scores |= self._movement(item.rgb, box, drawn)
        pair = (own, drawn)
        if self._last is not None and find_spec("cv2") is not None:
            scores |= warping_errors(*self._last, *pair, mask[0, 0].numpy())
        self._last = pair
        yaw = geometry.angles(face.camera[:16].reshape(4, 4))[0]
        self.rows.append(Row(str(item.stamp.index), SHOWN_BY_PROGRAM, yaw, 0.0, scores))
        tried = self._tried(face, str(item.stamp.index))
        self.of_network += tried.rows
        if (len(self.rows) - 1) % SHOWN_EVERY == 0 and len(self.strips) < SHOWN:
            cut_out = pixels.to_images(truth * alpha * 2 - 1)[0]
            row = [resized(picture, 128) for picture in (own, cut_out, drawn)]
            self.strips.append(np.concatenate([*row, sheet_of([tried.strip[1:]], 128)], axis=1))

    def _tried(self, face: Face, name: str) -> Tried:
        network = self.trial.network
        image, label = network_input([face], network.side, self.view.device)
        truth, _ = network_input([face], SIDE_PX, self.view.device)
        return self.trial(name, image, truth, label)

    def _movement(self, rgb: Image, box: FaceBox, drawn: Image) -> dict[str, float]:
        """Mean acceleration of the five landmarks over three frames, in sides of the crop a frame
        squared, in what was drawn and in the source's own picture."""
        middle = FaceBox(np.full(2, self.size / 2), float(self.size), box.roll_rad, 1.0)
        seen = self.finder.read(rgb, box).points / box.side_px
        made = self.finder.read(drawn, middle).points / self.size
        self._points = [*self._points[-2:], (made, seen)]
        if len(self._points) < 3:
            return {}
        first, second, third = (np.stack(points) for points in self._points)
        made_, seen_ = np.linalg.norm(first - 2 * second + third, axis=2).mean(axis=1)
        return {"acceleration": float(made_), "source_acceleration": float(seen_)}


def level(rgb: Image, face: Face, size: int) -> tuple[Image, Image, FaceBox]:
    """The source in the frame of a view that follows it: the crop's square, but level.

    Returns:
        [size, size, 3] colours, [size, size] matte, and the crop's place in the source.
    """
    crop_px = face.crop.shape[0]
    turn = face.image_from_crop
    roll = math.atan2(turn[1, 0], turn[0, 0])
    side = face.side_px
    centre = turn[:, :2] @ [crop_px / 2, crop_px / 2] + turn[:, 2]
    own = cut(rgb, geometry.image_from_crop(geometry.CropFit(centre, side, 0.0), size), size)
    in_crop = geometry.CropFit(np.full(2, crop_px / 2), float(crop_px), -roll)
    matte = cut(face.alpha, geometry.image_from_crop(in_crop, size), size, "matte")
    return own, matte, FaceBox(centre, side, roll, 1.0)


def warping_errors(
    own_before: Image, before: Image, own: Image, now: Image, mask: NDArray[np.float32]
) -> dict[str, float]:
    """Mean squared difference (0..1 colours) between a picture and the one before it, moved as the
    source moved (dense inverse search, Kroeger et al. 2016); also of the source itself.

    Args:
        own_before, own: [S, S, 3] the source.
        before, now: [S, S, 3] what was drawn.
        mask: [S, S] where the head is.
    """
    cv2: Any = import_module("cv2")  # its own types lack the search
    grey = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (own, own_before)]
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    flow = search.calc(grey[0], grey[1], None)
    rows, columns = np.mgrid[: own.shape[0], : own.shape[1]].astype(np.float32)
    at = columns + flow[..., 0], rows + flow[..., 1]
    errors = []
    for earlier, later in ((before, now), (own_before, own)):
        moved = cv2.remap(earlier, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        difference = (moved.astype(np.float32) - later) / 255
        errors.append(float((difference**2).mean(axis=2)[mask > 0].mean()))
    return {"warping": errors[0], "source_warping": errors[1]}


def _is_known(rows: list[Row], key: str) -> bool:
    return any(key in row.scores for row in rows)


def _notes(watched: Watched) -> list[str]:
    rows = watched.rows
    frames = len(rows)
    notes = [
        f"{frames} frames with a face, {watched.missed} without; --view follow --yaw 0 at "
        f"{watched.size} pixels; foreground PSNR and SSIM on black within the matte; ± is the "
        "standard error over frames, which are not independent."
    ]
    found = mean_and_error(rows, "psnr_db")
    assert found is not None
    verdict = "holds" if found[0] >= LEAST_DB else "FAILS"
    notes.append(f"target: ≥ {LEAST_DB:g} dB in the same view: {verdict} ({found[0]:.2f} dB)")
    made = mean_and_error(rows, "acceleration")
    source = mean_and_error(rows, "source_acceleration")
    if made and source and source[0] > 0:
        notes.append(
            f"steadiness: landmarks accelerate {made[0] / source[0]:.2f} times as much as in the "
            "source (our own face network reads both; sides of the crop a frame squared)"
        )
    if not _is_known(rows, "warping") and frames > 1:
        notes.append("no warping error: it needs OpenCV; pip install 'tpvideo[training]'")
    return notes


def face_in(
    picture: Path, settings: Settings, machine: app.Machine, networks: app.Networks
) -> Face | None:
    """The face of a photograph as the program cuts it out; None where it sees none."""
    found: list[Posed] = []
    limits = Limits(pixels=settings.max_pixels, frames=settings.max_frames)
    matting = app.matting_stage(settings, machine, networks)
    face = FaceCrop(networks.finder)
    app.posed(read(FileSource(picture, limits=limits)), matting, face).into(_Kept(found)).run()
    return found[0].face


class _Kept:
    """A sink that puts everything into a list."""

    def __init__(self, found: list[Posed]) -> None:
        self.found = found

    def open(self, info: StreamInfo) -> None:
        pass

    def consume(self, item: Posed) -> None:
        self.found.append(item)

    def finish(self) -> None:
        pass

    def close(self) -> None:
        pass
