"""Golden values beside the pass itself: density grid, mapping network, decoder, poses, rays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from tpvideo.stages import geometry
from tpvideo.stages.networks.density_grid import grid_points
from tpvideo.stages.networks.triplane import EG3D_AXES, sample_planes
from tpvideo.stages.networks.volume import camera_rays
from tpvideo.weights.goldens import Array, Recorder
from tpvideo.weights.parity_networks import Subject


def check_miscellany(subject: Subject, put: Recorder) -> None:
    """`misc.npz`: density grid, mapping network, decoder, poses and rays."""
    _check_grid(subject, put)
    _check_mapping(subject, put)
    _check_decoder(subject, put)
    _check_poses(subject, put)


def _check_grid(subject: Subject, put: Recorder) -> None:
    put.given("grid.flat_index")
    decoder = subject.network.decoder
    points = grid_points(torch.from_numpy(put.goldens.arrays["grid.flat_index"]), 256, decoder.box)
    put("grid.points", points[None])
    put("grid.sigma", decoder.query(subject.refined, points[None]).sigmas)
    corner = grid_points(torch.tensor([0, 1]), 256, decoder.box)
    put("grid.voxel", torch.cat([corner[0], (corner[1, 2:] - corner[0, 2:])]))


def _check_mapping(subject: Subject, put: Recorder) -> None:
    put.given("map.z", "map.c")
    z, label = (torch.from_numpy(put.goldens.arrays[name]) for name in ("map.z", "map.c"))
    mapping = subject.network.decoder.backbone.mapping
    layers = subject.network.decoder.latents
    put("map.w", mapping(z, label, layers)[:, 0])
    put("map.w_psi07", mapping(z, label, layers, psi=0.7)[:, 0])
    put("map.w_psi05_cut7", mapping(z, label, layers, psi=0.5, cutoff=7)[:, [0, 6, 7, 13]])


def _check_decoder(subject: Subject, put: Recorder) -> None:
    put.given("osg.points")
    points = torch.from_numpy(put.goldens.arrays["osg.points"])
    decoder, planes = subject.network.decoder, subject.planes
    scaled = points[0] * (2 / decoder.box)
    put("osg.projected", torch.stack([scaled[:, list(pair)] for pair in EG3D_AXES]))
    size = planes.shape[1] // 3
    features = []
    for plane in range(3):  # the mean of one plane and two empty ones is a third of it
        alone = torch.zeros_like(planes)
        alone[:, plane * size : (plane + 1) * size] = planes[:, plane * size : (plane + 1) * size]
        features.append(3 * sample_planes(alone, points, box=decoder.box, axes=decoder.axes))
    put("osg.features", torch.stack(features, dim=1))
    decoded = decoder.query(planes, points)
    put("osg.rgb", decoded.colours)
    put("osg.sigma", decoded.sigmas)


def _check_poses(subject: Subject, put: Recorder) -> None:
    put.given("look.yaw_pitch")
    angles = put.goldens.arrays["look.yaw_pitch"]

    def poses(sign: float = 1.0, **where: Any) -> Array:
        half = math.pi / 2
        found = [geometry.look_at_eg3d(half + sign * h, half + v, **where) for h, v in angles]
        return np.stack(found).astype(np.float32)

    put("look.cam2world", poses())
    put("look.cam2world_r3_origin", poses(radius=3.0, target=(0, 0, 0)))
    put("look.flipped", poses(-1.0))
    for name, values in put.goldens.arrays.items():
        what, _, rest = name.partition(".")
        if what == "fov":
            focal = geometry.focal_from_fov(float(rest.removeprefix("K_")))
            put(name, geometry.intrinsics(focal))
        elif what == "rays8" and rest.endswith(".K"):
            put.given(name)
            label = subject.label.clone()
            label[:, 16:] = torch.from_numpy(values).reshape(1, 9)
            rays = camera_rays(label, 8)
            put(f"{name.removesuffix('K')}origins", rays.origins)
            put(f"{name.removesuffix('K')}dirs", rays.directions)
