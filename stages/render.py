"""Draw heads from the new viewpoint, and decide what a frame without a head shows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image as Pillow
from torch import Tensor

from tpvideo.pipeline.checkpoint import State
from tpvideo.pipeline.errors import NoFaceError
from tpvideo.pipeline.frame import Face, Head, Image, Inverted, Rendered, Stamp, StreamInfo
from tpvideo.pipeline.losses import Losses
from tpvideo.pipeline.stage import LanedStage
from tpvideo.stages import geometry, pixels
from tpvideo.stages.backdrop import Backdrop, Plain
from tpvideo.stages.cut import has_kernel
from tpvideo.stages.detail import Seen, sharpen
from tpvideo.stages.edited_detail import EditedView, unchanged
from tpvideo.stages.head_memory import recalled
from tpvideo.stages.invert import in_precision
from tpvideo.stages.memory import Halving
from tpvideo.stages.neck import turned_labels
from tpvideo.stages.networks.generator import View, as_image
from tpvideo.stages.networks.triplanenet import TriPlaneNet
from tpvideo.stages.paint import crop_at, paint, source_of
from tpvideo.stages.replay import notices_of, replayed
from tpvideo.stages.surroundings import room_at

OnLost = Literal["hold", "source", "blank", "fail"]

HELD = "no face: the picture before is shown"
SOURCE = "no face: the source is shown"
BLANK = "no face: the backdrop alone is shown"


Drawn = tuple[Image, Image | None]
"""Colours [S, S, 3] and, where nothing is behind them, opacity [S, S]."""

News = list[Inverted]
"""Those of a batch whose head is not the one before it."""


class NovelView(LanedStage[Inverted, News, list[tuple[Inverted, Drawn]], Rendered]):
    """The head as a camera sees it that never was.

    Args:
        network: in evaluation mode on `device`.
        yaw_rad, pitch_rad: where the camera stands; see geometry.
        follow: turn the camera relative to the source's camera, so that the head's own motion
            stays; otherwise the camera stands still and so does the head.
        on_neck: the body stays as the source shows it, in the framing of the source's crop, and
            only the head turns; see neck.py.
        detail: fetch what the source shows from the source itself; see detail.py.
        backdrop: what is behind the head; None renders transparency.
        size: side of the picture, pixels.
        volume_side: rays along a side of the volume rendering; 0 for the model's own. Fewer are
            cheaper and softer.
        surface: places along a side of the surface that detail is laid on, for each ray.
        zoom: length of the camera's lens, in EG3D's.
        on_lost: what a frame without a face shows: the last picture (`hold`; before the first
            one, the source), the middle of the source (`source`), the empty backdrop
            (`blank`), or an error (`fail`).
        side_by_side: put the source's crop to the left of the result.
        batch: most frames rendered together.
        lanes, linger_s: see LanedStage.
    """

    def __init__(
        self,
        network: TriPlaneNet,
        *,
        yaw_rad: float,
        pitch_rad: float = 0.0,
        follow: bool = False,
        on_neck: bool = False,
        detail: bool = True,
        backdrop: Backdrop | None = None,
        size: int = 512,
        volume_side: int = 0,
        surface: int = 2,
        zoom: float = 1.0,
        on_lost: OnLost = "hold",
        side_by_side: bool = False,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        batch: int = 1,
        lanes: int = 1,
        linger_s: float | None = None,
    ) -> None:
        self.network = network
        self.yaw_rad, self.pitch_rad = yaw_rad, pitch_rad
        self.follow = follow
        self.on_neck = on_neck
        self.detail = detail
        self.backdrop = backdrop
        self.size = size
        self.volume_side = volume_side
        self.surface = surface
        self.zoom = zoom
        self.on_lost = on_lost
        self.side_by_side = side_by_side
        self.device = torch.device(device)
        self.dtype = dtype
        self.batch = batch
        self.lanes = lanes
        self.linger_s = linger_s
        self._halving = Halving(self.name)
        self._render = replayed(self.name, network.render, self.device)
        self.losses = Losses()
        """The frames without a head, and what they show."""
        self._last: Rendered | None = None
        self._frames = 0
        self._how: tuple[object, ...] = ()
        self._head: Head | None = None  # the last one that came
        self._drawn: Drawn | None = None  # and the last that was drawn

    @property
    def name(self) -> str:
        """The word in tables and messages."""
        return "render"

    @property
    def notices(self) -> list[str]:
        """That the memory was too small for whole batches, a line each time, or that nothing could
        be recorded on a GPU."""
        return [*self._halving.notices, *notices_of(self._render)]

    def open(self, info: StreamInfo) -> StreamInfo:
        """The output is a square, or two side by side."""
        self.losses.clear()
        self._last = None
        self._frames = 0
        return replace(info, width=self.size * (2 if self.side_by_side else 1), height=self.size)

    def prepare(self, items: Sequence[Inverted]) -> News:
        """1..batch packets; a head that is the one before it is not drawn anew."""
        how = self._knobs()
        before = self._head if how == self._how else None
        self._how = how
        news = []
        for item in items:
            if item.head is not None and item.head is not before:
                before = item.head
                news.append(item)
        self._head = before
        return news

    def work(self, job: News) -> list[tuple[Inverted, Drawn]]:
        """The pictures of the heads."""
        return list(zip(job, self._halving(self._draw, job), strict=True))

    def finish(
        self, items: Sequence[Inverted], made: list[tuple[Inverted, Drawn]]
    ) -> Iterator[Rendered]:
        """As many packets as came."""
        pictures = iter(made)
        next_one = next(pictures, None)
        for item in items:
            self._frames += 1
            if next_one is not None and item is next_one[0]:
                self._drawn, next_one = next_one[1], next(pictures, None)
            if item.head is None or self._drawn is None:
                yield self._lost(item)
                continue
            rgb, alpha = self._drawn
            self._last = Rendered(item.stamp, self._beside(item, rgb), alpha)
            yield self._last

    def flush(self) -> tuple[()]:
        """Nothing is held; but a run that never saw a face has failed."""
        if self._frames and self._last is None:
            raise NoFaceError(
                f"no face in any of {self._frames} frames; --trim to where one is seen, or try "
                "--face-model insightface"
            )
        return ()

    def state(self) -> State:
        """The last picture, which `hold` may show again, and how many there were."""
        last = self._last
        if last is None:
            return {"frames": self._frames, "last": None}
        stamp = [last.stamp.index, last.stamp.pts]
        return {
            "frames": self._frames,
            "last": {"stamp": stamp, "rgb": last.rgb, "alpha": last.alpha},
        }

    def restore(self, state: State) -> None:
        """Go on from an earlier `state`."""
        self._frames = state["frames"]
        last = state["last"]
        self._last = last and Rendered(Stamp(*last["stamp"]), last["rgb"], last["alpha"])

    def _knobs(self) -> tuple[object, ...]:
        """All that decides what a head looks like, besides the head."""
        camera = (self.yaw_rad, self.pitch_rad, self.zoom, self.follow, self.on_neck)
        return *camera, self.size, self.volume_side, self.surface, self.detail, self.backdrop

    def label(self, face: Face) -> NDArray[np.float32]:
        """[25], or [K, 25] where only the head turns, the camera that this face is drawn from."""
        focal = self.zoom * geometry.FOCAL
        if not self.on_neck:
            return geometry.label(self.camera(face), focal)
        yaw, pitch = geometry.angles(face.camera[:16].reshape(4, 4))
        yaw, pitch = (0.0, 0.0) if self.follow else (yaw, pitch)
        return turned_labels(face.camera, (self.yaw_rad - yaw, self.pitch_rad - pitch), focal)

    def camera(self, face: Face) -> geometry.Array:
        """[4, 4] world_from_camera that this face is drawn from."""
        if not self.follow:
            return geometry.look_at_camera(self.yaw_rad, self.pitch_rad)
        yaw, pitch = geometry.angles(face.camera[:16].reshape(4, 4))
        turn = face.image_from_crop
        roll = math.atan2(turn[1, 0], turn[0, 0])  # > 0: the head leans clockwise
        return geometry.label_camera(yaw + self.yaw_rad, pitch + self.pitch_rad, roll_rad=-roll)

    def _draw(self, items: Sequence[Inverted]) -> list[Drawn]:
        faces = [item.face for item in items if item.face is not None]
        heads: list[Head] = [item.head for item in items if item.head is not None]
        labels = pixels.to_rows([self.label(face) for face in faces], self.device)
        with torch.inference_mode():
            planes = stacked([head.planes for head in heads])
            latents = stacked([head.latents for head in heads])
            with in_precision(self.device, self.dtype):
                view = self._render(planes, latents, labels, side=self.volume_side)
            colours, alphas = premultiplied(view.image.float(), view.alpha)
            target = Seen(labels, view.depth, view.alpha, self.surface)
            edited = self._edited(heads, labels, view) if self.detail else None
            return self._finished(colours, alphas, target, items, edited)

    def _edited(self, heads: Sequence[Head], labels: Tensor, view: View) -> EditedView | None:
        """What edits left of the heads; None for heads as they were."""
        if all(head.unedited is None for head in heads):
            return None
        before = [head.planes if head.unedited is None else head.unedited for head in heads]
        seen = self.network.decoder.look(stacked(before), labels, side=self.volume_side)
        colours = as_image(2 * seen.features[..., :3] - 1, view.raw.shape[-1])
        motion, box = heads[0].motion, self.network.decoder.box  # one edit for all heads
        return EditedView(unchanged(colours, view.raw), motion, box)

    def _finished(
        self,
        colours: Tensor,
        alphas: Tensor,
        target: Seen,
        items: Sequence[Inverted],
        edited: EditedView | None,
    ) -> list[Drawn]:
        """Detail, size and what is behind; arguments as for detail.sharpen."""
        seen = [(item.rgb, item.face) for item in items if item.face is not None]
        if self.detail:
            faces = [face for _, face in seen]
            crops, mattes = [face.crop for face in faces], [face.alpha for face in faces]
            cameras = pixels.to_rows([face.camera for face in faces], self.device)
            known = recalled([item.head for item in items if item.head], faces, self.device)
            surface = (colours, alphas, target, crops, mattes, cameras)
            sources = [source_of(rgb, face, self.size) for rgb, face in seen]
            if self.device.type == "cpu" and has_kernel():
                from tpvideo.stages import fused_detail  # numba takes half a second to load

                behind = [self._behind(*each) for each in seen] if self.backdrop else None
                if edited is None:
                    planes = fused_detail.sharpened(*surface, known)
                else:
                    planes = fused_detail.planes_of(sharpen(*surface, edited, known))
                return fused_detail.painted(planes, sources, behind, self.size)
            colours, alphas = paint(sharpen(*surface, edited, known), sources, self.size)
        else:
            colours, alphas = self._resize(colours, alphas)
        if self.backdrop is None:
            straight = (colours / alphas.clamp(min=1e-3)).clamp(0, 1)
            both = pixels.to_images(straight * 2 - 1), pixels.to_images(alphas * 2 - 1)
            return list(zip(*both, strict=True))
        backs = torch.stack([self._behind(*each) for each in seen])
        finished = colours + (1 - alphas) * backs
        return [(rgb, None) for rgb in pixels.to_images(finished * 2 - 1)]

    def _resize(self, colours: Tensor, alphas: Tensor) -> tuple[Tensor, Tensor]:
        if colours.shape[-1] == self.size:
            return colours, alphas
        both = torch.cat([colours, alphas], dim=1)
        both = F.interpolate(both, (self.size, self.size), mode="bicubic", antialias=True)
        return both[:, :3].clamp(0, 1), both[:, 3:].clamp(0, 1)

    def _behind(self, rgb: Image, face: Face) -> Tensor:
        """[3, size, size], or [3, 1, 1] where it is one colour, 0..1."""
        assert self.backdrop is not None
        if isinstance(self.backdrop, Plain):
            return pixels.uploaded(self.backdrop.colour, self.device)
        if face.room is not None:
            crop, person = room_at(rgb, face, self.size), np.zeros_like(face.alpha)
        else:
            crop, person = crop_at(rgb, face, self.size), face.alpha
        shown, alpha = (pixels.to_tensor([each], self.device)[0] for each in (crop, person))
        return self.backdrop(shown.add(1).div(2), alpha.add(1).div(2), self.size)

    def _beside(self, item: Inverted, rgb: Image) -> Image:
        if not self.side_by_side:
            return rgb
        if item.face is None:
            left = centre_crop(item.rgb, self.size)
        else:
            left = crop_at(item.rgb, item.face, self.size)
        return np.concatenate([left, rgb], axis=1)

    def _lost(self, item: Inverted) -> Rendered:
        """The picture of a frame that shows no face."""
        if self.on_lost == "fail":
            raise NoFaceError(f"no face in frame {item.stamp.index}, and --on-lost is fail")
        if self.on_lost == "hold" and self._last is not None:
            self.losses.add(HELD, item.stamp)
            held = self._last.rgb[:, -self.size :]
            return Rendered(item.stamp, self._beside(item, held), self._last.alpha)
        self.losses.add(BLANK if self.on_lost == "blank" else SOURCE, item.stamp)
        if self.on_lost == "blank":
            rgb = np.zeros((self.size, self.size, 3), np.uint8)
            if self.backdrop is not None:
                empty = torch.zeros(1, 8, 8)
                source = pixels.to_tensor([centre_crop(item.rgb, 64)])[0].add(1).div(2)
                shown = self.backdrop(source, F.interpolate(empty[None], (64, 64))[0], self.size)
                rgb = pixels.to_images(shown[None].cpu() * 2 - 1)[0]
            opacity = 0
        else:
            rgb, opacity = centre_crop(item.rgb, self.size), 255
        alpha = None
        if self.backdrop is None:
            alpha = np.full((self.size, self.size), opacity, np.uint8)
        return Rendered(item.stamp, self._beside(item, rgb), alpha)


def stacked(tensors: Sequence[Tensor]) -> Tensor:
    """[B, ...] of B tensors; a single one is neither copied nor laid out anew."""
    return tensors[0][None] if len(tensors) == 1 else torch.stack(list(tensors))


def premultiplied(image: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
    """Colours multiplied by opacity and opacity, both 0..1, of a rendered picture.

    A volume is drawn on black, so its colours are multiplied already; without an alpha of its own
    to hold them to, they are left as they are, and on black show what the network drew.

    Args:
        image: [B, 4, S, S] with its own alpha, or [B, 3, S, S], -1..1, black where empty.
        alpha: [B, 1, R, R] of the volume, used where the picture has none of its own.
    """
    unit = image.add(1).mul_(0.5).clamp_(0, 1)
    if image.shape[1] == 4:
        colours, opacity = unit[:, :3], unit[:, 3:]
        return torch.minimum(colours, opacity, out=colours), opacity
    side = image.shape[-1]
    wide = F.interpolate(alpha, (side, side), mode="bicubic").clamp(0, 1)
    return unit, wide


def centre_crop(rgb: Image, size: int) -> Image:
    """[size, size, 3] the middle square of a picture."""
    height, width = rgb.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return resized(np.ascontiguousarray(rgb[top : top + side, left : left + side]), size)


def resized(rgb: Image, size: int) -> Image:
    """[size, size, 3] a square picture, antialiased."""
    if rgb.shape[0] == size:
        return rgb
    picture = Pillow.fromarray(rgb).resize((size, size), Pillow.Resampling.LANCZOS)
    return np.asarray(picture)
