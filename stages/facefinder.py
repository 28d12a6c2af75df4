"""Find the faces in a picture, and read landmarks and turn of a face that is known roughly."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow

from tpvideo.pipeline.frame import Image
from tpvideo.stages import geometry
from tpvideo.stages.cut import cut
from tpvideo.stages.networks.fused_conv import fuse_chains
from tpvideo.stages.networks.landmarks import STRIDE, FaceDetector, LandmarkNet, Landmarks
from tpvideo.stages.networks.lean import fold_norms
from tpvideo.stages.pixels import to_tensor
from tpvideo.weights import store

SCALES_PX = (128, 256)
"""Long sides that a picture is searched at; heads of 10 to 140 pixels are found in each."""

FINEST_PX = 512
"""Long side of the second look, when the first finds nothing."""

_Network = TypeVar("_Network", bound=torch.nn.Module)

LIKELY = 0.3
"""Least score of a place that is looked at closely."""

CERTAIN = 0.8
"""Least score of the landmark network for a face that is found."""

FOUND = 0.62
"""Least mean of the detector's and the landmark network's scores of a face."""

STEADY = 0.04
"""Farthest that a face's landmarks move, in sides, when it is read from another square."""

SURE_ERROR = 0.022
"""Expected error of the landmarks, in sides, up to which a face is believed to be one."""

SURE_APART = 0.04
"""The same for the distance between the landmarks of a crop and of its mirror image."""


class FaceBox(NamedTuple):
    """Where a face is: EG3D's square round it."""

    centre: NDArray[np.float64]
    """[2] pixels."""
    side_px: float
    roll_rad: float
    """Turn in the picture, > 0 clockwise as seen."""
    score: float
    """0..1."""


@dataclass(frozen=True, eq=False)
class FaceReading:
    """What is known of one face."""

    points: NDArray[np.float64]
    """[5, 2] alignment landmarks in pixels: left eye as seen, right eye, nose, mouth corners."""
    yaw_rad: float
    """Where the camera stands as seen from the head; > 0 toward +x: the nose points left."""
    pitch_rad: float
    """> 0: the camera stands higher."""
    roll_rad: float
    """Turn of the head in the picture, > 0 clockwise as seen."""
    score: float
    """0..1, how sure it is that this is a face."""

    def box(self) -> FaceBox:
        """The square that the landmarks and angles stand for."""
        return self._box

    @cached_property
    def _box(self) -> FaceBox:  # asked for several times a frame
        fit = geometry.crop_from_landmarks(self.points, self.yaw_rad, self.pitch_rad, self.roll_rad)
        return FaceBox(fit.centre, fit.side_px, fit.roll_rad, self.score)

    def numbers(self) -> list[float]:
        """All of it in a row."""
        angles = (self.yaw_rad, self.pitch_rad, self.roll_rad)
        return [*self.points.ravel().tolist(), *map(float, (*angles, self.score))]

    @classmethod
    def of_numbers(cls, numbers: Sequence[float]) -> Self:
        """The reading that these `numbers` are of."""
        *points, yaw_rad, pitch_rad, roll_rad, score = numbers
        return cls(np.array(points).reshape(5, 2), yaw_rad, pitch_rad, roll_rad, score)


class Finder(Protocol):
    """What the face stage needs of a face model."""

    def find(self, rgb: Image) -> list[FaceBox]:
        """Every face in a picture [H, W, 3], the largest first."""

    def read(self, rgb: Image, box: FaceBox) -> FaceReading:
        """The face at about this place; score near 0 where there is none."""


class FaceFinder:
    """Our own detector and landmark network.

    Args:
        detector, landmarks: trained networks.
        device: where they run.
    """

    def __init__(
        self,
        detector: FaceDetector,
        landmarks: LandmarkNet,
        device: torch.device | str = "cpu",
    ) -> None:
        self.device = device
        self.detector = _ready(detector, device)
        self.landmarks = _ready(landmarks, device)
        if torch.device(device).type == "cpu":
            fuse_chains(self.landmarks)  # it sees pictures of one size, the detector of many

    @classmethod
    def load(cls, path: str | os.PathLike[str], device: torch.device | str = "cpu") -> Self:
        """The networks of a weights file.

        Raises:
            WeightsError: no such file, or not a file of face networks.
        """
        state = {key: value.float() for key, value in store.tensors(path).items()}
        networks = FaceDetector(), LandmarkNet()
        for prefix, network in zip(("detector.", "landmarks."), networks, strict=True):
            part = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            store.fit(network, part, path)
        return cls(*networks, device)

    def find(self, rgb: Image) -> list[FaceBox]:
        """Every face in a picture [H, W, 3], the largest first."""
        found = self._confirmed(rgb, SCALES_PX)
        if not found and max(rgb.shape[:2]) > SCALES_PX[-1]:
            found = self._confirmed(rgb, (FINEST_PX,))
        return sorted(found, key=lambda box: -box.side_px)

    def read(self, rgb: Image, box: FaceBox) -> FaceReading:
        """The face at about this place; score near 0 where there is none."""
        side = self.landmarks.side
        fit = geometry.CropFit(box.centre, box.side_px, box.roll_rad)
        rgb_from_crop = geometry.image_from_crop(fit, side)
        crop = cut(rgb, rgb_from_crop, side)
        with torch.inference_mode():
            said = self.landmarks(to_tensor([crop, crop[:, ::-1]], self.device))
        points, mirrored = (
            geometry.alignment_landmarks(p) for p in said.points.double().cpu().numpy()
        )
        mirrored = (mirrored * (-1, 1) + (1, 0))[[1, 0, 2, 4, 3]]
        angles = np.array([geometry.head_angles(r) for r in said.rotation.double().cpu().numpy()])
        yaw, pitch, roll = (angles[0] + angles[1] * (-1, 1, -1)) / 2
        both = (points + mirrored) / 2 * side
        return FaceReading(
            both @ rgb_from_crop[:, :2].T + rgb_from_crop[:, 2],
            float(yaw),
            float(pitch),
            wrapped(float(roll) + box.roll_rad),
            _verdict(said, float(np.linalg.norm(points - mirrored, axis=1).mean())),
        )

    def _confirmed(self, rgb: Image, scales_px: tuple[int, ...]) -> list[FaceBox]:
        """What looks like a face from afar and, twice, from near."""
        likely = [box for scale in scales_px for box in self.likely(rgb, scale)]
        kept: list[FaceBox] = []
        for box in apart(likely)[:12]:
            rough = self.read(rgb, box)
            if rough.score < 0.2:
                continue
            fine = self.read(rgb, rough.box())
            score = (box.score + fine.score) / 2
            if fine.score >= CERTAIN and score >= FOUND and self._is_steady(rgb, fine):
                kept.append(fine.box()._replace(score=score))
        return apart(kept)

    def _is_steady(self, rgb: Image, face: FaceReading) -> bool:
        """Whether the landmarks stay where they are when the square is turned and resized, as
        they do on a face and hardly on anything else."""
        box = face.box()
        for turn_rad, zoom in ((0.3, 1.15), (-0.3, 0.9)):
            other = box._replace(roll_rad=box.roll_rad + turn_rad, side_px=box.side_px * zoom)
            again = self.read(rgb, other)
            apart_px = float(np.linalg.norm(again.points - face.points, axis=1).mean())
            if again.score < CERTAIN or apart_px > STEADY * box.side_px:
                return False
        return True

    def likely(self, rgb: Image, long_side_px: int) -> Iterator[FaceBox]:
        """Peaks of the detector's map of a picture [H, W, 3] reduced to this long side."""
        height, width = rgb.shape[:2]
        scale = long_side_px / max(height, width)
        small = Pillow.fromarray(rgb).resize(
            (max(1, round(width * scale)), max(1, round(height * scale))),
            Pillow.Resampling.BILINEAR,
            reducing_gap=2.0,
        )
        padded = np.zeros((_whole(small.height), _whole(small.width), 3), np.uint8)
        padded[: small.height, : small.width] = np.asarray(small)
        with torch.inference_mode():
            said = self.detector(to_tensor([padded], self.device))
            score = said.score[0].sigmoid()
            highest = torch.nn.functional.max_pool2d(score[None], 3, 1, 1)[0]
            peaks = torch.nonzero((score == highest) & (score > LIKELY)).cpu().tolist()
        for row, column in peaks:
            at = np.array([column + 0.5, row + 0.5])
            offset = said.offset[0, :, row, column].double().cpu().numpy()
            cos, sin = said.turn[0, :, row, column].tolist()
            side = math.exp(min(4.0, float(said.log_side[0, row, column])))
            yield FaceBox(
                (at + offset) * STRIDE / scale,
                side * STRIDE / scale,
                math.atan2(sin, cos),
                float(score[row, column]),
            )


def apart(boxes: list[FaceBox]) -> list[FaceBox]:
    """The boxes without those that show the same face as a more certain one; best first."""
    kept: list[FaceBox] = []
    for box in sorted(boxes, key=lambda box: -box.score):
        same = (
            math.dist(box.centre, other.centre) < 0.4 * max(box.side_px, other.side_px)
            for other in kept
        )
        if not any(same):
            kept.append(box)
    return kept


def _verdict(said: Landmarks, apart_sides: float) -> float:
    """The network's score of a crop and its mirror image, less where it expects its landmarks
    to be far off or finds others in the mirror: that is what it says of shirts and lamps."""
    expected = math.exp(float(said.log_error.mean()))
    doubt = max(1.0, expected / SURE_ERROR, apart_sides / SURE_APART)
    return float(said.score.sigmoid().min()) / doubt**3


def _ready(network: _Network, device: torch.device | str) -> _Network:
    network.eval().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, torch.nn.Sequential):
            fold_norms(module)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.to(device)


def _whole(side_px: int) -> int:
    """The next multiple of 32: a whole number of the detector's coarsest cells."""
    return -(-side_px // 32) * 32


def wrapped(angle_rad: float) -> float:
    """The same angle within -pi..pi."""
    return math.remainder(angle_rad, 2 * math.pi)
